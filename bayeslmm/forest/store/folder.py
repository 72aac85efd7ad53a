"""A forest as a folder: forest.json, arrays.npz, Parquet tables, one file per learner. Never pickle."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm import __version__
from bayeslmm.design import build_design
from bayeslmm.errors import StorageError
from bayeslmm.files import whole_folder
from bayeslmm.forest.bart.sampler import TreeDraws
from bayeslmm.forest.data.inputs import Roles
from bayeslmm.forest.em.fitting import design_rows
from bayeslmm.forest.em.step import Components
from bayeslmm.forest.estimator import MixedEffectsForest
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.gibbs.fitting import LearnerVersions
from bayeslmm.forest.store.learners import read_learners, read_trees, write_learners, write_trees
from bayeslmm.formula import parse
from bayeslmm.inference.draws import Draws
from bayeslmm.results.store.folder import FOREST
from bayeslmm.results.store.frame import read_frame, write_frame
from bayeslmm.types import AnyArray

FORMAT, VERSION = "bayeslmm forest", 1
MAIN, ARRAYS, DATA, FEATURES, HISTORY = (
    FOREST,
    "arrays.npz",
    "data.parquet",
    "features.parquet",
    "history.parquet",
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
    with whole_folder(folder, lambda: _check_place(folder)) as partial:
        _write_into(forest, partial)
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
        If the folder holds no forest, or its files do not fit together.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    try:
        return _rebuild(facts, folder, trusted)
    except (KeyError, IndexError, TypeError, OSError) as error:
        raise StorageError(f"{folder} holds no complete forest: {type(error).__name__}: {error}") from error


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
    (folder / MAIN).write_text(json.dumps(facts, indent=1, allow_nan=False))


def _options(forest: MixedEffectsForest) -> dict[str, Any]:
    options = forest.get_params(deep=False)
    learner = options.pop("learner")
    options["learner"] = "bart" if isinstance(learner, str) else None
    if options["priors"] is not None and not isinstance(options["priors"], str):
        options["priors"] = {name: str(prior) for name, prior in options["priors"].items()}
    for name in ("linear", "features"):
        if options[name] is not None and not isinstance(options[name], str):
            options[name] = list(options[name])
    try:
        return json.loads(json.dumps(options, default=_plain))
    except TypeError as error:
        raise StorageError(f"An option of the forest cannot be written: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__}")


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
    try:
        facts = json.loads((folder / MAIN).read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder} holds no saved forest: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise StorageError(f"{folder / MAIN} does not describe a forest.")
    if facts.get("version") != VERSION:
        raise StorageError(
            f"{folder / MAIN} has version {facts.get('version')!r}; this package reads version {VERSION}."
        )
    return facts


def _rebuild(facts: Mapping[str, Any], folder: Path, trusted: Sequence[str]) -> MixedEffectsForest:
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        arrays = dict(stored)
    formula = parse(facts["formula"])
    design = build_design(formula, read_frame(folder / DATA, facts["data"]), weights=facts["weights"], missing="error")
    kept = np.flatnonzero(np.isin(design.rows, arrays["rows"]))
    design = design if len(kept) == design.n else design_rows(design, kept)
    count = range(len(design.terms))
    components = Components(
        sigma2=float(facts["sigma2"]),
        covariances=tuple(arrays[f"covariance_{k}"] for k in count),
        beta=arrays["beta"],
        effects=tuple(arrays[f"effects_{k}"] for k in count),
    )
    expected = [(t.n_levels, t.n_columns) for t in design.terms]
    if [b.shape for b in components.effects] != expected or len(arrays["predictions"]) != design.n:
        raise StorageError(f"{folder}: the arrays do not belong to the data stored beside them.")
    learners, functions = _read_functions(facts, arrays, folder, trusted)
    names = facts["features"]
    table = "table" in facts
    fitted = FittedForest(
        roles=Roles(formula, None if names is None else tuple(names)),
        design=design,
        features=read_frame(folder / FEATURES, facts["table"]) if table else arrays["features"],
        learners=learners,
        predictions=arrays["predictions"],
        ensemble=arrays["ensemble"],
        components=components,
        history=pd.read_parquet(folder / HISTORY) if (folder / HISTORY).is_file() else None,
        draws=_read_draws(facts, arrays, len(design.terms)),
        functions=functions,
        probes=arrays.get("probes"),
    )
    return _published(fitted, facts)


def _read_functions(
    facts: Mapping[str, Any], arrays: Mapping[str, AnyArray], folder: Path, trusted: Sequence[str]
) -> tuple[tuple[Any, ...], Any]:
    if "trees" in facts:
        return (), read_trees(facts["trees"], folder)
    stored = facts["learners"]
    learners = read_learners(stored["kind"], int(stored["count"]), folder, trusted)
    if "versions" not in stored:
        return learners, None
    ends = np.cumsum(stored["versions"])
    versions = tuple(learners[end - size : end] for end, size in zip(ends, stored["versions"], strict=True))
    return learners, LearnerVersions(versions, arrays["version"])


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
