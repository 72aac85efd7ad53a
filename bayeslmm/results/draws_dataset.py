"""Posterior draws with the user's own labels, as xarray datasets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance.pairs import pair_labels, pair_values
from bayeslmm.design.design import Design
from bayeslmm.design.names import ROWS, safe_labels
from bayeslmm.design.streamed import is_streamed
from bayeslmm.inference.draws import Draws
from bayeslmm.results.posterior_prediction import predictor_draws
from bayeslmm.results.prediction import training_rows
from bayeslmm.results.storable import storable
from bayeslmm.types import Array

if TYPE_CHECKING:
    import xarray


def datasets(design: Design, draws: Draws) -> dict[str, "xarray.Dataset"]:
    """Return the groups posterior, sample_stats, observed_data and constant_data, ready to be written.

    In the posterior: ``beta`` (dim "fixed"), ``sigma``, and per term g ``sd_g`` (g_effect), ``cor_g``
    (g_pair, as "Intercept, Days"; only where there are correlations) and ``r_g`` (g, g_effect; only where the draws
    were kept). A design without rows has no observed_data and no constant_data.
    """
    import xarray

    chains = {"chain": np.arange(draws.n_chains), "draw": np.arange(draws.n_draws)}
    sampled = ("chain", "draw")
    groups = {"posterior": _posterior(design, draws, chains)}
    if draws.stats:
        stats = {name: (sampled, np.asarray(values)) for name, values in draws.stats.items()}
        groups["sample_stats"] = xarray.Dataset(stats, coords=chains)
    if not is_streamed(design):
        rows = {ROWS: safe_labels(row_labels(design))}
        groups["observed_data"] = xarray.Dataset({design.response: ((ROWS,), design.y)}, coords=rows)
        groups["constant_data"] = _constants(design, rows)
    for group in groups.values():
        group.attrs.update(_attributes(design, draws))
    return {name: storable(group) for name, group in groups.items()}


def _posterior(design: Design, draws: Draws, chains: Mapping[str, Any]) -> "xarray.Dataset":
    import xarray

    sampled = ("chain", "draw")
    coords: dict[str, Any] = {**chains, "fixed": np.array(design.fixed_names, dtype=object)}
    variables: dict[str, Any] = {
        "beta": ((*sampled, "fixed"), draws.beta),
        "sigma": (sampled, draws.sigma),
    }
    for term, sd, cor, b, kept in zip(design.terms, draws.sd, draws.cor, draws.effects, draws.kept, strict=True):
        effect, pair = f"{term.name}_effect", f"{term.name}_pair"
        coords[effect] = np.array(term.effects, dtype=object)
        variables[f"sd_{term.name}"] = ((*sampled, effect), sd)
        if cor is not None:
            coords[pair] = np.array(pair_labels(term.effects), dtype=object)
            variables[f"cor_{term.name}"] = ((*sampled, pair), pair_values(cor))
        if kept:
            coords[term.factor] = safe_labels(term.levels)
            variables[f"r_{term.name}"] = ((*sampled, term.factor, effect), b)
    return xarray.Dataset(variables, coords=coords)


def _constants(design: Design, rows: Mapping[str, Any]) -> "xarray.Dataset":
    import xarray

    coords: dict[str, Any] = {**rows, "fixed": np.array(design.fixed_names, dtype=object)}
    variables: dict[str, Any] = {"X": ((ROWS, "fixed"), design.X)}
    for term in design.terms:
        coords[f"{term.name}_effect"] = np.array(term.effects, dtype=object)
        variables[f"Z_{term.name}"] = ((ROWS, f"{term.name}_effect"), term.columns)
        variables[f"codes_{term.factor}"] = ((ROWS,), term.codes)
    if design.weights is not None:
        variables["weights"] = ((ROWS,), design.weights)
    if design.offset is not None:
        variables["offset"] = ((ROWS,), design.offset)
    return xarray.Dataset(variables, coords=coords)


def row_dataset(design: Design, draws: Draws, group: str, rng: np.random.Generator) -> "xarray.Dataset":
    """Return the log density of every row, or a new response for it, at every draw.

    Parameters
    ----------
    design
        The rows.
    draws
        The posterior draws.
    group
        "log_likelihood" or "posterior_predictive".
    rng
        Makes the new responses.
    """
    weights = np.ones(design.n) if design.weights is None else design.weights
    values = np.empty((draws.n_chains * draws.n_draws, design.n))
    for where, predictor, scale in predictor_draws(draws, training_rows(design), weights):
        if group == "log_likelihood":
            values[where] = _normal_logpdf(design.y, predictor, scale)
        else:
            values[where] = predictor + scale * rng.standard_normal(predictor.shape)
    return values_by_row(design, draws, values)


def values_by_row(design: Design, draws: Draws, values: NDArray[np.float64]) -> "xarray.Dataset":
    """Return a value for every draw and row, shape (D, n), as a dataset with the labels of chains, draws and rows."""
    import xarray

    shaped = values.reshape(draws.n_chains, draws.n_draws, design.n)
    coords = {
        "chain": np.arange(draws.n_chains),
        "draw": np.arange(draws.n_draws),
        ROWS: safe_labels(row_labels(design)),
    }
    return storable(xarray.Dataset({design.response: (("chain", "draw", ROWS), shaped)}, coords=coords))


def prior_datasets(
    design: Design, simulated: Mapping[str, NDArray[np.float64]], dispersions: Sequence[str] = ()
) -> dict[str, "xarray.Dataset"]:
    """Return parameters and responses simulated from the priors as the groups prior and prior_predictive.

    Parameters
    ----------
    design
        The design simulated for.
    simulated
        beta (draws, p), sigma (draws,), sd_g, cor_g, r_g, and y (draws, n).
    dispersions
        Names of a family's dispersion parameters, which it has in place of sigma.
    """
    import xarray

    draws = Draws(
        beta=simulated["beta"][None],
        sigma=simulated.get("sigma", np.ones(len(simulated["y"])))[None],
        sd=tuple(simulated[f"sd_{term.name}"][None] for term in design.terms),
        cor=tuple(
            simulated[f"cor_{term.name}"][None] if f"cor_{term.name}" in simulated else None for term in design.terms
        ),
        effects=tuple(simulated[f"r_{term.name}"][None] for term in design.terms),
        stats={},
        method="prior",
    )
    sampled = {"chain": np.arange(1), "draw": np.arange(draws.n_draws)}
    rows = {**sampled, ROWS: safe_labels(row_labels(design))}
    responses = {design.response: (("chain", "draw", ROWS), simulated["y"][None])}
    parameters = _posterior(design, draws, sampled)
    if design.outcome is not None:
        parameters = with_dispersions(parameters, {name: simulated[name][None] for name in dispersions})
    return {
        "prior": storable(parameters),
        "prior_predictive": storable(xarray.Dataset(responses, coords=rows)),
    }


def with_dispersions(parameters: "xarray.Dataset", dispersions: Mapping[str, Array]) -> "xarray.Dataset":
    """Return a dataset of draws with a family's dispersion parameters, (chains, draws, ...), in place of sigma."""
    changed = parameters.drop_vars("sigma")
    for name, values in dispersions.items():
        changed[name] = (("chain", "draw", f"{name}_number")[: values.ndim], values)
    return changed


def _normal_logpdf(
    y: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    return -0.5 * ((y - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def row_labels(design: Design) -> Any:
    """Return the labels of the rows, those of a MultiIndex as texts."""
    return design.index.map(str) if design.index.nlevels > 1 else design.index


def _attributes(design: Design, draws: Draws) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "inference_library": "bayeslmm",
        "method": draws.method,
        "formula": design.formula.text,
    }
    for key in ("sampler", "parametrization"):
        if draws.info.get(key) is not None:
            facts[key] = str(draws.info[key])
    if draws.info.get("tune") is not None:
        facts["tuning_steps"] = int(draws.info["tune"])
    return facts
