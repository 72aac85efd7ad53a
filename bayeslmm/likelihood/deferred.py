"""Coefficients and random effects at an optimum, computed when they are first asked for."""

from dataclasses import dataclass
from functools import cached_property

from bayeslmm.likelihood.kernel import Conditional, Kernel
from bayeslmm.types import Array


@dataclass(frozen=True, eq=False)
class DeferredConditional:
    """What `Kernel.conditional` returns, without its cost until something but sigma is read.

    Attributes
    ----------
    kernel
        The likelihood.
    theta, method, known_sigma
        The arguments of `Kernel.conditional`.
    sigma
        The residual standard deviation, which the search has found.
    """

    kernel: Kernel
    theta: Array
    method: str
    known_sigma: float | None
    sigma: float

    @cached_property
    def found(self) -> Conditional:
        """All of it."""
        return self.kernel.conditional(self.theta, self.method, self.known_sigma)

    @property
    def beta(self) -> Array:
        """Generalised least-squares estimate, shape (p,)."""
        return self.found.beta

    @property
    def beta_cov(self) -> Array:
        """Its covariance, shape (p, p)."""
        return self.found.beta_cov

    @property
    def u(self) -> tuple[Array, ...]:
        """Conditional modes of the spherical effects, one (J, S) per term."""
        return self.found.u

    @property
    def b(self) -> tuple[Array, ...]:
        """Conditional modes of the random effects, one (J, S) per term."""
        return self.found.b

    @property
    def b_cov(self) -> tuple[Array, ...]:
        """Conditional covariance of b given theta, sigma and beta, one (J, S, S) per term."""
        return self.found.b_cov
