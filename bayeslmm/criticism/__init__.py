"""What a fit rests on: shares of variance, leverage, the influence of groups, collinearity. Numbers on arrays."""
