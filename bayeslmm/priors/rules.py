"""The default rule: priors in units of the data."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.summaries import ColumnSummary
from bayeslmm.errors import PriorError
from bayeslmm.priors.decov import Decov
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.moments import ResponseMoments, fixed_summary, response_moments, summary_sd, term_summary
from bayeslmm.priors.positive import HalfStudentT
from bayeslmm.priors.prior import LARGEST, SMALLEST, Distribution
from bayeslmm.priors.real_line import Normal
from bayeslmm.types import Array

COEFFICIENT_SCALE = 2.5  # standard deviations of y that one standard deviation of x moves it by, a priori


@dataclass(frozen=True, slots=True)
class Choice:
    """A prior and where it came from."""

    prior: Distribution
    source: str


@dataclass(frozen=True, slots=True)
class JointChoice:
    """A prior of all standard deviations of a term and where it came from."""

    prior: Decov
    source: str


class Rule(Protocol):
    """A rule that gives every parameter of a model its prior."""

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""

    def joint(self, term: RandomTerm) -> JointChoice | None:
        """Return a prior of all standard deviations of a term together; None where they are independent."""
        return None

    def residual(self) -> Choice:
        """Return the prior of sigma."""


def net_response(design: Design) -> Array:
    """Return the response without the offset, shape (n,)."""
    return design.y if design.offset is None else design.y - design.offset


class DefaultRule(Rule):
    """Weakly informative priors that move with the units of the data.

    ===================  =====================================  =====================================
    parameter            prior                                  note
    ===================  =====================================  =====================================
    Intercept            Normal(mean(y), 2.5 sd(y))             at the column means of X
    coefficient          Normal(0, 2.5 sd(y)/sd(x))             Normal(mean(y), ...) where the columns
                                                                span a constant and none is Intercept
    random-effect sd     HalfStudentT(3, sd(y)/sd(x))           x = 1 for an intercept
    correlations         LKJ(1)
    sigma                HalfStudentT(3, sd(y))                 of an observation of weight one
    ===================  =====================================  =====================================

    y is the response less the offset; moments are weighted and have n - 1 in the denominator.
    """

    def __init__(self, design: Design) -> None:
        self._design = design

    @cached_property
    def _response(self) -> ResponseMoments:
        return response_moments(self._design)

    @cached_property
    def _fixed(self) -> ColumnSummary:
        return fixed_summary(self._design)

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        design, y = self._design, self._response
        constant = design.centring.constant[j]
        name = design.fixed_names[j]
        flat = is_left_out(design, j) and self._fixed.constant[j]
        size = 1.0 if flat else column_scale(self._fixed, j, name)
        scale = _in_range(COEFFICIENT_SCALE * y.sd / size, name)
        if flat:
            return Choice(Normal(0.0, scale), "default: 2.5 sd(y), the column does not vary")
        if constant == 0:
            return Choice(Normal(0.0, scale), "default: 2.5 sd(y)/sd(x)")
        if name == "Intercept":
            return Choice(Normal(y.mean, scale), "default: mean(y), 2.5 sd(y); at the column means")
        return Choice(Normal(y.mean * constant, scale), "default: mean(y), 2.5 sd(y)/sd(x)")

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        name = f"{term.effects[s]} of {term.name}"
        size = column_scale(term_summary(self._design, term), s, name)
        source = "default: sd(y)" if term.effects[s] == "Intercept" else "default: sd(y)/sd(x)"
        return Choice(HalfStudentT(3.0, _in_range(self._response.sd / size, name)), source)

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""
        return Choice(LKJ(1.0), "default")

    def residual(self) -> Choice:
        """Return the prior of sigma."""
        return Choice(HalfStudentT(3.0, _in_range(self._response.residual_sd, "sigma")), "default: sd(y)")


def is_left_out(design: Design, j: int) -> bool:
    """Whether likelihoods leave fixed column j out as a combination of others."""
    return design.collinearity is not None and j in design.collinearity.others


def _in_range(scale: float, name: str) -> float:
    """Return the scale of a default prior, if a prior can have it."""
    if not SMALLEST <= scale <= LARGEST:
        raise PriorError(
            f"The default prior of {name} would have the scale {scale:g}, which is not between {SMALLEST:g} and "
            f"{LARGEST:g}: change the unit of the response or of the column, or state this prior yourself."
        )
    return scale


def column_scale(summary: ColumnSummary, j: int, name: str) -> float:
    """Return |x| for the first constant among the columns, sd(x) for any other.

    Raises
    ------
    PriorError
        When the column is constant otherwise.
    """
    flat = summary.constant & (summary.low != 0)
    if flat[j] and not flat[:j].any():
        return float(abs(summary.low[j]))
    return summary_sd(summary, j, name)
