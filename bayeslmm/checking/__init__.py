"""Models checked against their data and their priors: posterior predictive statistics, sensitivity to the prior."""
