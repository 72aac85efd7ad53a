"""Fits as folders: fit.json, data.parquet or, of rows that streamed, sums.npz, and posterior.nc.

Beside the data of many rows lies kernel.npz, their cross-products: the model is then read without summing the rows.

Never pickle: a folder may come from a stranger. Writing is all or nothing.
Reading checks every key, the format's version and the files' checksums;
rebuilding the model and re-evaluating its objective is the business of ``bayeslmm.load``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm import __version__
from bayeslmm.design.design import Design
from bayeslmm.design.streamed import StreamedDesign
from bayeslmm.errors import StorageError, check_switch
from bayeslmm.families import Family
from bayeslmm.files import whole_folder
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.methods import METHODS
from bayeslmm.results.fit import Fit
from bayeslmm.results.generalized import GeneralizedPointFit
from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit
from bayeslmm.results.iterative import IterativeFit
from bayeslmm.results.point import PointFit
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.store.draws import describe_run, read_dispersion, read_draws, write_draws
from bayeslmm.results.store.frame import FRAME, read_frame, write_frame
from bayeslmm.results.store.generalized import GENERALIZED_OPTIMUM, check_family, describe_generalized
from bayeslmm.results.store.kernel_sums import worth_storing, write_kernel
from bayeslmm.results.store.record import check_files, checksums, read_record, write_record
from bayeslmm.results.store.schema import (
    CHECKSUMS,
    PRIORS,
    RUN,
    ListOf,
    Maybe,
    Number,
    Table,
    Text,
    Whole,
)
from bayeslmm.streams.storage import write_sums
from bayeslmm.types import Array

FORMAT = "bayeslmm fit"
VERSION = 1
FIT, DATA, SUMS, KERNEL, POSTERIOR = "fit.json", "data.parquet", "sums.npz", "kernel.npz", "posterior.nc"
FOREST = "forest.json"  # the main file where the folder holds a forest
ARGUMENTS = ("formula", "family", "link", "missing", "sigma", "weights", "offset", "priors", "zero")

MODEL = Table(
    required={"formula": Text(), "family": Text(), "missing": Text(), "functions": ListOf(Text())},
    optional={
        "link": Maybe(Text()),
        "sigma": Maybe(Number(positive=True)),
        "weights": Maybe(Text()),
        "offset": Maybe(Text()),
        "zero": Maybe(Text()),
        "priors": PRIORS,
    },
)
OPTIMUM = Table(
    required={
        "theta": ListOf(Number()),
        "sigma": Number(),
        "objective": Number(),
        "gradient_norm": Number(),
        "code": Text(("converged", "boundary", "doubtful", "failed")),
        "message": Text(),
        "thetas": ListOf(ListOf(Number())),
        "objectives": ListOf(Number()),
    },
    optional={"probes": Whole(1)},
)
STREAM = Table({"sums": Text((SUMS,))})
RESULTS = {"point": OPTIMUM, "posterior": Table({"info": RUN})}
CHECKS = {
    "point": Table(optional={"objective": Number()}),
    "posterior": Table({"theta": ListOf(Number()), "objective": Number()}, {"method": Text()}),
}


def record_schema(kind: str, family: str = "gaussian", *, streamed: bool = False) -> Table:
    """Return what fit.json must hold, `streamed` if sums are stored in place of data."""
    result = GENERALIZED_OPTIMUM if kind == "point" and family != "gaussian" else RESULTS[kind]
    return Table(
        required={
            "format": Text((FORMAT,)),
            "version": Whole(VERSION, VERSION),
            "bayeslmm": Text(),
            "kind": Text(tuple(RESULTS)),
            "method": Text(tuple(name for name, entry in METHODS.items() if entry.samples == (kind == "posterior"))),
            "model": MODEL,
            "data": STREAM if streamed else FRAME,
            "result": result,
            "check": CHECKS[kind],
            "sha256": CHECKSUMS,
        }
    )


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
        The columns the formula uses; None where sums are stored.
    sums
        The file of the sums of rows that streamed; None where data are stored.
    kernel
        The file of the cross-products of the data; None where they are to be summed again.
    result
        What the method found: the optimum of a point fit, the facts about the run of a posterior fit.
    check
        The ML objective at the theta of a posterior mode, or at one taken from the draws of a posterior fit.
    """

    folder: Path
    kind: str
    model: dict[str, Any]
    functions: tuple[str, ...]
    data: pd.DataFrame | None
    sums: Path | None
    kernel: Path | None
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
        raise StorageError(f"{folder} cannot be written: {str(error.strerror or error).rstrip('.')}.") from error
    return folder


def _check_place(folder: Path, overwrite: bool) -> None:
    if not folder.parent.is_dir():
        raise StorageError(f"{folder} cannot be made: there is no folder {folder.parent}.")
    if not folder.exists() and not folder.is_symlink():
        return
    check_switch("overwrite", overwrite)
    if not overwrite:
        raise StorageError(f"{folder} is there already; choose another place or pass overwrite=True.")
    if folder.is_symlink() or not (folder / FIT).is_file():
        raise StorageError(f"{folder} is not a saved fit (it has no {FIT}) and is not overwritten.")
    strangers = sorted({entry.name for entry in folder.iterdir()} - {FIT, DATA, SUMS, KERNEL, POSTERIOR})
    if strangers:
        raise StorageError(f"{folder} also holds {strangers[0]!r}, which is no part of a saved fit; move it away.")


