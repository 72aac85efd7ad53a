"""Maximum likelihood for generalized mixed models."""
