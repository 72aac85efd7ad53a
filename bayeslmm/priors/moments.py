r"""The moments of the data that scale-aware priors are written in.

With weights w, :math:`\bar y = \sum w y / \sum w` and
:math:`s^2 = \frac{n}{n-1} \sum w (y - \bar y)^2 / \sum w`, unchanged when all weights are multiplied by a
number. The residual standard deviation belongs to an observation of weight one; its scale is
:math:`\sqrt{\sum w (y - \bar y)^2 / (n - 1)}`.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import PriorError
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class ResponseMoments:
    """Mean and standard deviations of the response.

    Attributes
    ----------
    mean
        Weighted mean, in units of y.
    sd
        Weighted standard deviation, n - 1 in the denominator.
    residual_sd
        Standard deviation of an observation of weight one.
    """

    mean: float
    sd: float
    residual_sd: float


def response_moments(y: Array, weights: Array | None) -> ResponseMoments:
    """Return the moments of y, shape (n,), that priors are scaled by.

    Raises
    ------
    PriorError
        With fewer than two rows or a constant response: there is no scale.
    """
    mean, sd = mean_and_sd(y, weights)
    if not sd > 0:
        raise PriorError(
            f"The response has standard deviation {sd:g} over {len(y)} row(s), so no prior can be scaled "
            f"by it; state every prior yourself."
        )
    total = float(len(y)) if weights is None else float(weights.sum())
    return ResponseMoments(mean, sd, sd * np.sqrt(total / len(y)))


def mean_and_sd(x: Array, weights: Array | None) -> tuple[float, float]:
    """Return the weighted mean and standard deviation of x, shape (n,); the latter nan for one row."""
    n = len(x)
    mean = float(np.average(x, weights=weights))
    if n < 2:
        return mean, float("nan")
    variance = float(np.average((x - mean) ** 2, weights=weights)) * n / (n - 1)
    return mean, float(np.sqrt(variance))


def column_sd(column: Array, weights: Array | None, name: str) -> float:
    """Return sd(x) of a column, refusing one that does not vary.

    Raises
    ------
    PriorError
        When the column is constant: a prior cannot be scaled by it.
    """
    if np.ptp(column) == 0:
        raise PriorError(
            f"The column {name!r} is constant ({column[0]:g} in every row), so sd(x) is 0 and no prior can "
            f"be scaled by it; leave the column out or state its prior yourself."
        )
    return mean_and_sd(column, weights)[1]
