r"""The prior of one term's covariance as a function of its factor F, without Jacobians: for posterior modes.

.. math:: \log p(F) = \sum_a \log h_a(\sigma t_a) + (\eta - 1)\log|R|, \qquad t_a = |F_{a\cdot}| .
"""

import numpy as np

from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.types import Array


def ratios(factor: Array) -> Array:
    """Return the standard deviations of a factor, in units of sigma, (S,)."""
    return np.sqrt(np.sum(factor**2, axis=1))


def log_correlation_prior(factor: Array, term: TermPriors) -> float:
    """Return (eta - 1) log |R|; zero where eta is one, singular R included."""
    if term.correlation is None or term.correlation.eta == 1.0:
        return 0.0
    sign, log_det = np.linalg.slogdet(factor)
    if sign == 0:
        return -np.inf if term.correlation.eta > 1 else np.inf
    return (term.correlation.eta - 1.0) * float(2.0 * log_det - 2.0 * np.sum(np.log(ratios(factor))))


def prior_factor_slope(factor: Array, term: TermPriors, sigma: float) -> Array:
    """Return the derivative by F of sum log h(sigma t) - 2 (eta - 1) sum log t; the term in log |F| is left out."""
    sds = ratios(factor)
    safe = np.where(sds > 0, sds, 1.0)
    by_ratio = term.slopes(sigma * safe, sigma)[0] / safe
    if term.correlation is not None:
        by_ratio = by_ratio - 2.0 * (term.correlation.eta - 1.0) / safe
    return np.where(sds > 0, by_ratio / safe, 0.0)[:, None] * factor
