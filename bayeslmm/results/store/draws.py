"""Posterior draws as a NetCDF file that arviz reads too, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.covariance.pairs import correlation_matrices
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.names import ROWS, safe_labels, safe_name
from bayeslmm.errors import StorageError
from bayeslmm.families import Family
from bayeslmm.inference.draws import SUMMARY, Draws
from bayeslmm.results.draws_dataset import row_labels
from bayeslmm.results.store.forgiving_file import ForgivingFile
from bayeslmm.results.store.summaries import SUMMARIES, read_summaries, summary_dataset
from bayeslmm.types import Array, Floats

if TYPE_CHECKING:
    import xarray

    from bayeslmm.results.posterior import PosteriorFit

GROUPS = ("log_likelihood", "posterior_predictive")  # kept if they were added


def describe_run(draws: Draws) -> dict[str, Any]:
    """Return the facts about a run, those fit for JSON; others as text."""
    return {"info": {str(key): _plain(value) for key, value in draws.info.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def write_draws(fit: "PosteriorFit", path: Path) -> None:
    """Write the groups of a fit's InferenceData.

    Raises
    ------
    StorageError
        If a name or label cannot be written.
    OSError
        If the file cannot be written, on a full disk for one.
    """
    groups = fit.datasets()
    groups |= {group: fit.rows_of(group) for group in fit.added}
    if fit.draws.summaries:
        groups[SUMMARIES] = summary_dataset(fit.design, fit.draws.summaries)
    with ForgivingFile(path, "w+") as file:
        try:
            _write_netcdf(groups, file)
        except Exception:
            if file.error is None:
                raise
        if file.error is not None:
            raise file.error


def _write_netcdf(groups: Mapping[str, "xarray.Dataset"], target: ForgivingFile) -> None:
    """Write groups as NetCDF, array by array, so that memory holds them once."""
    import h5netcdf  # type: ignore[import-untyped]
    from xarray.backends import H5NetCDFStore

    with h5netcdf.File(target, "w") as file:
        for name, dataset in groups.items():
            try:
                dataset.dump_to_store(H5NetCDFStore(file, group=name))
            except (TypeError, ValueError) as error:
                raise StorageError(f"The group {name!r} cannot be written as NetCDF: {error}.") from error


def _correlations(posterior: "xarray.Dataset", term: RandomTerm) -> Floats:
    """Return the correlation matrices of a term, stored as one number per pair."""
    size = term.n_columns
    return correlation_matrices(_variable(posterior, f"cor_{term.name}", (size * (size - 1) // 2,)), size)


def read_draws(
    path: Path, design: Design, method: str, info: Mapping[str, Any], *, has_sigma: bool = True
) -> tuple[Draws, dict[str, Any]]:
    """Read the draws of a saved fit; labels come from the design, built again from the data.

    Without a residual standard deviation, as in generalized models, sigma is one.

    Returns
    -------
    draws, added
        The draws, and the datasets of further groups by name.

    Raises
    ------
    StorageError
        If a variable is missing or has another shape than the design calls for.
    """
    posterior = _open(path, "posterior")
    beta = _variable(posterior, "beta", (design.p,))
    sigma = _variable(posterior, "sigma", ()) if has_sigma else np.ones(beta.shape[:2])
    sd, cor, effects = [], [], []
    wanted = info.get("store")
    for term in design.terms:
        size = term.n_columns
        sd.append(_variable(posterior, f"sd_{term.name}", (size,)))
        cor.append(_correlations(posterior, term) if term.has_correlations else None)
        if wanted is None or (wanted != SUMMARY and term.name in wanted):
            effects.append(_variable(posterior, f"r_{term.name}", (term.n_levels, size)))
        else:
            effects.append(np.empty((*sigma.shape, 0, size)))
    for array in (beta, *sd, *(c for c in cor if c is not None), *effects):
        if array.shape[:2] != sigma.shape:
            raise StorageError(f"{path.name}: the variables differ in their numbers of chains and draws.")
    stats = {}
    if "sample_stats" in _groups(path):
        stats = {str(name): values.to_numpy() for name, values in _open(path, "sample_stats").data_vars.items()}
    summaries = read_summaries(_open(path, SUMMARIES), design) if wanted == SUMMARY else ()
    draws = Draws(beta, sigma, tuple(sd), tuple(cor), tuple(effects), stats, method, dict(info), summaries)
    added = {name: _relabelled(_open(path, name), design) for name in GROUPS if name in _groups(path)}
    return draws, added


def read_dispersion(path: Path, family: Family, shape: tuple[int, int]) -> Array:
    """Read the draws of a family's dispersion parameters, (chains, draws, m).

    Raises
    ------
    StorageError
        If one is missing or has another shape.
    """
    posterior, pieces = _open(path, "posterior"), [np.empty((*shape, 0))]
    for parameter in family.parameters:
        values = _variable(posterior, parameter.name, () if parameter.size == 1 else (parameter.size,))
        if values.shape[:2] != shape:
            raise StorageError(f"{path.name}: the variables differ in their numbers of chains and draws.")
        pieces.append(values.reshape(*shape, parameter.size))
    return np.concatenate(pieces, axis=2)


def _groups(path: Path) -> list[str]:
    import h5netcdf  # type: ignore[import-untyped]

    try:
        with h5netcdf.File(path, "r") as file:
            return list(file.groups)
    except Exception as error:
        raise StorageError(f"{path.name} cannot be read as NetCDF: the file is incomplete or damaged.") from error


def _open(path: Path, group: str) -> "xarray.Dataset":
    import xarray

    try:
        with xarray.open_dataset(path, group=group, engine="h5netcdf") as dataset:
            return dataset.load()
    except Exception as error:  # whatever h5netcdf and xarray raise on what is no such file
        raise StorageError(
            f"{path.name}: the group {group!r} cannot be read: the file is incomplete or damaged."
        ) from error


def _variable(dataset: "xarray.Dataset", name: str, shape: tuple[int, ...]) -> np.ndarray:
    stored = safe_name(name)
    if stored not in dataset.data_vars:
        raise StorageError(f"posterior.nc: the variable {name!r} is missing.")
    values = dataset[stored].to_numpy()
    if values.dtype.kind != "f" or values.ndim < 2 or values.shape[2:] != shape:
        raise StorageError(
            f"posterior.nc: {name!r} has shape {values.shape} of {values.dtype}; the model calls for numbers "
            f"of shape (chains, draws{''.join(f', {size}' for size in shape)})."
        )
    return values


def _relabelled(dataset: "xarray.Dataset", design: Design) -> "xarray.Dataset":
    """Give a group of one variable over the rows the row labels of the rebuilt design."""
    stored = safe_name(design.response)
    if stored not in dataset.data_vars or dataset.sizes.get(ROWS) != design.n:
        raise StorageError(f"posterior.nc: an added group does not hold {design.response!r} for {design.n} rows.")
    return dataset.assign_coords({ROWS: safe_labels(row_labels(design))})
