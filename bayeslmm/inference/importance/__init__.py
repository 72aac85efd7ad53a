"""Importance sampling of the covariance parameters."""
