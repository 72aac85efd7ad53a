"""Bayesian linear mixed models: one formula, the posterior and its REML twin."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; a test holds it against the table below
    from bayeslmm.datasets import load_dataset as load_dataset
    from bayeslmm.errors import BayeslmmError as BayeslmmError
    from bayeslmm.errors import DataError as DataError
    from bayeslmm.errors import FittingError as FittingError
    from bayeslmm.errors import FormulaError as FormulaError
    from bayeslmm.errors import MissingDependencyError as MissingDependencyError
    from bayeslmm.errors import ModelError as ModelError
    from bayeslmm.errors import ModelFileError as ModelFileError
    from bayeslmm.errors import OptionError as OptionError
    from bayeslmm.errors import PriorError as PriorError
    from bayeslmm.errors import RowsError as RowsError
    from bayeslmm.errors import StorageError as StorageError
    from bayeslmm.families import Bernoulli as Bernoulli
    from bayeslmm.families import Beta as Beta
    from bayeslmm.families import Binomial as Binomial
    from bayeslmm.families import Cumulative as Cumulative
    from bayeslmm.families import HurdleNegativeBinomial as HurdleNegativeBinomial
    from bayeslmm.families import HurdlePoisson as HurdlePoisson
    from bayeslmm.families import LogNormal as LogNormal
    from bayeslmm.families import NegativeBinomial as NegativeBinomial
    from bayeslmm.families import Poisson as Poisson
    from bayeslmm.families import Student as Student
    from bayeslmm.families import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
    from bayeslmm.families import ZeroInflatedPoisson as ZeroInflatedPoisson
    from bayeslmm.forest import MixedEffectsForest as MixedEffectsForest
    from bayeslmm.forest import mixed_forest as mixed_forest
    from bayeslmm.loading import load as load
    from bayeslmm.merging import merge as merge
    from bayeslmm.model import Model as Model
    from bayeslmm.one_call import lmm as lmm
    from bayeslmm.priors import LKJ as LKJ
    from bayeslmm.priors import Cauchy as Cauchy
    from bayeslmm.priors import Exponential as Exponential
    from bayeslmm.priors import Flat as Flat
    from bayeslmm.priors import Gamma as Gamma
    from bayeslmm.priors import HalfCauchy as HalfCauchy
    from bayeslmm.priors import HalfNormal as HalfNormal
    from bayeslmm.priors import HalfStudentT as HalfStudentT
    from bayeslmm.priors import InverseGamma as InverseGamma
    from bayeslmm.priors import Laplace as Laplace
    from bayeslmm.priors import Logistic as Logistic
    from bayeslmm.priors import Normal as Normal
    from bayeslmm.priors import StudentT as StudentT
    from bayeslmm.priors import Uniform as Uniform
    from bayeslmm.results import PointFit as PointFit
    from bayeslmm.results import PosteriorFit as PosteriorFit
    from bayeslmm.results import anova as anova
    from bayeslmm.results import bayes_factor as bayes_factor
    from bayeslmm.results import collinearity as collinearity
    from bayeslmm.results import compare as compare
    from bayeslmm.results import compare_models as compare_models
    from bayeslmm.results import loo as loo
    from bayeslmm.results import marginaleffects as marginaleffects
    from bayeslmm.results import prior_vs_posterior as prior_vs_posterior
    from bayeslmm.results import table as table
    from bayeslmm.studies import cross_validate as cross_validate
    from bayeslmm.studies import power as power

__version__ = "0.1.0"

_PUBLIC = {
    "Model": "bayeslmm.model",
    "lmm": "bayeslmm.one_call",
    "load": "bayeslmm.loading",
    "merge": "bayeslmm.merging",
    "anova": "bayeslmm.results",
    "bayes_factor": "bayeslmm.results",
    "collinearity": "bayeslmm.results",
    "compare": "bayeslmm.results",
    "compare_models": "bayeslmm.results",
    "loo": "bayeslmm.results",
    "marginaleffects": "bayeslmm.results",
    "prior_vs_posterior": "bayeslmm.results",
    "table": "bayeslmm.results",
    "cross_validate": "bayeslmm.studies",
    "power": "bayeslmm.studies",
    "PointFit": "bayeslmm.results",
    "PosteriorFit": "bayeslmm.results",
    "load_dataset": "bayeslmm.datasets",
    "MixedEffectsForest": "bayeslmm.forest",
    "mixed_forest": "bayeslmm.forest",
    **dict.fromkeys(
        (
            "Normal", "StudentT", "Cauchy", "Laplace", "Logistic", "Uniform", "HalfNormal", "HalfStudentT",
            "HalfCauchy", "Exponential", "Gamma", "InverseGamma", "LKJ", "Flat",
        ),
        "bayeslmm.priors",
    ),
    **dict.fromkeys(
        (
            "Bernoulli", "Beta", "Binomial", "Cumulative", "HurdleNegativeBinomial", "HurdlePoisson", "LogNormal",
            "NegativeBinomial", "Poisson", "Student", "ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson",
        ),
        "bayeslmm.families",
    ),
    **dict.fromkeys(
        (
            "BayeslmmError", "FormulaError", "DataError", "ModelError", "PriorError", "OptionError", "FittingError",
            "StorageError", "ModelFileError", "MissingDependencyError", "RowsError",
        ),
        "bayeslmm.errors",
    ),
}  # fmt: skip

__all__ = ["__version__", *sorted(_PUBLIC)]


if not TYPE_CHECKING:  # a checker that saw it would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Import a public name on first use, so that ``import bayeslmm`` stays light."""
        if name not in _PUBLIC:
            raise AttributeError(f"module 'bayeslmm' has no attribute {name!r}")
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
