r"""The prior density of coefficients in the kernel's columns, normal for some, Student t or Laplace for others.

.. math:: \log p(\beta) = -\tfrac12 (\beta - m)^\top \Pi (\beta - m) + \sum_k \log p_k(r_k^\top \beta) ,

:math:`\Pi` the precision of what has a normal prior, zero where the prior is flat or of the second kind, whose
coefficients are :math:`r_k^\top\beta` on the columns that they were stated on. Constants are left out.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class ExplicitPrior:
    """The prior of p coefficients, K of them not normal.

    Attributes
    ----------
    normal
        What is normal; None for nothing.
    rows
        r_k, shape (K, p).
    others
        The K priors p_k.
    """

    normal: NormalPrior | None
    rows: Array
    others: tuple[Prior, ...]

    def log_density(self, beta: Array) -> tuple[float, Array]:
        """Return the log density at the kernel's coefficients (p,), and its derivatives."""
        value, slopes = 0.0, np.zeros(len(beta))
        if self.normal is not None:
            away = beta - self.normal.mean
            pull = self.normal.precision @ away
            value, slopes = -0.5 * float(away @ pull), -pull
        for row, prior in zip(self.rows, self.others, strict=True):
            at = float(row @ beta)
            value += float(prior.logpdf(at))
            slopes = slopes + row * float(prior.dlogpdf(at))
        return value, slopes


def only_normal(normal: NormalPrior | None) -> ExplicitPrior:
    """Return the prior of coefficients of which all have normal or flat priors."""
    p = 0 if normal is None else len(normal.mean)
    return ExplicitPrior(normal, np.zeros((0, p)), ())
