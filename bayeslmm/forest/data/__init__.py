"""What a forest is fitted to: a design of the groups and a table for the learner."""
