r"""Response distributions as PyMC has them, one function each.

A function turns the linear predictor and the dispersion parameters, by the family's names for them, into a distribution
of PyMC and its parameters. A family that is not in `DISTRIBUTIONS` is taken by its own compiled loops
(`bayeslmm.pymc_models.compiled_response`), so that a new family needs no entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the distribution of the rows depends on.

    Attributes
    ----------
    link
        Name of the link.
    eta
        Linear predictor, (n,).
    size
        Trials, or the weights that divide a variance, (n,).
    values
        Dispersion parameters on their natural scale, by name: numbers, vectors, or one number per row.
    """

    link: str
    eta: Any
    size: Array
    values: Mapping[str, Any]

    @property
    def mean(self) -> Any:
        """The inverse link of the predictor, (n,)."""
        return INVERSE_LINKS[self.link](self.eta)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of PyMC with its parameters.

    Attributes
    ----------
    kind
        The class.
    parameters
        Its keyword arguments.
    counts
        Whether the values are whole numbers.
    """

    kind: Any
    parameters: Mapping[str, Any]
    counts: bool = False


def _probit(eta: Any) -> Any:
    return 0.5 * pt.erfc(-eta / np.sqrt(2.0))


INVERSE_LINKS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda eta: eta,
    "log": pt.exp,
    "inverse": lambda eta: 1.0 / eta,
    "logit": pt.sigmoid,
    "probit": _probit,
    "cloglog": lambda eta: -pt.expm1(-pt.exp(eta)),
}


def gaussian(rows: Predicted) -> Distribution:
    """Return the normal distribution; weights divide its variance."""
    return Distribution(pm.Normal, {"mu": rows.eta, "sigma": rows.values["sigma"] / np.sqrt(rows.size)})


def lognormal(rows: Predicted) -> Distribution:
    """Return the lognormal distribution; weights divide the variance of the logarithm."""
    return Distribution(pm.LogNormal, dict(gaussian(rows).parameters))


def student(rows: Predicted) -> Distribution:
    """Return Student's t."""
    return Distribution(pm.StudentT, {"nu": rows.values["nu"], "mu": rows.eta, "sigma": rows.values["sigma"]})


def bernoulli(rows: Predicted) -> Distribution:
    """Return the Bernoulli distribution, by its logit where that is the link."""
    return Distribution(pm.Bernoulli, _probability(rows), counts=True)


def binomial(rows: Predicted) -> Distribution:
    """Return the binomial distribution of the successes."""
    return Distribution(pm.Binomial, {"n": rows.size.astype(np.int64), **_probability(rows)}, counts=True)


def _probability(rows: Predicted) -> dict[str, Any]:
    return {"logit_p": rows.eta} if rows.link == "logit" else {"p": rows.mean}


def poisson(rows: Predicted) -> Distribution:
    """Return the Poisson distribution."""
    return Distribution(pm.Poisson, {"mu": rows.mean}, counts=True)


def negative_binomial(rows: Predicted) -> Distribution:
    """Return the negative binomial distribution of variance ``mu + mu^2/shape``."""
    return Distribution(pm.NegativeBinomial, {"mu": rows.mean, "alpha": rows.values["shape"]}, counts=True)


def gamma(rows: Predicted) -> Distribution:
    """Return the gamma distribution of variance ``mu^2/shape``."""
    shape = rows.values["shape"]
    return Distribution(pm.Gamma, {"alpha": shape, "beta": shape / rows.mean})


def beta(rows: Predicted) -> Distribution:
    """Return the beta distribution of mean and precision; both shapes keep their digits near means of zero and one."""
    precision = rows.values["precision"]
    shapes = {"alpha": precision * pt.sigmoid(rows.eta), "beta": precision * pt.sigmoid(-rows.eta)}
    return Distribution(pm.Beta, shapes)


def cumulative(rows: Predicted) -> Distribution:
    """Return the distribution of ordered categories, counted from zero."""
    thresholds = pt.atleast_1d(rows.values["threshold"])
    if rows.link == "logit":
        shares = pm.OrderedLogistic.compute_p(rows.eta, thresholds)
    else:
        shares = pm.OrderedProbit.compute_p(rows.eta, thresholds, 1.0)
    return Distribution(pm.Categorical, {"p": shares}, counts=True)


def zero_inflated_poisson(rows: Predicted) -> Distribution:
    """Return Poisson counts and extra zeros."""
    return _with_zeros(pm.ZeroInflatedPoisson, poisson(rows), rows)


def zero_inflated_negative_binomial(rows: Predicted) -> Distribution:
    """Return negative binomial counts and extra zeros."""
    return _with_zeros(pm.ZeroInflatedNegativeBinomial, negative_binomial(rows), rows)


def hurdle_poisson(rows: Predicted) -> Distribution:
    """Return zeros, and Poisson counts without zeros."""
    return _with_zeros(pm.HurdlePoisson, poisson(rows), rows)


def hurdle_negative_binomial(rows: Predicted) -> Distribution:
    """Return zeros, and negative binomial counts without zeros."""
    return _with_zeros(pm.HurdleNegativeBinomial, negative_binomial(rows), rows)


def _with_zeros(kind: Any, counts: Distribution, rows: Predicted) -> Distribution:
    return Distribution(kind, {"psi": 1.0 - rows.values["zero"], **counts.parameters}, counts=True)


DISTRIBUTIONS: dict[str, Callable[[Predicted], Distribution]] = {
    function.__name__: function
    for function in (
        gaussian, bernoulli, binomial, poisson, negative_binomial, gamma, beta, student, lognormal, cumulative,
        zero_inflated_poisson, zero_inflated_negative_binomial, hurdle_poisson, hurdle_negative_binomial,
    )
}  # fmt: skip
