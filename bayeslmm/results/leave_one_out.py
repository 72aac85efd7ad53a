"""Leave-one-out of posterior fits, coefficients and random effects integrated out, and models compared by it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import pandas as pd

from bayeslmm.comparison.leave_one_out import CovarianceDraws, left_out
from bayeslmm.comparison.pareto_loo import LeftOut
from bayeslmm.comparison.solved_leave_one_out import rows_left_out_by_solves
from bayeslmm.design.collinearity import independent_columns_of
from bayeslmm.errors import FittingError, OptionError, is_word, warn_user
from bayeslmm.inference.options import check_count
from bayeslmm.likelihood.left_out import DataRows, Sets
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.mixture_density import MixtureDensity, covariance_density, not_integrable
from bayeslmm.results.draws_dataset import safe_labels
from bayeslmm.results.fit import Fit
from bayeslmm.results.generalized_leave_one_out import generalized_units
from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit
from bayeslmm.results.left_out_units import Units, find_units
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.posterior_prediction import flatten

if TYPE_CHECKING:
    from arviz import ELPDData

    from bayeslmm.priors.model_priors import ModelPriors

Weights = Literal["stacking", "BB-pseudo-BMA", "pseudo-BMA"]

DRAWS, FEWER_DRAWS = 1000, 500  # of the covariance parameters: few numbers, which so many draws tell well
MANY = 20_000  # units from which fewer draws are used
UNEVEN = 10.0  # times the average weight: below, the shape of the weights' tail is that of noise
LARGE_ERROR = 0.1  # of a row's log predictive density, that is said
LARGEST_SET = 3000  # rows left out at once whose joint density is formed


def loo(fit: Fit, unit: Any = "row", *, draws: int | None = None) -> "ELPDData":
    r"""Estimate how well a model predicts data it has not seen, by leaving out one row or group at a time.

    The log predictive density of a unit given all others, :math:`\log p(y_u \mid y_{-u})`, is that of a normal
    distribution in closed form once the covariance parameters are known: coefficients and random effects are integrated
    out. Only the few covariance parameters are weighted, by Pareto-smoothed importance sampling from the draws of the
    fit, so the weights hold where those of the conditional likelihood do not. For generalized models the effects of one
    term are integrated out by quadrature at the draws of everything else: of the term with the most levels where rows
    are left out, of the factor whose levels are left out.

    Parameters
    ----------
    fit
        A posterior.
    unit
        What is left out at a time: "row"; "group", all rows of a level of the model's grouping factor; the name of a
        grouping factor or of a column that the formula uses; or a label for each row used, a Series matched by row
        labels. Which of them asks the question at hand: "row" is about new rows of known groups, a factor about rows of
        new groups.
    draws
        How many of the fit's draws are used, at most, evenly spaced; None for 1,000, or 500 where more than 20,000
        units are left out. Where the model is large, the densities at the draws are those of a quadratic through a few
        points, checked at others. Leverages of rows after ``solver="iterative"`` are estimated by probes, whose error
        is part of mcse and mcse_i.

    Returns
    -------
    arviz.ELPDData
        elpd_loo and its standard error se; p_loo, the effective number of parameters; loo_i and pareto_k, by unit;
        mcse and mcse_i, the Monte Carlo errors of elpd_loo and loo_i. It prints itself.

    Raises
    ------
    OptionError
        If the fit is no posterior, its coefficients' priors are not normal, or the unit names nothing or sets too
        large.
    FittingError
        If the others do not identify the coefficients of a unit left out, and their priors are flat.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Statistics and Computing 27. Merkle, Furr and Rabe-Hesketh (2019), Psychometrika
    84, on integrating out. Vehtari et al. (2024), JMLR 25(72), on the smoothing.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), method="importance", seed=1)
    >>> found = blm.loo(fit)
    >>> bool(found["pareto_k"].max() < 0.7)
    True
    """
    if draws is not None:
        check_count("draws", draws, 10)
    if not isinstance(fit, PosteriorFit):
        raise OptionError("loo() needs a posterior: fit the model with method='importance' or 'nuts'.")
    units = find_units(fit.design, unit)
    count = draws or (FEWER_DRAWS if len(units.labels) > MANY else DRAWS)
    if isinstance(fit, GeneralizedPosteriorFit):
        found = generalized_units(fit, units, count)
    else:
        found = _left_out(fit, units, count)
    if (large := int(np.sum(found.error > LARGE_ERROR))) and len(found.probes_moved):
        warn_user(
            f"The Monte Carlo error of {large} of {len(found.elpd)} rows' log predictive densities is above "
            f'{LARGE_ERROR}: few others share their levels, and the leverages of solver="iterative" are estimated by '
            "probes. mcse_i has every row's error, mcse that of their sum."
        )
    bad = ~np.isfinite(found.elpd)
    if bad.any():
        raise FittingError(
            f"Without {_what(units)} {units.labels[int(np.argmax(bad))]!r} the data do not identify all coefficients, "
            f"whose priors are flat ({int(bad.sum())} such units): give them normal priors, such as the default ones."
        )
    return _labelled(found, units)


def _left_out(fit: PosteriorFit, units: Units, count: int) -> LeftOut:
    priors = cast("ModelPriors", fit.priors)
    if others := not_integrable(priors):
        raise OptionError(
            f"The coefficients cannot be integrated out under the priors of {', '.join(others)}: give them Normal "
            "or StudentT priors, or use cross_validate(), which fits the model again."
        )
    sets = None
    if units.codes is not None:
        sets = Sets.of(units.codes, len(units.labels))
        if sets.sizes.max() > LARGEST_SET:
            largest = units.labels[int(np.argmax(sets.sizes))]
            raise OptionError(
                f"{units.name} {largest!r} has {sets.sizes.max():,} rows, more than the {LARGEST_SET:,} whose joint "
                "density is formed: use cross_validate(), which fits the model again, or unit='row'."
            )
    by_solves = sets is None and "probes" in fit.draws.info
    kernel = fit.products_kernel if by_solves else fit.kernel
    density = covariance_density(kernel, priors, fit.spec.sigma)
    draws = covariance_draws(fit, count, density)
    if by_solves:
        return rows_left_out_by_solves(density, draws, data_rows(fit))
    return left_out(density, draws, data_rows(fit), sets)


def data_rows(fit: Fit) -> DataRows:
    """Return the rows used by a fit, with the independent columns."""
    design = independent_columns_of(fit.design)
    return DataRows(
        y=design.y if design.offset is None else design.y - design.offset,
        X=design.X,
        codes=tuple(term.codes for term in design.terms),
        columns=tuple(term.columns for term in design.terms),
        root_weights=np.ones(design.n) if design.weights is None else np.sqrt(design.weights),
    )


def covariance_draws(fit: PosteriorFit, count: int, density: CovarianceDensity) -> CovarianceDraws:
    """Return at most `count` draws of the covariance parameters, evenly spaced among all."""
    flat = flatten(fit.draws)
    total = len(flat.sigma)
    chosen = np.arange(total) if total <= count else np.linspace(0, total - 1, count).astype(int)
    sigma = flat.sigma[chosen]
    relative = [factors[chosen] / sigma[:, None, None] for factors in flat.factors]
    lambdas = [density.kernel.kernel_factors([factors[d] for factors in relative]) for d in range(len(chosen))]
    log_mixing = np.zeros((len(chosen), 0))
    if isinstance(density, MixtureDensity):  # drawn again, given the coefficients
        log_mixing = density.draw_log_mixing(flat.beta[chosen], np.random.default_rng(0))
    return CovarianceDraws(tuple(np.array(factors) for factors in zip(*lambdas, strict=True)), sigma, log_mixing)


def _what(units: Units) -> str:
    return "row" if units.codes is None else units.name


def _labelled(found: LeftOut, units: Units) -> "ELPDData":
    """Return the results in arviz's format, warning of weights that cannot be trusted."""
    import xarray

    from bayeslmm.results.arviz_bridge import elpd_data

    count = len(found.elpd)
    good_k = 0.7 if found.n_draws == 1 else min(1.0 - 1.0 / np.log10(max(found.n_draws, 20)), 0.7)
    bad = int(np.sum((found.k > good_k) & (found.largest > UNEVEN)))
    if bad:
        warn_user(
            f"The Pareto k of {bad} of {count} units left out is above {good_k:.2f}: without them the posterior "
            "would be another, and their weights are not to be trusted. cross_validate() fits the model "
            "again without them."
        )
    coords = {units.dimension: safe_labels(pd.Index(units.labels))}

    def by_unit(values: Any) -> "xarray.DataArray":
        return xarray.DataArray(values, dims=(units.dimension,), coords=coords)

    facts = {
        "elpd_loo": float(found.elpd.sum()),
        "se": float(np.sqrt(count * np.var(found.elpd))),
        "p_loo": float(found.within.sum() - found.elpd.sum()),
        "n_samples": found.n_draws,
        "n_data_points": count,
        "warning": bad > 0,
        "scale": "log",
        "good_k": good_k,
        "mcse": found.total_error,
        "unit": units.name,
    }
    pointwise = {"loo_i": by_unit(found.elpd), "pareto_k": by_unit(found.k), "mcse_i": by_unit(found.error)}
    return elpd_data(facts, pointwise)


