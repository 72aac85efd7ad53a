"""Means, contrasts, slopes: linear functions of the coefficients at chosen values of the predictors."""
