"""learner="bart": draws of trees, variances and random effects together."""
