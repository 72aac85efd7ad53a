"""Bayesian linear mixed models: one formula, the posterior and its REML twin."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Model": "bayeslmm.model",
    "lmm": "bayeslmm.model",
    "load": "bayeslmm.model",
    "compare": "bayeslmm.results",
    "PointFit": "bayeslmm.results",
    "PosteriorFit": "bayeslmm.results",
    "load_dataset": "bayeslmm.datasets",
    "MixedEffectsForest": "bayeslmm.forest",
    "mixed_forest": "bayeslmm.forest",
    **dict.fromkeys(
        (
            "Normal", "StudentT", "Cauchy", "Laplace", "Uniform", "HalfNormal", "HalfStudentT", "HalfCauchy",
            "Exponential", "Gamma", "InverseGamma", "LKJ", "Flat",
        ),
        "bayeslmm.priors",
    ),
    **dict.fromkeys(
        (
            "BayeslmmError", "FormulaError", "DataError", "ModelError", "PriorError", "OptionError", "FittingError",
            "StorageError", "ModelFileError", "MissingDependencyError",
        ),
        "bayeslmm.errors",
    ),
}  # fmt: skip

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import bayeslmm`` stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bayeslmm' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
