"""Link functions: the mean at a linear predictor, and back."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log1p, logit, ndtr, ndtri

from bayeslmm.families.special import LARGEST
from bayeslmm.types import Array

LINK_SCALES = {"logit": 2.5, "probit": 1.5, "cloglog": 1.5, "log": 1.0}


@dataclass(frozen=True, slots=True)
class Link:
    r"""A link function g, :math:`\eta = g(\mu)`.

    Attributes
    ----------
    name
        What it is called.
    mean
        :math:`\mu = g^{-1}(\eta)`, elementwise.
    predictor
        :math:`\eta = g(\mu)`, elementwise.
    """

    name: str
    mean: Callable[[Array], Array]
    predictor: Callable[[Array], Array]


def _bounded_exp(eta: Array) -> Array:
    return np.exp(np.minimum(eta, LARGEST))


def _inverse(values: Array) -> Array:
    with np.errstate(divide="ignore"):
        return 1.0 / values


def _same(values: Array) -> Array:
    return np.asarray(values, dtype=float)


LINKS: dict[str, Link] = {
    link.name: link
    for link in (
        Link("identity", _same, _same),
        Link("log", _bounded_exp, np.log),
        Link("inverse", _inverse, _inverse),
        Link("logit", expit, logit),
        Link("probit", ndtr, ndtri),
        Link("cloglog", lambda eta: -np.expm1(-_bounded_exp(eta)), lambda mean: np.log(-log1p(-mean))),
    )
}
