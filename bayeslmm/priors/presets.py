"""The default priors of other packages, by their published rules."""

from functools import cached_property

import numpy as np

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import PriorError
from bayeslmm.priors.decov import Decov
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.moments import (
    ResponseMoments,
    column_sd,
    plain_fixed_summary,
    plain_response_moments,
    summary_sd,
)
from bayeslmm.priors.positive import Exponential, HalfNormal, HalfStudentT
from bayeslmm.priors.real_line import Flat, Normal, StudentT
from bayeslmm.priors.rules import Choice, DefaultRule, JointChoice, Rule, is_left_out
from bayeslmm.types import Array

MAD_TO_SD = 1.4826  # makes the median absolute deviation estimate a normal's sd, as R's mad() does


class FlatRule(Rule):
    """Flat priors on everything; with them the posterior mode is the REML estimate."""

    def __init__(self, design: Design) -> None:
        pass

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        return Choice(Flat(), "preset flat")

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        return Choice(Flat(), "preset flat")

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix, uniform."""
        return Choice(LKJ(1.0), "preset flat")

    def residual(self) -> Choice:
        """Return the prior of sigma."""
        return Choice(Flat(), "preset flat")


class BrmsRule(Rule):
    """The defaults of brms (2.x) for a Gaussian response.

    Intercept, at the column means: StudentT(3, median(y) - mean(offset), m), m = max(2.5, mad(y)), median and
    mad rounded to one decimal as brms does; coefficients flat; sds and sigma HalfStudentT(3, m); LKJ(1).
    Weights do not enter the moments.
    """

    def __init__(self, design: Design) -> None:
        self._design = design

    @cached_property
    def _scale(self) -> float:
        y = self._design.y
        return max(2.5, round(MAD_TO_SD * float(np.median(np.abs(y - np.median(y)))), 1))

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        design = self._design
        if design.fixed_names[j] != "Intercept":
            return Choice(Flat(), "preset brms")
        location = round(float(np.median(design.y)), 1)
        if design.offset is not None:
            location -= float(np.mean(design.offset))
        source = "preset brms: median(y), max(2.5, mad(y)); at the column means"
        return Choice(StudentT(3.0, location, self._scale), source)

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        return Choice(HalfStudentT(3.0, self._scale), "preset brms: max(2.5, mad(y))")

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""
        return Choice(LKJ(1.0), "preset brms")

    def residual(self) -> Choice:
        """Return the prior of sigma."""
        return Choice(HalfStudentT(3.0, self._scale), "preset brms: max(2.5, mad(y))")


class DecovRule(Rule):
    """rstanarm's prior of a term's covariance, ``decov(1, 1, 1, 1)``.

    Attributes
    ----------
    given
        What else a term's standard deviations depend on, for the table of priors.
    """

    given = "sigma and "

    def joint(self, term: RandomTerm) -> JointChoice:
        """Return the joint prior of the standard deviations of a term."""
        return JointChoice(Decov(), f"preset rstanarm: decov, given {self.given}the term's other sds")

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""
        return Choice(LKJ(1.0), "preset rstanarm: decov")


class RstanarmRule(DecovRule):
    """The defaults of rstanarm's ``stan_lmer``.

    Intercept, at the column means: Normal(mean(y), 2.5 sd(y)); coefficients Normal(0, 2.5 sd(y)/sd(x)); sigma
    Exponential(1/sd(y)); covariances ``decov(1, 1, 1, 1)``: a term's average variance is (tau sigma)², tau
    Exponential(1), split among its effects by a flat Dirichlet, and correlations are LKJ(1). Where one sd of a term is
    given a prior of its own, its other sds are independent, Exponential(1/sd(y)): decov's law of a single sd with sigma
    at its prior mean.
    """

    def __init__(self, design: Design) -> None:
        self._design = design

    @cached_property
    def _response(self) -> ResponseMoments:
        return plain_response_moments(self._design)

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        y, name = self._response, self._design.fixed_names[j]
        if name == "Intercept":
            return Choice(Normal(y.mean, 2.5 * y.sd), "preset rstanarm: mean(y), 2.5 sd(y); at the column means")
        summary = plain_fixed_summary(self._design)
        size = 1.0 if summary.constant[j] else summary_sd(summary, j, name)
        return Choice(Normal(0.0, 2.5 * y.sd / size), "preset rstanarm: 2.5 sd(y)/sd(x)")

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        return Choice(Exponential(1 / self._response.sd), "preset rstanarm: decov, sigma replaced by sd(y)")

    def residual(self) -> Choice:
        """Return the prior of sigma."""
        return Choice(Exponential(1 / self._response.sd), "preset rstanarm: 1/sd(y)")


class BambiRule(Rule):
    """The defaults of bambi 0.17, whose standard deviations have n in the denominator.

    Coefficients Normal(0, s_j), s_j = 2.5 sd(y)/sd(x_j); Intercept, at the column means,
    Normal(mean(y), √((2.5 sd(y))² + Σ s_j² mean(x_j)²)); sd of a random intercept HalfNormal of that same
    scale, of a random slope HalfNormal(2.5 sd(y)/sd(x)); sigma HalfStudentT(4, sd(y)). bambi's random effects
    are independent; a correlated term gets LKJ(1).
    """

    def __init__(self, design: Design) -> None:
        self._design = design

    @cached_property
    def _sd_y(self) -> float:
        sd = float(np.std(self._design.y))
        if not sd > 0:
            raise PriorError("The response is constant, so no prior can be scaled by it; state every prior yourself.")
        return sd

    @cached_property
    def _intercept_scale(self) -> float:
        variance = (2.5 * self._sd_y) ** 2
        for j, name in enumerate(self._design.fixed_names):
            if name != "Intercept":
                column = self._design.X[:, j]
                scale = self._slope_scale(column, name, left_out=is_left_out(self._design, j))
                variance += (scale * float(np.mean(column))) ** 2
        return float(np.sqrt(variance))

    def _slope_scale(self, column: Array, name: str, *, left_out: bool = False) -> float:
        if left_out and np.all(column == column[0]):
            return 2.5 * self._sd_y
        column_sd(column, None, name)  # refuses a constant column
        return 2.5 * self._sd_y / float(np.std(column))

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        name = self._design.fixed_names[j]
        if name == "Intercept":
            source = "preset bambi: mean(y), its intercept scale; at the column means"
            return Choice(Normal(float(np.mean(self._design.y)), self._intercept_scale), source)
        scale = self._slope_scale(self._design.X[:, j], name, left_out=is_left_out(self._design, j))
        return Choice(Normal(0.0, scale), "preset bambi: 2.5 sd(y)/sd(x)")

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        if term.effects[s] == "Intercept":
            return Choice(HalfNormal(self._intercept_scale), "preset bambi: its intercept scale")
        scale = self._slope_scale(term.columns[:, s], f"{term.effects[s]} of {term.name}")
        return Choice(HalfNormal(scale), "preset bambi: 2.5 sd(y)/sd(x)")

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""
        return Choice(LKJ(1.0), "preset bambi has no correlations; uniform")

    def residual(self) -> Choice:
        """Return the prior of sigma."""
        return Choice(HalfStudentT(4.0, self._sd_y), "preset bambi: sd(y)")


PRESETS: dict[str, type] = {
    "default": DefaultRule,
    "flat": FlatRule,
    "brms": BrmsRule,
    "rstanarm": RstanarmRule,
    "bambi": BambiRule,
}


def preset_rule(name: str, design: Design) -> Rule:
    """Return the rule of a preset for a design.

    Raises
    ------
    PriorError
        When there is no such preset.
    """
    if name not in PRESETS:
        raise PriorError(f"Unknown preset of priors {name!r}; known are {', '.join(PRESETS)}.")
    rule: Rule = PRESETS[name](design)
    return rule
