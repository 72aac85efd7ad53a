r"""The prior density of a linear function of coefficients with independent priors.

:math:`\xi = \sum_k a_k \gamma_k` is normal where all these priors are. Where one of them is not, with density p,

.. math:: p(\xi = c) = \frac{1}{|a_1|} \int p\Bigl(\frac{c - m - \sqrt V z}{a_1}\Bigr)\, \phi(z)\, dz,

m and V the mean and variance of the normal rest.
"""

from collections.abc import Sequence

import numpy as np

from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Normal
from bayeslmm.types import Array

NODES = np.linspace(-8.0, 8.0, 4001)
NEGLIGIBLE = 1e-12  # of the largest weight: rounding


def log_density_of_sum(priors: Sequence[Prior], weights: Array, value: float) -> float:
    """Return the log density of a linear function at a value.

    Parameters
    ----------
    priors
        K independent priors.
    weights
        a, shape (K,).
    value
        c.

    Returns
    -------
    float
        NaN where a prior concerned is improper, or where more than one is not normal.
    """
    sizes = np.abs(weights)
    concerned = np.flatnonzero(sizes > NEGLIGIBLE * np.max(sizes, initial=0.0)).tolist()
    normal = [(priors[k].mean, priors[k].sd, weights[k]) for k in concerned if isinstance(priors[k], Normal)]
    others = [(priors[k], float(weights[k])) for k in concerned if not isinstance(priors[k], Normal)]
    if not len(concerned) or len(others) > 1 or not all(priors[k].proper for k in concerned):
        return np.nan
    mean = sum(a * m for m, _, a in normal)
    sd = float(np.sqrt(sum((a * s) ** 2 for _, s, a in normal)))
    if not others:
        return float(Normal(mean, sd).logpdf(value))
    prior, a = others[0]
    if not normal:
        return float(prior.logpdf(value / a)) - float(np.log(abs(a)))
    inner = np.exp(prior.logpdf((value - mean - sd * NODES) / a) - 0.5 * NODES**2)
    return float(np.log(np.trapezoid(inner, NODES) / (abs(a) * np.sqrt(2.0 * np.pi))))
