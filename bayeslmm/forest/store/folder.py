"""A forest as a folder: forest.json, arrays.npz, Parquet tables, one file per learner. Never pickle.

Reading checks every key, the checksums of all files before a library parses them, and that the arrays have the shapes
the data call for; then f is evaluated at stored rows and compared with what was stored of it.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm import __version__
from bayeslmm.design import Design, build_design
from bayeslmm.errors import BayeslmmError, MissingDependencyError, StorageError
from bayeslmm.files import whole_folder
from bayeslmm.forest.bart.sampler import TreeDraws
from bayeslmm.forest.data.inputs import Roles
from bayeslmm.forest.em.fitting import design_rows
from bayeslmm.forest.em.step import Components
from bayeslmm.forest.estimator import MixedEffectsForest
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.gibbs.fitting import LearnerVersions
from bayeslmm.forest.prediction import predict_function
from bayeslmm.forest.store.learners import (
    ENDINGS,
    file_name,
    read_learners,
    read_trees,
    trees_name,
    write_learners,
    write_trees,
)
from bayeslmm.formula import parse
from bayeslmm.inference.draws import Draws
from bayeslmm.results.store.folder import FOREST
from bayeslmm.results.store.frame import FRAME, read_frame, write_frame
from bayeslmm.results.store.record import check_files, checksums, read_record, seal, to_json, write_record
from bayeslmm.results.store.schema import (
    CHECKSUMS,
    PRIORS,
    RUN,
    SCALAR,
    ListOf,
    Maybe,
    Number,
    Plain,
    Table,
    Text,
    Whole,
)
from bayeslmm.types import AnyArray

FORMAT, VERSION = "bayeslmm forest", 2
SEAL = "sha256 of this file"
MOST = 100_000  # learners, chains, trees: what files or memory are made of
ROWS_TRIED = 50  # rows at which f is evaluated on loading
TOLERANCE = 1e-4  # of f there, in units of its own size: XGBoost works in single precision
MAIN, ARRAYS, DATA, FEATURES, HISTORY = (
    FOREST,
    "arrays.npz",
    "data.parquet",
    "features.parquet",
    "history.parquet",
)


TREES = Table(
    {
        "parts": ListOf(
            Table(
                {
                    "chains": Whole(1, MOST),
                    "scale": Number(positive=True),
                    "n_trees": Whole(1, MOST),
                    "smallest_leaf": Whole(1),
                    "names": ListOf(SCALAR),
                    "categories": ListOf(Maybe(ListOf(SCALAR))),
                }
            )
        ),
        "n_draws": Whole(1),
    }
)
LEARNERS = Table({"kind": Text(tuple(ENDINGS)), "count": Whole(1, MOST)}, {"versions": ListOf(Whole(1, MOST))})


def record_schema() -> Table:
    """Return what forest.json must hold."""
    options: dict[str, Any] = dict.fromkeys(inspect.signature(MixedEffectsForest).parameters, Plain())
    return Table(
        required={
            "format": Text((FORMAT,)),
            "version": Whole(VERSION, VERSION),
            "bayeslmm": Text(),
            "formula": Text(),
            "weights": Maybe(Text()),
            "features": Maybe(ListOf(Text())),
            "sigma2": Number(positive=True),
            "options": Table({**options, "random": Text(), "learner": Maybe(Text(("bart",))), "priors": PRIORS}),
            "published": Table(
                {
                    "n_iter_": Maybe(Whole()),
                    "n_features_in_": Whole(),
                    "feature_names_in_": Maybe(ListOf(Text())),
                }
            ),
            "data": FRAME,
            "sha256": CHECKSUMS,
            SEAL: Text(),
        },
        optional={
            "table": FRAME,
            "draws": Table({"method": Text(("gibbs", "bart")), "info": RUN}),
            "trees": TREES,
            "learners": LEARNERS,
        },
    )


def write_forest(forest: MixedEffectsForest, folder: Path) -> Path:
    """Write a fitted forest to a new folder, completely or not at all.

    Raises
    ------
    StorageError
        If the folder exists, its parent does not, or an option cannot be written.
    """
    _check_place(folder)
    if not folder.parent.is_dir():
        raise StorageError(f"{folder.parent} is no folder.")
    try:
        with whole_folder(folder, lambda: _check_place(folder)) as partial:
            _write_into(forest, partial)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {str(error.strerror or error).rstrip('.')}.") from error
    return folder


def _check_place(folder: Path) -> None:
    if folder.exists():
        raise StorageError(f"{folder} exists already; choose another folder or remove it.")


def load_forest(folder: str | Path, *, trusted: Sequence[str] = ()) -> MixedEffectsForest:
    """Read a forest that :meth:`MixedEffectsForest.save` wrote.

    Parameters
    ----------
    folder
        Where it is.
    trusted
        Names of types to accept in files of skops' format; files of other formats hold no types.

    Returns
    -------
    MixedEffectsForest
        It predicts and can be read as before; to fit again give it a learner (``set_params(learner=...)``).

    Raises
    ------
    StorageError
        If the folder holds no forest, a file has changed, its files do not fit together, or it was written without
        checksums, as the first version of the format was.
    MissingDependencyError
        If the package that reads the learners is not installed.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    try:
        return _rebuild(facts, folder, trusted)
    except (StorageError, MissingDependencyError):
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"The learners of {folder} need {error.name}: pip install {error.name}."
        ) from error
    except BayeslmmError as error:
        raise StorageError(f"The forest of {folder} cannot be built again: {error}") from error
    except Exception as error:  # whatever libraries raise on what they did not write
        raise StorageError(f"{folder} holds no complete forest: what its files hold does not fit together.") from error


