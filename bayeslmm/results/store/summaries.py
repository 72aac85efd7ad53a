"""Summaries of random effects as a group of a NetCDF file, and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.design.names import safe_labels, safe_name
from bayeslmm.errors import StorageError
from bayeslmm.posterior.effect_summary import EffectSummary
from bayeslmm.types import Array

if TYPE_CHECKING:
    import xarray

SUMMARIES = "random_effects"  # the group
KINDS = ("mean", "sd", "quantiles")


def summary_dataset(design: Design, summaries: Sequence[EffectSummary]) -> "xarray.Dataset":
    """Return mean, sd and quantiles of every term, by level, effect and probability."""
    import xarray

    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {"quantile": summaries[0].probabilities}
    for term, found in zip(design.terms, summaries, strict=True):
        dims = (safe_name(term.factor), safe_name(f"{term.name}_effect"))
        coordinates |= {dims[0]: safe_labels(term.levels), dims[1]: list(term.effects)}
        for kind in KINDS:
            name = safe_name(f"r_{term.name}_{kind}")
            variables[name] = (("quantile", *dims) if kind == "quantiles" else dims, getattr(found, kind))
    return xarray.Dataset(variables, coordinates)


def read_summaries(dataset: "xarray.Dataset", design: Design) -> tuple[EffectSummary, ...]:
    """Return the summaries of every term.

    Raises
    ------
    StorageError
        If one is missing or has another shape than the design calls for.
    """
    probabilities = _numbers(dataset, "quantile", (dataset.sizes.get("quantile", 0),))
    found = []
    for term in design.terms:
        shape = (term.n_levels, term.n_columns)
        mean, sd = (_numbers(dataset, f"r_{term.name}_{kind}", shape) for kind in ("mean", "sd"))
        quantiles = _numbers(dataset, f"r_{term.name}_quantiles", (len(probabilities), *shape))
        found.append(EffectSummary(mean, sd, probabilities, quantiles))
    return tuple(found)


def _numbers(dataset: "xarray.Dataset", name: str, shape: tuple[int, ...]) -> Array:
    stored = safe_name(name)
    if stored not in dataset.variables:
        raise StorageError(f"posterior.nc: the variable {name!r} is missing.")
    values = dataset[stored].to_numpy()
    if values.dtype.kind != "f" or values.shape != shape:
        raise StorageError(f"posterior.nc: {name!r} has shape {values.shape}; the model calls for numbers of {shape}.")
    return np.asarray(values)
