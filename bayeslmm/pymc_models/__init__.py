"""pymc_models."""
