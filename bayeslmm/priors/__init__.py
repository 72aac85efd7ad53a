"""Prior distributions, the rules that scale them by the data, and the table that explains them."""

from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.priors.parse import parse_prior
from bayeslmm.priors.positive import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma
from bayeslmm.priors.predictive import prior_predictive
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Cauchy, Flat, Laplace, Logistic, Normal, StudentT, Uniform
from bayeslmm.priors.resolve import resolve_family_priors, resolve_priors

__all__ = [
    "LKJ",
    "Cauchy",
    "Exponential",
    "Flat",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "Laplace",
    "Logistic",
    "ModelPriors",
    "Normal",
    "Prior",
    "StudentT",
    "TermPriors",
    "Uniform",
    "parse_prior",
    "prior_predictive",
    "resolve_family_priors",
    "resolve_priors",
]
