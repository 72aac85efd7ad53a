"""Learners as files that run no code when read: LightGBM's text, XGBoost's and stochtree's JSON, or skops."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bayeslmm.errors import MissingDependencyError, StorageError, warn_user
from bayeslmm.forest.bart.sampler import FeatureCoding, KeptForests, TreeDraws, TreePart, TreePlan
from bayeslmm.types import Array

ENDINGS = {"lightgbm": "txt", "xgboost": "json", "skops": "skops"}


class SkopsWarning(UserWarning):
    """A learner was written in skops' format, which is tied to versions of its packages."""


@dataclass(frozen=True, slots=True)
class StoredBooster:
    """A LightGBM model read from its text: predicts, and cannot be fitted again.

    Attributes
    ----------
    booster
        LightGBM's Booster.
    """

    booster: Any

    def predict(self, features: Any) -> Array:
        """Return predictions, shape (m,)."""
        return np.asarray(self.booster.predict(features), dtype=float)

    @property
    def feature_importances_(self) -> Array:
        """Number of splits by column, as LGBMRegressor counts by default."""
        return np.asarray(self.booster.feature_importance())


def kind_of(learner: Any) -> str:
    """Return "lightgbm", "xgboost" or "skops"."""
    if isinstance(learner, StoredBooster):
        return "lightgbm"
    name = type(learner).__name__
    module = type(learner).__module__.split(".")[0]
    if module == "lightgbm" and hasattr(learner, "booster_"):
        return "lightgbm"
    return "xgboost" if module == "xgboost" and name == "XGBRegressor" else "skops"


def write_learners(learners: Sequence[Any], folder: Path) -> str:
    """Write fitted learners, one file each, and return their kind.

    Raises
    ------
    MissingDependencyError
        If only skops can write them and it is not installed.
    """
    kind = kind_of(learners[0])
    if kind == "skops":
        _warn_skops(learners[0])
    for k, learner in enumerate(learners):
        path = folder / file_name(kind, k)
        if kind == "lightgbm":
            booster = learner.booster if isinstance(learner, StoredBooster) else learner.booster_
            path.write_text(booster.model_to_string())
        elif kind == "xgboost":
            learner.save_model(path)
        else:
            _skops().dump(learner, path)
    return kind


def read_learners(kind: str, count: int, folder: Path, trusted: Sequence[str]) -> tuple[Any, ...]:
    """Read learners that :func:`write_learners` wrote, from files whose checksums were compared.

    Raises
    ------
    StorageError
        If they are of an unknown kind, or hold types that are not trusted.
    """
    paths = [folder / file_name(kind, k) for k in range(count)]
    if kind == "lightgbm":
        import lightgbm

        return tuple(StoredBooster(lightgbm.Booster(model_str=path.read_text())) for path in paths)
    if kind == "xgboost":
        return tuple(_read_xgboost(path) for path in paths)
    return tuple(_read_skops(path, trusted) for path in paths)


def file_name(kind: str, k: int) -> str:
    """Return the name of a learner's file.

    Raises
    ------
    StorageError
        If the kind is unknown.
    """
    if kind not in ENDINGS:
        raise StorageError(f"forest.json: the learners' format {kind!r} is unknown; known are {', '.join(ENDINGS)}.")
    return f"learner_{k}.{ENDINGS[kind]}"


def write_trees(functions: TreeDraws, folder: Path) -> dict[str, Any]:
    """Write BART's forests, and return what else is needed to read them."""
    parts = []
    for p, part in enumerate(functions.parts):
        for k, kept in enumerate(part.chains):
            with gzip.open(folder / trees_name(p, k), "wt", encoding="utf-8", compresslevel=3) as file:
                file.write(kept.to_json())
        coding = part.plan.coding
        parts.append(
            {
                "chains": len(part.chains),
                "scale": part.plan.scale,
                "n_trees": part.plan.n_trees,
                "smallest_leaf": part.plan.smallest_leaf,
                "names": list(coding.names),
                "categories": [None if c is None else list(c) for c in coding.categories],
            }
        )
    return {"parts": parts, "n_draws": functions.n_draws}


def trees_name(part: int, chain: int) -> str:
    """Return the name of the file of one chain's forests."""
    return f"trees_{part}_{chain}.json.gz"


def read_trees(facts: dict[str, Any], folder: Path) -> TreeDraws:
    """Read forests that :func:`write_trees` wrote."""
    parts = []
    for p, stored in enumerate(facts["parts"]):
        categories = tuple(None if c is None else tuple(c) for c in stored["categories"])
        coding = FeatureCoding(tuple(stored["names"]), categories)
        plan = TreePlan(coding, float(stored["scale"]), int(stored["n_trees"]), int(stored["smallest_leaf"]))
        chains = []
        for k in range(int(stored["chains"])):
            with gzip.open(folder / trees_name(p, k), "rt", encoding="utf-8") as file:
                chains.append(KeptForests.from_json(file.read(), plan.n_trees))
        parts.append(TreePart(plan, tuple(chains)))
    return TreeDraws(tuple(parts), int(facts["n_draws"]))


def _skops() -> Any:
    try:
        return import_module("skops.io")
    except ImportError as error:
        raise MissingDependencyError(
            "This learner has no text format of its own; saving it needs skops (pip install skops), the "
            "format scikit-learn "
            "recommends in place of pickle. LightGBM, XGBoost and BART need nothing."
        ) from error


def _warn_skops(learner: Any) -> None:
    _skops()
    warn_user(
        f"{type(learner).__name__} is written in skops' format, which can be read with the same versions "
        "of scikit-learn and "
        "numpy only; LightGBM, XGBoost and BART are written in formats of their own.",
        SkopsWarning,
    )


def _read_skops(path: Path, trusted: Sequence[str]) -> Any:
    io = _skops()
    unknown = sorted(set(io.get_untrusted_types(file=path)) - set(trusted))
    if unknown:
        raise StorageError(
            f"{path.name} holds types that are not trusted: {', '.join(unknown)}. If the file is yours, "
            f"pass trusted={unknown!r}."
        )
    return io.load(path, trusted=list(trusted))


def _read_xgboost(path: Path) -> Any:
    model = import_module("xgboost").XGBRegressor()
    model.load_model(path)
    return model