def compare_models(
    models: "Mapping[str, PosteriorFit | ELPDData]",
    *,
    unit: Any = "row",
    weights: Weights = "stacking",
    draws: int | None = None,
) -> pd.DataFrame:
    """Compare models of one response by their predictions of what they have not seen; see :func:`loo`.

    Parameters
    ----------
    models
        Posterior fits, or results of :func:`loo` by the same unit, by name; two or more.
    unit, draws
        As for :func:`loo`; for fits only.
    weights
        How models are weighted for a joint prediction: "stacking", "BB-pseudo-BMA" or "pseudo-BMA".

    Returns
    -------
    DataFrame
        arviz's comparison, best first: rank, elpd_loo, p_loo, elpd_diff with its standard error dse, weight, se,
        warning, scale.

    Raises
    ------
    OptionError
        If there are fewer than two models, or they are not of the same response, rows and unit.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> sleep = blm.load_dataset("sleepstudy")
    >>> slopes = blm.lmm("Reaction ~ Days + (Days | Subject)", sleep, method="importance", seed=1)
    >>> means = blm.lmm("Reaction ~ Days + (1 | Subject)", sleep, method="importance", seed=1)
    >>> list(blm.compare_models({"slopes": slopes, "means": means}).index)
    ['slopes', 'means']
    """
    from bayeslmm.results.arviz_bridge import compare_elpd

    if not isinstance(models, Mapping) or len(models) < 2:
        raise OptionError("compare_models needs two models or more by name, such as {'lines': fit1, 'means': fit0}.")
    if not is_word(weights, get_args(Weights)):
        raise OptionError(f"weights={weights!r} is unknown; use one of {', '.join(map(repr, get_args(Weights)))}.")
    fits = {name: fit for name, fit in models.items() if isinstance(fit, Fit)}
    check_same_response(fits)
    results = {str(name): loo(fit, unit, draws=draws) if name in fits else fit for name, fit in models.items()}
    first, *others = results.items()
    for name, found in others:
        if not hasattr(found, "loo_i") or not hasattr(first[1], "loo_i"):
            raise OptionError(f"compare_models takes posterior fits and results of loo(); {name!r} is none.")
        if not found["loo_i"].coords.to_dataset().equals(first[1]["loo_i"].coords.to_dataset()):
            raise OptionError(
                f"{first[0]!r} and {name!r} left out different units: use the same rows and unit for both."
            )
    return compare_elpd(cast("dict[str, ELPDData]", results), weights)


def check_same_response(fits: Mapping[str, Fit]) -> None:
    """Refuse fits whose predictive densities are not of the same numbers.

    Raises
    ------
    OptionError
        If two fits have different rows or responses.
    """
    items = list(fits.items())
    for name, fit in items[1:]:
        first, other = items[0]
        if not fit.design.index.equals(other.design.index):
            raise OptionError(
                f"{first!r} and {name!r} use different rows ({other.nobs} and {fit.nobs}): fit both to the rows that "
                "are complete for both."
            )
        if not np.array_equal(fit.design.y, other.design.y):
            raise OptionError(
                f"{first!r} and {name!r} have different responses, {other.design.response!r} and "
                f"{fit.design.response!r}: densities on different scales cannot be compared."
            )