def _write_files(fit: Fit, folder: Path) -> None:
    record: dict[str, Any] = {"format": FORMAT, "version": VERSION, "bayeslmm": __version__}
    record |= {"method": fit.method, "model": _describe_model(fit.spec)}
    if isinstance(fit, GeneralizedPointFit | GeneralizedPosteriorFit):
        check_family(fit.family)
    record["data"] = _write_data(fit.design, folder)
    if not isinstance(fit.design, StreamedDesign) and worth_storing(fit.model_kernel, fit.design):
        write_kernel(fit.kernel, folder / KERNEL)
    if isinstance(fit, GeneralizedPointFit):
        record |= {"kind": "point", "result": describe_generalized(fit), "check": {}}
    elif isinstance(fit, PointFit):
        record |= {"kind": "point", "result": _describe_optimum(fit), "check": _likelihood_at(fit)}
    elif isinstance(fit, PosteriorFit):
        record |= {"kind": "posterior", "result": describe_run(fit.draws), "check": fit.fingerprint()}
        write_draws(fit, folder / POSTERIOR)
    else:
        raise StorageError(f"A {type(fit).__name__} cannot be saved.")
    record["sha256"] = checksums(folder)
    write_record(record, folder / FIT)


def _write_data(design: Design, folder: Path) -> dict[str, Any]:
    """Write the data, or the sums of rows that streamed, and return what fit.json says about them."""
    if not isinstance(design, StreamedDesign):
        return write_frame(design.data, folder / DATA)
    write_sums(design.sums, folder / SUMS)
    return {"sums": SUMS}


def _describe_model(spec: ModelSpec) -> dict[str, Any]:
    return {
        "formula": spec.formula,
        "family": spec.family,
        "link": spec.link,
        "missing": spec.missing,
        "sigma": spec.sigma,
        "weights": spec.weights,
        "offset": spec.offset,
        "zero": spec.zero,
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
    objective = fit.kernel.objective(fit.theta, "ml", fit.spec.sigma)
    return {"objective": float(objective)}


def _describe_optimum(fit: PointFit) -> dict[str, Any]:
    optimum = fit.optimum
    probes = {"probes": fit.found.n_probes} if isinstance(fit, IterativeFit) else {}
    return {
        **probes,
        "theta": list(optimum.theta),
        "sigma": optimum.sigma,
        "objective": optimum.objective,
        "gradient_norm": optimum.gradient_norm,
        "code": optimum.code,
        "message": optimum.message,
        "thetas": optimum.thetas.tolist(),
        "objectives": list(optimum.objectives),
    }


def read_fit(folder: Path) -> StoredFit:
    """Read a saved fit's folder, checking what can be checked without its model.

    Raises
    ------
    StorageError
        If it is no saved fit, was written by a later version, lacks a key or file, or a file has changed.
    """
    record = _read_fit_record(folder)
    kind, model = record["kind"], record["model"]
    streamed = "sums" in record["data"]
    source = SUMS if streamed else DATA
    summed = KERNEL in record["sha256"] and not streamed
    names = [source, *([KERNEL] if summed else []), *([POSTERIOR] if kind == "posterior" else [])]
    check_files(folder, record["sha256"], names)
    return StoredFit(
        folder=folder,
        kind=kind,
        model={key: model.get(key) for key in ARGUMENTS},
        functions=tuple(model["functions"]),
        data=None if streamed else read_frame(folder / DATA, record["data"], FIT, "data"),
        sums=folder / SUMS if streamed else None,
        kernel=folder / KERNEL if summed else None,
        result={**record["result"], "method": record["method"]},
        check=record["check"],
    )


def _read_fit_record(folder: Path) -> dict[str, Any]:
    path = folder / FIT
    if not path.is_file():
        raise StorageError(f"{folder} is not a saved fit: it has no {FIT}.")
    record = read_record(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StorageError(f"{path} does not describe a saved fit.")
    family = Table({"family": Text()}, is_open=True)
    Table({"version": Whole(), "kind": Text(tuple(RESULTS)), "model": family}, is_open=True).check(record, FIT, "")
    if record["version"] != VERSION:
        raise StorageError(f"{path} has format version {record['version']}; this bayeslmm reads version {VERSION}.")
    data = record.get("data")
    streamed = isinstance(data, dict) and "sums" in data
    record_schema(record["kind"], record["model"]["family"], streamed=streamed).check(record, FIT, "")
    return record


def read_optimum(stored: StoredFit) -> tuple[str, Maximum]:
    """Return the method of a stored point fit and what its optimiser found.

    Raises
    ------
    StorageError
        If the thetas of the iterations are not as long as the one they led to.
    """
    result = stored.result
    theta, objectives = (np.array(result[key], dtype=float) for key in ("theta", "objectives"))
    if len(result["thetas"]) != len(objectives) or any(len(row) != len(theta) for row in result["thetas"]):
        raise StorageError(f"{FIT}: 'result.thetas' does not hold one theta of {len(theta)} numbers per objective.")
    optimum = Maximum(
        theta=theta,
        objective=float(result["objective"]),
        sigma=float(result["sigma"]),
        thetas=np.array(result["thetas"], dtype=float).reshape(len(objectives), len(theta)),
        objectives=objectives,
        gradient_norm=float(result["gradient_norm"]),
        code=result["code"],
        message=result["message"],
    )
    return result["method"], optimum


def read_posterior(stored: StoredFit, design: Design) -> tuple[Draws, dict[str, Any]]:
    """Return the draws of a stored posterior fit and the groups added to them."""
    return read_draws(stored.folder / POSTERIOR, design, stored.result["method"], stored.result["info"])


def read_generalized_posterior(
    stored: StoredFit, design: Design, family: Family
) -> tuple[Draws, Array, dict[str, Any]]:
    """Return the draws of a stored posterior of a generalized model, those of its dispersions, and the groups added."""
    path = stored.folder / POSTERIOR
    draws, added = read_draws(path, design, stored.result["method"], stored.result["info"], has_sigma=False)
    return draws, read_dispersion(path, family, (draws.n_chains, draws.n_draws)), added