def _write_into(forest: MixedEffectsForest, folder: Path) -> None:
    fitted = forest.fitted_
    design = fitted.design
    facts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "bayeslmm": __version__,
        "formula": design.formula.text,
        "weights": design.weights_column,
        "features": None if fitted.roles.features is None else list(fitted.roles.features),
        "sigma2": fitted.components.sigma2,
        "options": _options(forest),
        "published": {
            "n_iter_": getattr(forest, "n_iter_", None),
            "n_features_in_": forest.n_features_in_,
            "feature_names_in_": list(getattr(forest, "feature_names_in_", [])) or None,
        },
    }
    facts["data"] = write_frame(design.data, folder / DATA)
    arrays = _arrays(fitted)
    if isinstance(fitted.features, pd.DataFrame):
        facts["table"] = write_frame(fitted.features, folder / FEATURES)
    else:
        arrays["features"] = np.asarray(fitted.features)
    if fitted.history is not None:
        fitted.history.to_parquet(folder / HISTORY, engine="pyarrow")
    if fitted.draws is not None:
        facts["draws"] = {"method": fitted.draws.method, "info": dict(fitted.draws.info)}
    if isinstance(fitted.functions, TreeDraws):
        facts["trees"] = write_trees(fitted.functions, folder)
    else:
        facts["learners"] = {"kind": write_learners(fitted.learners, folder), "count": len(fitted.learners)}
    if isinstance(fitted.functions, LearnerVersions):
        facts["learners"]["versions"] = [len(version) for version in fitted.functions.versions]
        arrays["version"] = fitted.functions.index
    np.savez_compressed(folder / ARRAYS, allow_pickle=False, **arrays)
    facts["sha256"] = checksums(folder)
    facts = to_json(facts)
    facts[SEAL] = seal(facts)
    write_record(facts, folder / MAIN)


def _options(forest: MixedEffectsForest) -> dict[str, Any]:
    options = forest.get_params(deep=False)
    learner = options.pop("learner")
    options["learner"] = "bart" if isinstance(learner, str) else None
    if options["priors"] is not None and not isinstance(options["priors"], str):
        options["priors"] = {name: str(prior) for name, prior in options["priors"].items()}
    for name in ("linear", "features"):
        if options[name] is not None and not isinstance(options[name], str):
            options[name] = list(options[name])
    plain = to_json(options)
    for name, value in plain.items():
        try:
            Plain().check(value, MAIN, name)
        except StorageError as error:
            raise StorageError(f"The option {name}={options[name]!r} of the forest cannot be written.") from error
    return plain


def _arrays(fitted: FittedForest) -> dict[str, AnyArray]:
    components, draws = fitted.components, fitted.draws
    arrays: dict[str, AnyArray] = {
        "rows": fitted.design.rows,
        "predictions": fitted.predictions,
        "ensemble": fitted.ensemble,
        "beta": components.beta,
    }
    for k, (D, b) in enumerate(zip(components.covariances, components.effects, strict=True)):
        arrays[f"covariance_{k}"], arrays[f"effects_{k}"] = D, b
    if draws is None:
        return arrays
    arrays |= {"draws_beta": draws.beta, "draws_sigma": draws.sigma, "probes": np.asarray(fitted.probes)}
    arrays["draws_version"] = draws.stats["version"]
    for k, (sd, cor, effects) in enumerate(zip(draws.sd, draws.cor, draws.effects, strict=True)):
        arrays[f"draws_sd_{k}"], arrays[f"draws_effects_{k}"] = sd, effects
        if cor is not None:
            arrays[f"draws_cor_{k}"] = cor
    return arrays


