"""Optima: maximum likelihood, REML and the posterior mode."""
