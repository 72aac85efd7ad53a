"""Hamiltonian Monte Carlo of many covariance parameters, near a normal distribution in good coordinates."""
