"""Fits as folders: fit.json, data.parquet, posterior.nc. Never pickle; a folder may come from a stranger.

Writing is all or nothing. Reading checks every key, the format's version and the files' checksums;
rebuilding the model and re-evaluating its objective is the business of ``bayeslmm.load``.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm import __version__
from bayeslmm.design.design import Design
from bayeslmm.errors import StorageError
from bayeslmm.files import whole_folder
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.methods import METHODS
from bayeslmm.results.fit import Fit
from bayeslmm.results.point import PointFit
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.store.draws import describe_run, read_draws, write_draws
from bayeslmm.results.store.frame import read_frame, write_frame

FORMAT = "bayeslmm fit"
VERSION = 1
FIT, DATA, POSTERIOR = "fit.json", "data.parquet", "posterior.nc"
FOREST = "forest.json"  # the main file where the folder holds a forest
ARGUMENTS = ("formula", "family", "missing", "sigma", "weights", "offset", "priors")


@dataclass(frozen=True, slots=True)
class StoredFit:
    """A folder that has been read and checked, the model not yet rebuilt.

    Attributes
    ----------
    folder
        Where it was read.
    kind
        "point" or "posterior".
    model
        The arguments of the model, by name, without data and functions.
    functions
        Names of the user's functions that must be passed again.
    data
        The columns the formula uses.
    result
        What the method found: the optimum of a point fit, the facts about the run of a posterior fit.
    check
        The ML objective at the theta of a posterior mode, or at one taken from the draws of a posterior fit.
    """

    folder: Path
    kind: str
    model: dict[str, Any]
    functions: tuple[str, ...]
    data: pd.DataFrame
    result: Mapping[str, Any]
    check: Mapping[str, Any]


def write_fit(fit: Fit, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a fit to a folder beside its place, then put it there.

    Parameters
    ----------
    fit
        A PointFit or PosteriorFit.
    folder
        The place.
    overwrite
        Whether a folder that holds a saved fit may be replaced.

    Raises
    ------
    StorageError
        If the place is taken or cannot be written to, or a part of the fit cannot be stored.
    """
    folder = folder.absolute()
    _check_place(folder, overwrite)
    try:
        with whole_folder(folder, lambda: _check_place(folder, overwrite)) as partial:
            _write_files(fit, partial)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


def _check_place(folder: Path, overwrite: bool) -> None:
    if not folder.parent.is_dir():
        raise StorageError(f"{folder} cannot be made: there is no folder {folder.parent}.")
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise StorageError(f"{folder} is there already; choose another place or pass overwrite=True.")
    if folder.is_symlink() or not (folder / FIT).is_file():
        raise StorageError(f"{folder} is not a saved fit (it has no {FIT}) and is not overwritten.")
    strangers = sorted({entry.name for entry in folder.iterdir()} - {FIT, DATA, POSTERIOR})
    if strangers:
        raise StorageError(f"{folder} also holds {strangers[0]!r}, which is no part of a saved fit; move it away.")


