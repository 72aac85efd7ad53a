"""Response distributions: one file each."""

from bayeslmm.families.bernoulli import Bernoulli
from bayeslmm.families.beta import Beta
from bayeslmm.families.binomial import Binomial
from bayeslmm.families.cumulative import Cumulative
from bayeslmm.families.definition import Family, Parameter
from bayeslmm.families.gamma import Gamma
from bayeslmm.families.gaussian import Gaussian
from bayeslmm.families.hurdle import HurdleNegativeBinomial, HurdlePoisson
from bayeslmm.families.lognormal import LogNormal
from bayeslmm.families.negative_binomial import NegativeBinomial
from bayeslmm.families.poisson import Poisson
from bayeslmm.families.registry import FAMILIES, family
from bayeslmm.families.response import Request, Response
from bayeslmm.families.student import Student
from bayeslmm.families.zero_inflated import ZeroInflatedNegativeBinomial, ZeroInflatedPoisson

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Cumulative",
    "Family",
    "Gamma",
    "Gaussian",
    "HurdleNegativeBinomial",
    "HurdlePoisson",
    "LogNormal",
    "NegativeBinomial",
    "Parameter",
    "Poisson",
    "Request",
    "Response",
    "Student",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "family",
]
