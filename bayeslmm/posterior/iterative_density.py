r"""The log posterior of the covariance parameters of large crossed factors, without a factor.

Everything but :math:`\log|\Omega|` is exact up to the tolerance of the solves. The determinant is estimated by the same
probes at every point, so that the density is a smooth function and only the error of *differences* of
:math:`-\tfrac12\log|\Omega|` matters: what the points have in common cancels when weights are normalised.
"""

from collections.abc import Sequence

import numpy as np

from bayeslmm.errors import UnavailableError
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.evaluation import rademacher
from bayeslmm.likelihood.iterative.solved_factor import Determinant, SolvedFactor, solve_factor
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.types import Array


class IterativeDensity(CovarianceDensity):
    """A covariance density evaluated by conjugate gradients and probes.

    Parameters
    ----------
    kernel
        The data, with crossed factors.
    priors
        The model's priors; those of coefficients must be Normal or Flat.
    sigma
        The residual standard deviation where it is known.
    n_probes
        Number of probes of the determinant.
    paired
        The cross-products arranged in pairs, if they are at hand.

    Raises
    ------
    PriorError
        If a coefficient's prior cannot be integrated out.
    """

    single = None
    costly = True  # a point takes a solve

    def __init__(
        self,
        kernel: Kernel,
        priors: ModelPriors,
        sigma: float | None = None,
        *,
        n_probes: int,
        paired: PairedProducts | None = None,
    ) -> None:
        super().__init__(kernel, priors, sigma)
        self.paired = PairedProducts.of(kernel.products) if paired is None else paired
        self.signs = rademacher(kernel.products.n_trailing, n_probes)
        self._determinants: dict[bytes, Determinant] = {}  # drawing coefficients comes back to points already probed

    def factor(self, phi: Array) -> Factor:
        """Refuse: there is no factor.

        Raises
        ------
        UnavailableError
            Always.
        """
        raise UnavailableError(
            'This needs the factor of the equations, which solver="iterative" does without: use solver="exact" where '
            "memory allows."
        )

    def eliminate(self, phi: Array) -> SolvedFactor:
        """Solve the equations at phi."""
        key = phi.tobytes()
        found = solve_factor(self.paired, self.lambdas(self.points(phi)), self.signs, self._determinants.get(key))
        self._determinants[key] = found.determinant
        return found

    def reference_gradient(self, x: Array) -> tuple[float, Array]:
        """Refuse, as `factor` does."""
        self.factor(x)
        raise AssertionError

    def difference_error(self, phi: Array, weights: Array) -> float:
        """Return the Monte Carlo error of the log density, of its differences over the posterior.

        Parameters
        ----------
        phi
            Points evaluated before, shape (m, d).
        weights
            Their weights, shape (m,), summing to one.

        Returns
        -------
        float
            Root mean square of the standard errors of the differences from the point of the largest weight.
        """
        determinants: Sequence[Determinant | None] = [self._determinants.get(point.tobytes()) for point in phi]
        best = determinants[int(np.argmax(weights))]
        if best is None:
            return np.nan
        errors = np.array([0.0 if d is None else 0.5 * d.difference_error(best) for d in determinants])
        return float(np.sqrt(weights @ errors**2))
