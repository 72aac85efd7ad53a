r"""rstanarm's prior of all standard deviations of a random-effects term, in units of sigma.

With S effects and :math:`t_a = \mathrm{sd}_a / \sigma`,

.. math:: t_a = \tau \sqrt{S \pi_a}, \qquad \tau \sim \mathrm{Gamma}(\mathrm{shape}, \mathrm{scale}), \quad
          \pi \sim \mathrm{Dirichlet}(c, \dots, c),

so that the average variance is :math:`(\tau\sigma)^2` and is shared out among the effects. In the coordinates log t

.. math:: p(\log t) = 2^{S-1}\, \tau\, p_\mathrm{Gamma}(\tau)\, p_\mathrm{Dirichlet}(\pi) \prod_a \pi_a .

Source: B. Goodrich, J. Gabry, I. Ali and S. Brilleman, rstanarm, "Covariance matrices" in its vignette on priors.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Decov:
    """The joint prior of a term's standard deviations in units of sigma.

    Attributes
    ----------
    concentration
        c: above one the variances of a term are alike, below one a few of them are large.
    shape, scale
        Of the distribution of tau.
    """

    concentration: float = 1.0
    shape: float = 1.0
    scale: float = 1.0

    def logpdf(self, ratios: Array) -> Array:
        """Return log p(log t) at t = sd/sigma, shape (..., S); a result per row, shape (...)."""
        t = np.asarray(ratios, dtype=float)
        size, c = t.shape[-1], self.concentration
        with np.errstate(divide="ignore", invalid="ignore"):
            log_shares = 2.0 * np.log(t) - np.log(np.sum(t**2, axis=-1, keepdims=True))
        tau = np.sqrt(np.mean(t**2, axis=-1))
        with np.errstate(divide="ignore"):
            by_tau = self.shape * np.log(tau / self.scale) - tau / self.scale - gammaln(self.shape)
        by_shares = gammaln(size * c) - size * gammaln(c) + c * np.sum(log_shares, axis=-1)
        return np.asarray((size - 1) * np.log(2.0) + by_tau + by_shares)

    def slopes(self, ratios: Array) -> Array:
        """Return the gradient of :meth:`logpdf` by log t, shape (..., S)."""
        t = np.asarray(ratios, dtype=float)
        size = t.shape[-1]
        shares = t**2 / np.sum(t**2, axis=-1, keepdims=True)
        tau = np.sqrt(np.mean(t**2, axis=-1, keepdims=True))
        return np.asarray(shares * (self.shape - tau / self.scale) + 2.0 * self.concentration * (1.0 - size * shares))

    def sample(self, rng: np.random.Generator, size: int, draws: int) -> Array:
        """Draw t for S = `size` effects, shape (draws, S)."""
        tau = rng.gamma(self.shape, self.scale, draws)
        shares = rng.dirichlet(np.full(size, self.concentration), draws)
        return tau[:, None] * np.sqrt(size * shares)

    @property
    def proper(self) -> bool:
        """True: it has a finite integral."""
        return True

    def __str__(self) -> str:
        return f"sigma Decov({self.concentration:g}, {self.shape:g}, {self.scale:g})"