def _read_facts(folder: Path) -> Mapping[str, Any]:
    path = folder / MAIN
    if not path.is_file():
        raise StorageError(f"{folder} holds no saved forest: it has no {MAIN}.")
    facts = read_record(path)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise StorageError(f"{path} does not describe a forest.")
    Table({"version": Whole()}, is_open=True).check(facts, MAIN, "")
    if facts["version"] == 1:
        raise StorageError(
            f"{path} has version 1, which has no checksums that would tell whether a file is damaged; this package "
            f"reads version {VERSION}: fit and save the forest again."
        )
    if facts["version"] != VERSION:
        raise StorageError(f"{path} has version {facts['version']}; this package reads version {VERSION}.")
    record_schema().check(facts, MAIN, "")
    if ("trees" in facts) == ("learners" in facts):
        raise StorageError(f"{MAIN}: there must be one of the keys 'trees' and 'learners'.")
    if seal({key: value for key, value in facts.items() if key != SEAL}) != facts[SEAL]:
        raise StorageError(f"{path} has changed since it was saved; take a copy from elsewhere, or fit again.")
    return facts


def _files(facts: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of the files that are going to be read."""
    yield from (DATA, ARRAYS)
    if "table" in facts:
        yield FEATURES
    if HISTORY in facts["sha256"]:
        yield HISTORY
    if "learners" in facts:
        kind = facts["learners"]["kind"]
        yield from (file_name(kind, k) for k in range(facts["learners"]["count"]))
    else:
        for p, part in enumerate(facts["trees"]["parts"]):
            yield from (trees_name(p, k) for k in range(part["chains"]))


def _rebuild(facts: Mapping[str, Any], folder: Path, trusted: Sequence[str]) -> MixedEffectsForest:
    check_files(folder, facts["sha256"], _files(facts))
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        arrays = dict(stored)
    formula = parse(facts["formula"])
    data = read_frame(folder / DATA, facts["data"], MAIN, "data")
    design = build_design(formula, data, weights=facts["weights"], missing="error")
    kept = np.flatnonzero(np.isin(design.rows, arrays["rows"]))
    design = design if len(kept) == design.n else design_rows(design, kept)
    table = "table" in facts
    features = read_frame(folder / FEATURES, facts["table"], MAIN, "table") if table else arrays["features"]
    names = facts["features"]
    if len(features) != design.n or (table and names is not None and list(features.columns) != names):
        raise StorageError(f"{folder}: the columns of the learner do not belong to the data stored beside them.")
    _check_arrays(arrays, design, with_draws="draws" in facts)
    count = range(len(design.terms))
    components = Components(
        sigma2=float(facts["sigma2"]),
        covariances=tuple(arrays[f"covariance_{k}"] for k in count),
        beta=arrays["beta"],
        effects=tuple(arrays[f"effects_{k}"] for k in count),
    )
    learners, functions = _read_functions(facts, arrays, folder, trusted)
    fitted = FittedForest(
        roles=Roles(formula, None if names is None else tuple(names)),
        design=design,
        features=features,
        learners=learners,
        predictions=arrays["predictions"],
        ensemble=arrays["ensemble"],
        components=components,
        history=pd.read_parquet(folder / HISTORY) if HISTORY in facts["sha256"] else None,
        draws=_read_draws(facts, arrays, len(design.terms)),
        functions=functions,
        probes=arrays.get("probes"),
    )
    _try_function(fitted, folder)
    return _published(fitted, facts)


def _check_arrays(arrays: Mapping[str, AnyArray], design: Design, *, with_draws: bool) -> None:
    """Compare the arrays' shapes with those the data call for.

    Raises
    ------
    StorageError
        At the first array that is missing, has another shape or holds no numbers.
    """
    n, p = design.n, design.p
    shapes: dict[str, tuple[int, ...]] = {"rows": (n,), "predictions": (n,), "ensemble": (n,), "beta": (p,)}
    for k, term in enumerate(design.terms):
        shapes[f"covariance_{k}"] = (term.n_columns, term.n_columns)
        shapes[f"effects_{k}"] = (term.n_levels, term.n_columns)
    if with_draws:
        sizes = arrays["draws_sigma"].shape
        if len(sizes) != 2 or 0 in sizes:
            raise StorageError(f"{ARRAYS}: 'draws_sigma' has shape {sizes}, not (chains, draws).")
        shapes |= {"draws_sigma": sizes, "draws_version": sizes, "draws_beta": (*sizes, p)}
        shapes["probes"] = (*sizes, *arrays["probes"].shape[2:3])
        for k, term in enumerate(design.terms):
            shapes[f"draws_sd_{k}"] = (*sizes, term.n_columns)
            shapes[f"draws_effects_{k}"] = (*sizes, term.n_levels, term.n_columns)
            if term.has_correlations:
                shapes[f"draws_cor_{k}"] = (*sizes, term.n_columns, term.n_columns)
    for name, shape in shapes.items():
        if name not in arrays:
            raise StorageError(f"{ARRAYS}: the array {name!r} is missing.")
        array = arrays[name]
        if array.shape != shape or array.dtype.kind not in "fi":
            raise StorageError(
                f"{ARRAYS}: {name!r} has shape {array.shape} of {array.dtype}; the arrays do not belong to the data "
                f"stored beside them, which call for numbers of shape {shape}."
            )


def _try_function(fitted: FittedForest, folder: Path) -> None:
    """Evaluate f at a few stored rows: what cannot be, or gives other values, is refused now and not at prediction.

    Of several versions of f only finite values are asked for: what is stored is the mean over their sweeps, not draws.
    """
    rows = slice(0, ROWS_TRIED)
    features = fitted.features.iloc[rows] if isinstance(fitted.features, pd.DataFrame) else fitted.features[rows]
    found, kept = predict_function(fitted, features), fitted.ensemble[rows]
    size = np.abs(kept).max() + np.ptp(kept)
    far = fitted.functions is None and not np.allclose(found, kept, rtol=TOLERANCE, atol=TOLERANCE * size)
    if found.shape != kept.shape or not np.isfinite(found).all() or far:
        raise StorageError(f"{folder}: the learners do not give what was stored of them; fit the forest again.")


def _read_functions(
    facts: Mapping[str, Any], arrays: Mapping[str, AnyArray], folder: Path, trusted: Sequence[str]
) -> tuple[tuple[Any, ...], Any]:
    draws = arrays["draws_sigma"].size if "draws" in facts else 0
    if "trees" in facts:
        functions = read_trees(facts["trees"], folder)
        if any(sum(kept.n_draws for kept in part.chains) != draws for part in functions.parts) or (
            not functions.parts or functions.n_draws != draws
        ):
            raise StorageError(f"{folder}: the forests are not as many as the draws.")
        return (), functions
    stored = facts["learners"]
    if ("versions" in stored) != bool(draws):
        raise StorageError(f"{MAIN}: 'learners.versions' and 'draws' go together.")
    learners = read_learners(stored["kind"], stored["count"], folder, trusted)
    if "versions" not in stored:
        return learners, None
    ends, index = np.cumsum(stored["versions"]), arrays["version"]
    if ends[-1] != len(learners) or index.shape != (draws,) or index.dtype.kind != "i":
        raise StorageError(f"{MAIN}: 'learners.versions' does not go with the learners and draws.")
    if not 0 <= index.min() <= index.max() == len(ends) - 1:
        raise StorageError(f"{ARRAYS}: 'version' numbers other versions than there are.")
    versions = tuple(learners[end - size : end] for end, size in zip(ends, stored["versions"], strict=True))
    return learners, LearnerVersions(versions, index)


def _read_draws(facts: Mapping[str, Any], arrays: Mapping[str, AnyArray], count: int) -> Draws | None:
    if "draws" not in facts:
        return None
    return Draws(
        beta=arrays["draws_beta"],
        sigma=arrays["draws_sigma"],
        sd=tuple(arrays[f"draws_sd_{k}"] for k in range(count)),
        cor=tuple(arrays.get(f"draws_cor_{k}") for k in range(count)),
        effects=tuple(arrays[f"draws_effects_{k}"] for k in range(count)),
        stats={"version": arrays["draws_version"]},
        method=facts["draws"]["method"],
        info=facts["draws"]["info"],
    )


def _published(fitted: FittedForest, facts: Mapping[str, Any]) -> MixedEffectsForest:
    forest = MixedEffectsForest(**facts["options"])
    forest.fitted_ = fitted
    forest.learners_ = fitted.learners
    forest.sigma_ = fitted.components.sigma
    if fitted.history is not None:
        forest.history_ = fitted.history
        forest.gll_ = fitted.history["gll"].to_numpy()
    for name, value in facts["published"].items():
        if value is not None:
            setattr(forest, name, np.asarray(value, dtype=object) if isinstance(value, list) else value)
    return forest
