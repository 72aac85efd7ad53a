r"""What rounding leaves of the objective and of sigma.

The residual sum of squares is what remains of :math:`y^\top W y` (y centred) when the columns and random effects are
eliminated. Sums of n products in double precision are off by about :math:`\sqrt n\,\epsilon\,y^\top W y`, so the
objective is uncertain by

.. math:: \delta = \sqrt n\,\epsilon\,\frac{y^\top W y}{\sigma^2},

and the residual variance by the share :math:`\delta/\nu` of itself, nu its degrees of freedom. Where groups differ a
million times as much as rows within them, 1e-3 of it is lost, and no search can make the gradient smaller than rounding
lets it be; where the share reaches one, the residuals cannot be told from zero.
"""

from dataclasses import replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.search import ACCEPTED_GRADIENT, Minimum
from bayeslmm.likelihood.crossproducts import CrossProducts

LARGEST_SHARE = 0.01  # of the residual variance that may be rounding, for estimates worth having
OF_STANDARD_ERROR = 0.25  # or as much of its standard error, where few rows know it less well than that
PERFECT_FIT = (
    "The residuals cannot be told from zero: the model fits the response perfectly, to the digits that numbers have, "
    "and sigma cannot be estimated. Look for a column or a grouping factor that determines the response. If the groups "
    "differ ten million times as much as the rows within them, subtract their known levels from the response."
)


def objective_error(products: CrossProducts, sigma: float) -> float:
    """Return delta, by how much rounding may change minus twice the log-likelihood at a residual sd sigma."""
    return float(np.sqrt(products.n) * np.finfo(float).eps * products.xy[-1, -1] / sigma**2)


def require_residuals(products: CrossProducts, sigma: float, dof: int) -> None:
    """Refuse an estimate of sigma that is nothing but rounding.

    Raises
    ------
    FittingError
        If rounding may account for all of the residual sum of squares.
    """
    if not sigma > 0 or objective_error(products, sigma) >= dof:
        raise FittingError(PERFECT_FIT)


def largest_error(n: int) -> float:
    r"""Return the largest delta that leaves estimates worth having.

    The residual variance has a relative standard error of :math:`\sqrt{2 / n}`; a quarter of it may be rounding.
    """
    return n * max(LARGEST_SHARE, OF_STANDARD_ERROR * float(np.sqrt(2.0 / n)))


def judged(minimum: Minimum, products: CrossProducts, sigma: float) -> Minimum:
    """Return a minimum as converged if nothing but rounding keeps the gradient from zero.

    Half the square of the gradient norm is what more steps could gain; less than delta cannot be seen.
    """
    error = objective_error(products, sigma)
    if minimum.converged or error > largest_error(products.n) or 0.5 * minimum.gradient_norm**2 > error:
        return minimum
    return replace(minimum, converged=True)


def describe_rounding(minimum: Minimum, products: CrossProducts, sigma: float) -> str:
    """Say what rounding leaves of the estimates; nothing if it is no news."""
    error = objective_error(products, sigma)
    ratio = float(np.sqrt(products.xy[-1, -1] / products.n)) / sigma
    if not minimum.converged and error > largest_error(products.n):
        return (
            f"The search stopped with a scaled gradient of {minimum.gradient_norm:.1e}: do not trust these estimates. "
            f"The response varies {ratio:.0e} times as much as its residuals, and rounding leaves too few digits of "
            "them. Subtract known levels of the groups from the response."
        )
    if minimum.converged and minimum.gradient_norm > ACCEPTED_GRADIENT:
        digits = max(1, int(-np.log10(error / (2 * products.n))))  # of sigma, whose square loses twice the share
        return (
            f"Converged: the scaled gradient is {minimum.gradient_norm:.1e}, as small as rounding lets it be where the "
            f"response varies {ratio:.0e} times as much as its residuals; sigma is known to "
            f"{digits} {'digit' if digits == 1 else 'digits'}."
        )
    return ""
