r"""The saturated model: every row has the linear predictor that suits it best.

.. math:: d_i = 2\,\bigl\{\sup_\eta \ell_i(\eta, \phi) - \ell_i(\eta_i, \phi)\bigr\}

is the scaled deviance of row i, the dispersion parameters the same in both; its signed root is the deviance residual.
The supremum is looked for by the sign of :math:`\ell_i'`, with one maximum in every family: steps that double until it
changes, then bisection; where the maximum lies at infinity (no successes, a count of zero) the last step is far enough.

Source: McCullagh and Nelder (1989), *Generalized Linear Models*, sections 2.3 and 2.4.3.
"""

import numpy as np

from bayeslmm.families.definition import Family
from bayeslmm.families.response import Response
from bayeslmm.types import Array

FIRST_STEP = 0.5
N_DOUBLINGS = 11  # up to 1,024 from the start
N_HALVINGS = 48  # the derivative is zero at the maximum, so half the digits of the predictor suffice


def saturated_log_density(family: Family, response: Response, working: Array) -> Array:
    """Return the highest log density of each row less its base, (n,), times the weights.

    Parameters
    ----------
    family, response
        The distribution and what it read.
    working
        Working values of the dispersion parameters, (m,).
    """

    def rises(eta: Array) -> Array:
        value, slope = family.derivatives(response, eta, working)[:2]
        return np.where(np.isfinite(value), side * slope > 0, False)

    inside = family.start_predictor(response)
    side = np.where(family.derivatives(response, inside, working)[1] > 0, 1.0, -1.0)
    step = np.full(len(inside), FIRST_STEP)
    beyond = inside + side * step
    for _ in range(N_DOUBLINGS):
        on = rises(beyond)
        inside = np.where(on, beyond, inside)
        step = np.where(on, 2.0 * step, step)
        beyond = np.where(on, inside + side * step, beyond)
    for _ in range(N_HALVINGS):
        middle = 0.5 * (inside + beyond)
        on = rises(middle)
        inside, beyond = np.where(on, middle, inside), np.where(on, beyond, middle)
    return np.asarray(family.derivatives(response, inside, working)[0])


def scaled_deviance(family: Family, response: Response, eta: Array, working: Array) -> Array:
    """Return each row's part of the scaled deviance at linear predictors eta (n,), shape (n,)."""
    fitted = family.derivatives(response, eta, working)[0]
    return np.maximum(2.0 * (saturated_log_density(family, response, working) - fitted), 0.0)
