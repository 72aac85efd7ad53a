r"""The marginal likelihood of the covariance parameters alone, without their priors.

.. math:: \log p(y \mid \phi, \sigma), \qquad \phi = (\log t, \mathrm{atanh}\,r),\; t = \mathrm{sd}/\sigma,

the coefficients integrated out under their priors. It is the log posterior under flat priors of the standard deviations
and of sigma and uniform correlations, less their normaliser and the Jacobian of the coordinates, so it takes the same
paths, compiled where there is a single term.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.partial_correlations import correlation_exponents, log_complement
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.priors.real_line import Flat
from bayeslmm.types import Array


class MarginalLikelihood:
    """log p(y | phi, sigma) with its gradient.

    Parameters
    ----------
    kernel
        The data.
    priors
        The model's priors; those of coefficients enter, those of standard deviations and correlations do not.
    sigma
        The residual standard deviation where it is known.

    Raises
    ------
    PriorError
        If a coefficient's prior cannot be integrated out.
    """

    def __init__(self, kernel: Kernel, priors: ModelPriors, sigma: float | None = None) -> None:
        neutral = replace(
            priors,
            terms=tuple(_neutral(term) for term in priors.terms),
            sigma=Flat() if sigma is None else None,
        )
        self.density = CovarianceDensity(kernel, neutral, sigma)
        self._is_log_t, self._exponents = _jacobian(self.density)

    @property
    def dimension(self) -> int:
        """Length of x."""
        return self.density.dimension

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return log p(y | phi, sigma), flat coefficients' constants left out, with its gradient.

        Parameters
        ----------
        x
            (phi, log sigma), shape (dimension,); phi alone where sigma is known.

        Raises
        ------
        FittingError
            Where the likelihood cannot be evaluated.
        """
        x = np.ascontiguousarray(x, dtype=float)
        value, gradient = self.density.value_and_gradient(x)
        known = self.density.sigma
        phi, log_sigma = (x, np.log(known)) if known is not None else (x[:-1], x[-1])
        partial = np.tanh(np.where(self._is_log_t, 0.0, phi))
        count = int(np.sum(self._is_log_t))
        value -= float(np.sum(phi[self._is_log_t])) + count * log_sigma
        value += self.density.log_normaliser - float(np.sum(self._exponents * log_complement(partial)))
        by_phi = gradient[: len(phi)] - self._is_log_t + 2.0 * self._exponents * partial
        if known is not None:
            return value, by_phi
        return value - log_sigma, np.append(by_phi, gradient[-1] - count - 1.0)


def _neutral(term: TermPriors) -> TermPriors:
    correlation = None if term.correlation is None else LKJ(1.0)
    return replace(term, sd=(Flat(),) * len(term.sd), correlation=correlation, joint=None)


def _jacobian(density: CovarianceDensity) -> tuple[NDArray[np.bool_], Array]:
    """Return which coordinates are log t, and the exponents of (1 - r²), zero elsewhere; each (n_phi,)."""
    is_log_t: list[bool] = []
    exponents: list[float] = []
    for term in density.priors.terms:
        size = len(term.sd)
        own = [] if term.correlation is None else list(correlation_exponents(term))
        is_log_t += [True] * size + [False] * len(own)
        exponents += [0.0] * size + own
    return np.array(is_log_t, dtype=bool), np.array(exponents)
