"""Fits and what they say: effects, predictions, comparison, diagnostics, storage."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayeslmm.results.comparison import compare as compare
    from bayeslmm.results.criticism import collinearity as collinearity
    from bayeslmm.results.evidence import bayes_factor as bayes_factor
    from bayeslmm.results.leave_one_out import compare_models as compare_models
    from bayeslmm.results.leave_one_out import loo as loo
    from bayeslmm.results.likelihood_ratio import anova as anova
    from bayeslmm.results.marginal_effects import marginaleffects as marginaleffects
    from bayeslmm.results.model_table import table as table
    from bayeslmm.results.point import PointFit as PointFit
    from bayeslmm.results.posterior import PosteriorFit as PosteriorFit
    from bayeslmm.results.prior_sensitivity import prior_vs_posterior as prior_vs_posterior

_HOMES = {
    "PointFit": "point",
    "PosteriorFit": "posterior",
    "collinearity": "criticism",
    "compare": "comparison",
    "anova": "likelihood_ratio",
    "bayes_factor": "evidence",
    "compare_models": "leave_one_out",
    "loo": "leave_one_out",
    "marginaleffects": "marginal_effects",
    "prior_vs_posterior": "prior_sensitivity",
    "table": "model_table",
}

__all__ = [
    "PointFit",
    "PosteriorFit",
    "anova",
    "bayes_factor",
    "collinearity",
    "compare",
    "compare_models",
    "loo",
    "marginaleffects",
    "prior_vs_posterior",
    "table",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a result class on first use: a REML fit needs nothing of posterior diagnostics."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