def _write_files(fit: Fit, folder: Path) -> None:
    record: dict[str, Any] = {"format": FORMAT, "version": VERSION, "bayeslmm": __version__}
    record |= {"method": fit.method, "model": _describe_model(fit.spec)}
    record["data"] = write_frame(fit.design.data, folder / DATA)
    if isinstance(fit, PointFit):
        record |= {"kind": "point", "result": _describe_optimum(fit), "check": _likelihood_at(fit)}
    elif isinstance(fit, PosteriorFit):
        record |= {"kind": "posterior", "result": describe_run(fit.draws), "check": fit.fingerprint()}
        write_draws(fit, folder / POSTERIOR)
    else:
        raise StorageError(f"A {type(fit).__name__} cannot be saved.")
    record["sha256"] = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
    try:
        text = json.dumps(to_json(record), indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StorageError(f"The fit holds something that cannot be written to {FIT}: {error}.") from error
    (folder / FIT).write_text(text + "\n", encoding="utf-8")


def _describe_model(spec: ModelSpec) -> dict[str, Any]:
    return {
        "formula": spec.formula,
        "family": spec.family,
        "missing": spec.missing,
        "sigma": spec.sigma,
        "weights": spec.weights,
        "offset": spec.offset,
        "priors": _describe_priors(spec.priors),
        "functions": sorted(spec.functions),
    }


def _describe_priors(priors: Any) -> Any:
    """Return a preset's name, or every prior as text with all its digits."""
    if priors is None or isinstance(priors, str):
        return priors
    from bayeslmm.priors.parse import as_prior

    return {key: value if key == "preset" else repr(as_prior(value, key)) for key, value in priors.items()}


def _likelihood_at(fit: PointFit) -> dict[str, Any]:
    """Return the ML objective at theta: what a posterior mode is recognised by."""
    if fit.method != "map":
        return {}
    objective = build_kernel(fit.design).objective(fit.theta, "ml", fit.spec.sigma)
    return {"objective": float(objective)}


def _describe_optimum(fit: PointFit) -> dict[str, Any]:
    optimum = fit.optimum
    return {
        "theta": list(optimum.theta),
        "sigma": optimum.sigma,
        "objective": optimum.objective,
        "gradient_norm": optimum.gradient_norm,
        "code": optimum.code,
        "message": optimum.message,
        "thetas": optimum.thetas.tolist(),
        "objectives": list(optimum.objectives),
    }


def to_json(value: Any) -> Any:
    """Return a value with numpy's scalars and arrays as plain numbers, and non-finite numbers as texts."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": repr(value)}
    return value


def from_json(value: Any) -> Any:
    """Undo :func:`to_json` for non-finite numbers."""
    if isinstance(value, dict):
        if set(value) == {"number"} and value["number"] in ("nan", "inf", "-inf"):
            return float(value["number"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


def read_fit(folder: Path) -> StoredFit:
    """Read a saved fit's folder, checking what can be checked without its model.

    Raises
    ------
    StorageError
        If it is no saved fit, was written by a later version, lacks a key or file, or a file has changed.
    """
    record = _read_record(folder)
    kind = require(record, "kind", str)
    if kind not in ("point", "posterior"):
        raise StorageError(f"{FIT}: 'kind' is {kind!r}; it is 'point' or 'posterior'.")
    _check_files(folder, require(record, "sha256", dict), (DATA,) if kind == "point" else (DATA, POSTERIOR))
    model = require(record, "model", dict)
    for key in ("formula", "family", "missing"):
        require(model, key, str, "model.")
    functions = require(model, "functions", list, "model.")
    data = read_frame(folder / DATA, require(record, "data", dict))
    arguments = {key: model.get(key) for key in ARGUMENTS}
    result = {**require(record, "result", dict), "method": require(record, "method", str)}
    check = require(record, "check", dict)
    return StoredFit(folder, kind, arguments, tuple(map(str, functions)), data, result, check)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / FIT
    if not path.is_file():
        raise StorageError(f"{folder} is not a saved fit: it has no {FIT}.")
    try:
        record = from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StorageError(f"{path} does not describe a saved fit.")
    version = require(record, "version", int)
    if version != VERSION:
        raise StorageError(f"{path} has format version {version}; this bayeslmm reads version {VERSION}.")
    return record


def require(table: Mapping[str, Any], key: str, kind: type | tuple[type, ...], prefix: str = "") -> Any:
    """Return a value of a table in fit.json, or say which key is missing or has the wrong type."""
    if key not in table:
        raise StorageError(f"{FIT}: the key '{prefix}{key}' is missing.")
    value = table[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise StorageError(f"{FIT}: '{prefix}{key}' is of type {type(value).__name__}, which it cannot be.")
    return value


def numbers(table: Mapping[str, Any], key: str, ndim: int = 1, prefix: str = "") -> np.ndarray:
    """Return a list of numbers in fit.json as an array."""
    value = require(table, key, list, prefix)
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise StorageError(f"{FIT}: '{prefix}{key}' does not hold numbers.") from error
    if array.ndim != ndim and array.size:
        raise StorageError(f"{FIT}: '{prefix}{key}' has {array.ndim} dimensions, not {ndim}.")
    return array


def read_optimum(stored: StoredFit) -> tuple[str, Maximum]:
    """Return the method of a stored point fit and what its optimiser found.

    Raises
    ------
    StorageError
        If a key is missing or does not hold what it should.
    """
    result = stored.result
    method = result["method"]
    estimators = [name for name, entry in METHODS.items() if not entry.samples]
    if method not in estimators:
        raise StorageError(f"{FIT}: 'method' is {method!r}; a point fit is one of {', '.join(estimators)}.")
    theta = numbers(result, "theta", prefix="result.")
    objectives = numbers(result, "objectives", prefix="result.")
    thetas = numbers(result, "thetas", ndim=2, prefix="result.")
    if thetas.shape != (len(objectives), len(theta)) and thetas.size:
        raise StorageError(f"{FIT}: 'result.thetas' has shape {thetas.shape}, not one theta per objective.")
    code = require(result, "code", str, "result.")
    if code not in ("converged", "boundary", "failed"):
        raise StorageError(f"{FIT}: 'result.code' is {code!r}.")
    optimum = Maximum(
        theta=theta,
        objective=float(require(result, "objective", (int, float), "result.")),
        sigma=float(require(result, "sigma", (int, float), "result.")),
        thetas=thetas.reshape(len(objectives), len(theta)),
        objectives=objectives,
        gradient_norm=float(require(result, "gradient_norm", (int, float), "result.")),
        code=code,
        message=require(result, "message", str, "result."),
    )
    return method, optimum


def read_posterior(stored: StoredFit, design: Design) -> tuple[Draws, dict[str, Any]]:
    """Return the draws of a stored posterior fit and the groups added to them."""
    info = require(stored.result, "info", dict, "result.")
    return read_draws(stored.folder / POSTERIOR, design, stored.result["method"], info)


def _check_files(folder: Path, checksums: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        path = folder / name
        if not path.is_file():
            raise StorageError(f"{folder} is incomplete: {name} is missing.")
        if checksums.get(name) != _checksum(path):
            raise StorageError(f"{path} has changed since the fit was saved; fit the model again.")


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
