"""The posterior of a model: likelihood times priors, its coordinates, sigma, and exact draws of the coefficients."""
