"""Sums in a file, so that rows need not leave where they are: arrays and a record in JSON, never pickle."""

import json
import zlib
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, LargeZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.batches import make_recipes
from bayeslmm.design.evaluate import Memory
from bayeslmm.design.grouping import Grouping, make_grouping
from bayeslmm.design.learning import Counts, Learned, Plan
from bayeslmm.errors import BayeslmmError, StorageError, explanation
from bayeslmm.formula import parse
from bayeslmm.likelihood.partial_sums import PartialSums, SumsShape
from bayeslmm.streams.building import make_plan
from bayeslmm.streams.deciding import Streamed

FORMAT, VERSION = "bayeslmm sums", 1
UNREADABLE = (OSError, ValueError, KeyError, EOFError, MemoryError, RecursionError, NotImplementedError, RuntimeError)
NO_ARCHIVE = (BadZipFile, LargeZipFile, zlib.error)
RECORD = "record"


def write_sums(streamed: Streamed, path: Path) -> Path:
    """Write sums to a file, beside its place first.

    Raises
    ------
    StorageError
        If the file is there already or cannot be written, or labels are neither numbers, texts nor dates.
    """
    if path.exists():
        raise StorageError(f"{path} is there already; choose another name.")
    arrays: dict[str, NDArray[Any]] = {}
    record = _record(streamed, arrays)
    arrays[RECORD] = np.frombuffer(json.dumps(record).encode(), dtype=np.uint8)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_sums(path: Path, functions: Mapping[str, Callable[..., Any]] | None = None) -> Streamed:
    """Read sums from a file.

    Raises
    ------
    StorageError
        If it is no file of sums, or is damaged, or needs functions that were not passed.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        record = json.loads(bytes(arrays[RECORD]).decode())
    except (*UNREADABLE, *NO_ARCHIVE) as error:
        said = explanation(error) if isinstance(error, OSError) else "it is no file of sums, or is damaged."
        raise StorageError(f"{path} cannot be read: {said}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("version") != VERSION:
        raise StorageError(f"{path} holds no sums that this bayeslmm reads (version {VERSION}).")
    if absent := [name for name in record.get("functions", ()) if name not in (functions or {})]:
        raise StorageError(f"The formula uses functions of your own: pass functions={{{absent[0]!r}: ...}}.")
    try:
        return _streamed(record, arrays, functions)
    except BayeslmmError:
        raise
    except Exception as error:  # a record of unknown origin can hold anything
        raise StorageError(f"{path} is damaged: what it holds does not fit together.") from error


def _record(streamed: Streamed, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    learned, sums = streamed.learned, streamed.sums
    plan, shape = learned.plan, sums.shape
    for k, grouping in enumerate(learned.groupings):
        for c, part in enumerate(grouping.parts):
            arrays[f"labels_{k}_{c}"] = _labels(part, grouping.columns[c])
        arrays[f"observed_{k}"] = grouping.observed
        arrays[f"by_level_{k}"] = sums.by_level[k]
        arrays[f"moved_{k}"] = shape.moved_terms[k]
    for (k, m), pairs in sums.pairs.items():
        arrays[f"keys_{k}_{m}"], arrays[f"blocks_{k}_{m}"] = pairs.pairs()
    arrays |= {"gram": sums.gram, "moved": shape.moved}
    if streamed.triangle is not None:
        arrays["triangle"] = streamed.triangle
    for place, (low, high, binary) in enumerate(zip(sums.low, sums.high, sums.binary, strict=True)):
        arrays[f"low_{place}"], arrays[f"high_{place}"], arrays[f"binary_{place}"] = low, high, binary
    for place, (text, levels) in enumerate(learned.memory.levels.items()):
        arrays[f"levels_{place}"] = _labels(levels, text)
    return {
        "format": FORMAT,
        "version": VERSION,
        "formula": plan.formula.text,
        "columns": list(plan.columns),
        "weights": plan.weights_column,
        "offset": plan.offset_column,
        "missing": plan.missing,
        "functions": sorted(plan.functions),
        "levels": list(learned.memory.levels),
        "states": {key: plain(state) for key, state in learned.memory.states.items()},
        "kept": learned.counts.kept,
        "dropped": learned.counts.dropped,
        "n": sums.n,
        "log_weights": sums.log_weights,
        "moved_y": shape.moved_y,
    }


def _streamed(record: dict[str, Any], arrays: dict[str, NDArray[Any]], functions: Any) -> Streamed:
    text = record["formula"]
    given = {name: functions[name] for name in record["functions"]}
    dotted = tuple(name for name in record["columns"] if "." in name)
    plan = make_plan(
        parse(text, tuple(given), dotted),
        tuple(record["columns"]), record["weights"], record["offset"], given, record["missing"],
    )  # fmt: skip
    levels = {text: _index(arrays[f"levels_{place}"]) for place, text in enumerate(record["levels"])}
    memory = Memory({key: _filled(state) for key, state in record["states"].items()}, levels)
    groupings = tuple(_grouping(k, bar.factors, arrays) for k, bar in enumerate(plan.formula.bars))
    learned = Learned(plan, memory, groupings, Counts({}, record["kept"], record["dropped"]))
    recipes = make_recipes(learned, _no_rows(plan, levels))
    constants = tuple(recipe.names.index("Intercept") if () in recipe.terms else -1 for recipe in recipes.effects)
    shape = SumsShape(
        levels=tuple(len(grouping.levels) for grouping in groupings),
        sizes=tuple(len(recipe.names) for recipe in recipes.effects),
        n_fixed=len(recipes.fixed.names),
        constant=recipes.fixed.names.index("Intercept") if () in recipes.fixed.terms else -1,
        constants=constants,
        moved=arrays["moved"],
        moved_y=float(record["moved_y"]),
        moved_terms=tuple(arrays[f"moved_{k}"] for k in range(len(groupings))),
    )
    sums = PartialSums(shape)
    sums.n, sums.log_weights = int(record["n"]), float(record["log_weights"])
    _fill(sums.gram, arrays["gram"])
    for k, by_level in enumerate(sums.by_level):
        _fill(by_level, arrays[f"by_level_{k}"])
    for (k, m), pairs in sums.pairs.items():
        pairs.add_run(arrays[f"keys_{k}_{m}"], arrays[f"blocks_{k}_{m}"])
    for place in range(len(sums.low)):
        _fill(sums.low[place], arrays[f"low_{place}"])
        _fill(sums.high[place], arrays[f"high_{place}"])
        _fill(sums.binary[place], arrays[f"binary_{place}"])
    return Streamed(learned, recipes, sums, arrays.get("triangle"))


def _grouping(k: int, columns: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> Grouping:
    parts = [_index(arrays[f"labels_{k}_{c}"]) for c in range(len(columns))]
    return make_grouping(columns, parts, arrays[f"observed_{k}"] if len(columns) > 1 else None)


def _index(labels: NDArray[Any]) -> pd.Index:
    return pd.Index(labels.tolist() if labels.dtype.kind == "U" or labels.dtype == "datetime64[D]" else labels)


def _fill(place: NDArray[Any], values: NDArray[Any]) -> None:
    if place.shape != values.shape:
        raise ValueError(f"an array has shape {values.shape} in place of {place.shape}")
    place[...] = values


def _no_rows(plan: Plan, levels: Mapping[str, pd.Index]) -> pd.DataFrame:
    """Return a frame without rows whose columns are categories where those of the sums were."""
    labels = {e.columns[0]: levels[e.text] for e in plan.expressions if e.is_column and e.text in levels}
    empty = {
        name: pd.Categorical([], categories=labels[name]) if name in labels else np.zeros(0) for name in plan.columns
    }
    return pd.DataFrame(empty)


def _labels(levels: pd.Index, name: str) -> NDArray[Any]:
    values = levels.to_numpy()
    if values.dtype.kind in "biufM":
        return values
    if len(values) and all(type(value) is date for value in values):
        return values.astype("datetime64[D]")
    if all(isinstance(value, str) for value in values):
        return np.array(values.tolist(), dtype=str)
    raise StorageError(
        f"The labels of {name!r} are neither numbers, texts nor dates: convert the column with astype(str)."
    )


def plain(value: Any) -> Any:
    """Return what a transform learned as JSON can hold it."""
    if isinstance(value, Mapping):
        return {"table": [[plain(key), plain(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": value.astype(float).tolist()}
    if isinstance(value, list | tuple):
        return {"list": [plain(item) for item in value]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StorageError(f"A transform of the formula learned a {type(value).__name__}, which sums cannot store.")


def _filled(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "table":
        return {_filled(key): _filled(item) for key, item in content}
    return np.array(content, dtype=float) if kind == "array" else [_filled(item) for item in content]
