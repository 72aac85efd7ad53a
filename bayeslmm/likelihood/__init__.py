"""The Gaussian kernel on plain arrays: cross-products, factor, objectives, gradients, coefficients."""

from bayeslmm.covariance import TermShape
from bayeslmm.likelihood.kernel import Conditional, Kernel

__all__ = ["Conditional", "Kernel", "TermShape"]
