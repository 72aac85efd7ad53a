"""The likelihood of generalized mixed models on plain arrays: mode, Laplace, quadrature."""
