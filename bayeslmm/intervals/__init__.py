"""Intervals of every parameter of a point fit: profiles of the likelihood, bootstrap. Numbers on arrays."""
