"""method="gibbs": draws of variances and random effects, given a plug-in f."""
