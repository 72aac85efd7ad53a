r"""The moments of the data that scale-aware priors are written in.

With weights w, :math:`\bar y = \sum w y / \sum w` and
:math:`s^2 = \frac{n}{n-1} \sum w (y - \bar y)^2 / \sum w`, unchanged when all weights are multiplied by a
number. The residual standard deviation belongs to an observation of weight one; its scale is
:math:`\sqrt{\sum w (y - \bar y)^2 / (n - 1)}`.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.streamed import StreamedDesign
from bayeslmm.design.summaries import ColumnSummary, summarise
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


def response_moments(design: Design) -> ResponseMoments:
    """Return the moments of the response less the offset that priors are scaled by.

    Raises
    ------
    PriorError
        With fewer than two rows or a constant response: there is no scale.
    """
    found = response_spread(design)
    _require_spread(found.sd, design.n)
    return found


def response_spread(design: Design) -> ResponseMoments:
    """Return the moments of the response less the offset, whatever they are."""
    if isinstance(design, StreamedDesign):
        known = design.summaries
        mean, sd, mean_weight = float(known.response.mean[0]), float(known.response.sd[0]), known.mean_weight
    else:
        y = design.y if design.offset is None else design.y - design.offset
        mean, sd = mean_and_sd(y, design.weights)
        mean_weight = 1.0 if design.weights is None else float(design.weights.sum()) / design.n
    return ResponseMoments(mean, sd, sd * np.sqrt(mean_weight))


def plain_response_moments(design: Design) -> ResponseMoments:
    """Return the moments of the response as it is, whatever offset and weights."""
    if isinstance(design, StreamedDesign) and design.weights_column is None and not design.has_offset:
        return response_moments(design)
    mean, sd = mean_and_sd(design.y, None)
    _require_spread(sd, design.n)
    return ResponseMoments(mean, sd, sd)


def _require_spread(sd: float, n: int) -> None:
    if not sd > 0:
        raise PriorError(
            f"The response has standard deviation {sd:g} over {n} row(s), so no prior can be scaled "
            f"by it; state every prior yourself."
        )


def fixed_summary(design: Design) -> ColumnSummary:
    """Return moments and ranges of the fixed columns."""
    return (
        design.summaries.fixed
        if isinstance(design, StreamedDesign)
        else summarise(design.fixed_columns, design.weights)
    )


def plain_fixed_summary(design: Design) -> ColumnSummary:
    """Return moments and ranges of the fixed columns without weights."""
    if isinstance(design, StreamedDesign) and design.weights_column is None:
        return design.summaries.fixed
    return summarise(design.fixed_columns, None)


def term_summary(design: Design, term: RandomTerm) -> ColumnSummary:
    """Return moments and ranges of the columns of a random term."""
    if isinstance(design, StreamedDesign):
        return design.summaries.terms[[other.name for other in design.terms].index(term.name)]
    return summarise(term.columns, design.weights)


def mean_and_sd(x: Array, weights: Array | None) -> tuple[float, float]:
    """Return the weighted mean and standard deviation of x, shape (n,); the latter nan for one row."""
    n = len(x)
    mean = float(np.average(x, weights=weights))
    if n < 2:
        return mean, float("nan")
    variance = float(np.average((x - mean) ** 2, weights=weights)) * n / (n - 1)
    return mean, float(np.sqrt(variance))


def summary_sd(summary: ColumnSummary, j: int, name: str) -> float:
    """Return sd(x) of a column, refusing one that does not vary.

    Raises
    ------
    PriorError
        When the column is constant: a prior cannot be scaled by it.
    """
    if summary.constant[j]:
        raise PriorError(
            f"The column {name!r} is constant ({summary.low[j]:g} in every row), so sd(x) is 0 and no prior can "
            f"be scaled by it; leave the column out or state its prior yourself."
        )
    return float(summary.sd[j])


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
