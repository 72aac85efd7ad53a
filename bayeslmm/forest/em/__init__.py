"""method="em": a learner alternates with EM steps of the variance components."""
