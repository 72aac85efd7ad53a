"""Default priors for a response distribution: in units of its link, or of the data where the link has none."""

import numpy as np

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import PriorError
from bayeslmm.families import Family, Response
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.moments import fixed_summary, term_summary
from bayeslmm.priors.parse import parse_prior
from bayeslmm.priors.positive import Exponential, HalfStudentT
from bayeslmm.priors.presets import MAD_TO_SD, DecovRule
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat, Logistic, Normal, StudentT
from bayeslmm.priors.rules import COEFFICIENT_SCALE, Choice, Rule, column_scale, is_left_out

INTERCEPT_SCALE = 2.5  # units of the link
BRMS_SCALE = 2.5  # the smallest of its Student t priors
BRMS_ZERO = 0.1  # what it takes for responses of zero on the scale of the logarithm or the inverse
BRMS_LINKS = ("identity", "log", "inverse")  # those on whose scale it looks at the response
BRMS_SD_SOURCE = "preset brms: max(2.5, mad of y on the link's scale)"
RSTANARM_FAMILIES = ("bernoulli", "binomial", "poisson", "negative_binomial", "gamma")


class FamilyRule(Rule):
    """Weakly informative priors on the link's scale.

    ===================  =====================================  =====================================
    parameter            prior                                  note
    ===================  =====================================  =====================================
    Intercept            Normal(link(mean(y)), 2.5)             at the column means of X
    coefficient          Normal(0, s/sd(x))
    random-effect sd     HalfStudentT(3, s/sd(x))               x = 1 for an intercept
    correlations         LKJ(1)
    dispersions          those of the family
    ===================  =====================================  =====================================

    s is 2.5 for logit, 1.5 for probit and cloglog, 1 for log: a coefficient of s moves a probability over most of its
    range, or multiplies a mean by e, for one standard deviation of x. Where the link leaves the response its units
    (identity, inverse), s is the response's standard deviation on the link's scale, and coefficients and the intercept
    have 2.5 s as for normal responses. The location is less the mean of the offset; thresholds in place of an
    intercept, which rise with the linear predictor, are moved up by it.

    Parameters
    ----------
    design
        The model's columns.
    family, response
        The distribution and what it read.
    """

    def __init__(self, design: Design, family: Family, response: Response) -> None:
        self._design, self._family = design, family
        self._scale = family.predictor_scale(response)
        self._offset = 0.0 if design.offset is None else float(np.mean(design.offset))
        self._location = family.predictor_location(response) - self._offset
        self._wide = 1.0 if family.link_has_scale else COEFFICIENT_SCALE
        self._unit = f"{self._scale:g}" if family.link_has_scale else "sd(y) on the link's scale"

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        design = self._design
        constant = design.centring.constant[j]
        name = design.fixed_names[j]
        summary = fixed_summary(design)
        flat = is_left_out(design, j) and summary.constant[j]
        size = 1.0 if flat else column_scale(summary, j, name)
        scale = self._wide * self._scale / size
        if flat:
            return Choice(Normal(0.0, scale), f"default: {self._unit}, the column does not vary")
        if constant == 0:
            return Choice(Normal(0.0, scale), f"default: {self._unit}/sd(x)")
        if name == "Intercept":
            spread = INTERCEPT_SCALE if self._family.link_has_scale else scale
            return Choice(Normal(self._location, spread), "default: link of the mean; at the column means")
        return Choice(Normal(self._location * constant, scale), f"default: link of the mean, {self._unit}/sd(x)")

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        name = f"{term.effects[s]} of {term.name}"
        size = column_scale(term_summary(self._design, term), s, name)
        per = "" if term.effects[s] == "Intercept" else "/sd(x)"
        return Choice(HalfStudentT(3.0, self._scale / size), f"default: {self._unit}{per}")

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""
        return Choice(LKJ(1.0), "default")

    def residual(self) -> Choice:
        """Raise: there is no sigma."""
        raise NotImplementedError("a generalized model has dispersion parameters in place of sigma")

    def dispersion(self) -> dict[str, Choice]:
        """Return the prior of each dispersion parameter, on its natural scale, by name."""
        found = {}
        for parameter in self._family.parameters:
            prior = parse_prior(parameter.prior)
            if parameter.in_response_units and isinstance(prior, Prior):
                prior = prior.affine(0.0, self._scale)
            if parameter.holds_level and isinstance(prior, Prior):
                prior = prior.affine(self._offset, 1.0)
            found[parameter.name] = Choice(prior, f"default: {parameter.reason}")
        return found


