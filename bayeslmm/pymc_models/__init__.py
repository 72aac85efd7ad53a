"""A design with its priors as a PyMC model."""

from bayeslmm.pymc_models.generalized import build_generalized
from bayeslmm.pymc_models.graph import graph
from bayeslmm.pymc_models.hierarchical import build_hierarchical
from bayeslmm.pymc_models.marginal import build_marginal

__all__ = ["build_generalized", "build_hierarchical", "build_marginal", "graph"]