class BrmsFamilyRule(FamilyRule):
    """The defaults of brms (2.22).

    ===================  =====================================  =====================================
    parameter            prior                                  note
    ===================  =====================================  =====================================
    Intercept            StudentT(3, l, m)                      at the column means of X
    coefficient          flat
    random-effect sd     HalfStudentT(3, m)
    correlations         LKJ(1)
    sigma                HalfStudentT(3, m)
    thresholds           StudentT(3, 0, 2.5)                    at the column means of X
    zero[Intercept]      Logistic(0, 1)                         at the column means
    zero[x]              flat
    other dispersions    those of the family                    which are brms's own
    ===================  =====================================  =====================================

    With the link identity, log or inverse, l = median(link(y)) less the mean of the offset and m = max(2.5,
    mad(link(y))), median and mad rounded to one decimal, responses of zero counted as 0.1 where the link needs it; with
    any other link, and for categories, l and m are 0 and 2.5. Log-normal responses count by their logarithms.
    """

    def __init__(self, design: Design, family: Family, response: Response) -> None:
        super().__init__(design, family, response)
        self._middle, self._spread = 0.0, BRMS_SCALE
        link = family.link.name
        if family.takes_constant and link in BRMS_LINKS:
            if link == "identity":
                on_link = family.start_predictor(response)
            else:
                on_link = family.link.predictor(np.where(response.y == 0, BRMS_ZERO, response.y))
            middle = float(np.median(on_link))
            self._middle = round(middle, 1) - self._offset
            self._spread = max(BRMS_SCALE, round(MAD_TO_SD * float(np.median(np.abs(on_link - middle))), 1))

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        if self._design.fixed_names[j] != "Intercept":
            return Choice(Flat(), "preset brms")
        return Choice(
            StudentT(3.0, self._middle, self._spread),
            "preset brms: median and mad of y on the link's scale; at the column means",
        )

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        return Choice(HalfStudentT(3.0, self._spread), BRMS_SD_SOURCE)

    def correlation(self, term: RandomTerm) -> Choice:
        """Return the prior of a term's correlation matrix."""
        return Choice(LKJ(1.0), "preset brms")

    def dispersion(self) -> dict[str, Choice]:
        """Return the prior of each dispersion parameter, on its natural scale, by name."""
        found = super().dispersion()
        for parameter in self._family.parameters:
            if parameter.in_response_units:
                found[parameter.name] = Choice(HalfStudentT(3.0, self._spread), BRMS_SD_SOURCE)
            elif parameter.holds_level:
                found[parameter.name] = Choice(StudentT(3.0, 0.0, BRMS_SCALE), "preset brms: at the column means")
            elif parameter.name == "zero[Intercept]":
                found[parameter.name] = Choice(Logistic(0.0, 1.0), "preset brms; at the column means")
            elif parameter.name.startswith("zero["):
                found[parameter.name] = Choice(Flat(), "preset brms")
            else:
                found[parameter.name] = Choice(found[parameter.name].prior, "preset brms")
        return found


class RstanarmFamilyRule(DecovRule, FamilyRule):
    """The defaults of rstanarm's ``stan_glmer``.

    Intercept, at the column means: Normal(0, 2.5); coefficients Normal(0, 2.5/sd(x)); the dispersion of counts and of
    gamma responses Exponential(1); covariances ``decov(1, 1, 1, 1)`` as for normal responses with sigma of one. Where
    one sd of a term is given a prior of its own, its other sds are Exponential(1), decov's law of a single sd.

    Raises
    ------
    PriorError
        For families that ``stan_glmer`` has not.
    """

    given = ""

    def __init__(self, design: Design, family: Family, response: Response) -> None:
        super().__init__(design, family, response)
        if family.name not in RSTANARM_FAMILIES:
            raise PriorError(
                f"The preset 'rstanarm' is for the families {', '.join(RSTANARM_FAMILIES)}, not {family.name!r}: leave "
                "priors= out, or state priors by parameter."
            )

    def coefficient(self, j: int) -> Choice:
        """Return the prior of fixed column j."""
        if self._design.fixed_names[j] == "Intercept":
            return Choice(Normal(0.0, 2.5), "preset rstanarm: 2.5; at the column means")
        summary = fixed_summary(self._design)
        size = 1.0 if summary.constant[j] else float(summary.sd[j])
        return Choice(Normal(0.0, 2.5 / size), "preset rstanarm: 2.5/sd(x)")

    def sd(self, term: RandomTerm, s: int) -> Choice:
        """Return the prior of the standard deviation of effect s of a term."""
        return Choice(Exponential(1.0), "preset rstanarm: decov of a single sd")

    def dispersion(self) -> dict[str, Choice]:
        """Return the prior of each dispersion parameter, on its natural scale, by name."""
        return {p.name: Choice(Exponential(1.0), "preset rstanarm") for p in self._family.parameters}


FAMILY_PRESETS = {"default": FamilyRule, "brms": BrmsFamilyRule, "rstanarm": RstanarmFamilyRule}
