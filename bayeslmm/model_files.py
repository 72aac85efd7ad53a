"""Model files: a formula, its data and the methods to fit, written down in TOML.

::

    formula = "Reaction ~ 1 + Days + (1 + Days | Subject)"
    data = "sleepstudy"             # a shipped data set, or a CSV or Parquet file beside this one, or a folder
    chunk_rows = 100_000            # read rows in batches of so many and keep none; a folder is read so in any case
    family = "poisson"              # of the response; left out, normal
    link = "log"                    # left out, the family's first
    methods = ["reml", "nuts"]      # the default; with a family ["ml", "nuts"]
    missing = "drop"                # or "error"
    weights = "w"                   # a column

    [categories]                    # a column's levels in order; the first is the base
    treatment = ["Control", "High", "Low"]

    [priors]
    Intercept = "Normal(250, 100)"

    [csv]                           # how a CSV file is written, where not with commas and points
    separator = ";"
    decimal = ","

    [nuts]                          # draws, chains and seed are those of "importance" and "advi", too
    draws = 1000
    tune = 1000
    chains = 4
    seed = 1
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from bayeslmm.datasets import DATASET_NAMES, ENDINGS_SAID, is_table, load_dataset, read_table
from bayeslmm.errors import ModelFileError, suggest
from bayeslmm.methods import METHODS
from bayeslmm.types import Missing

if TYPE_CHECKING:
    from bayeslmm.rows import Rows

DEFAULT_METHODS: tuple[str, ...] = ("reml", "nuts")
GENERALIZED_METHODS: tuple[str, ...] = ("ml", "nuts")  # the default where the response is not normal

_KEYS = (
    "formula", "data", "family", "link", "methods", "categories", "weights", "missing", "priors", "nuts", "csv",
    "chunk_rows",
)  # fmt: skip
# Each sampler setting with the smallest value that makes sense.
_NUTS_MINIMUM = {"draws": 1, "tune": 1, "chains": 1, "seed": 0}

Level = str | int | float | bool


@dataclass(frozen=True)
class ModelFile:
    """A model file that has been read and checked, apart from the formula and the priors' texts.

    Attributes
    ----------
    path : pathlib.Path
        Where it was read.
    formula : str
        The model, in lme4's notation.
    data : str
        A shipped data set's name, or the path, relative to the model file, of a CSV or Parquet file or of a folder of
        Parquet files.
    family : str
        The distribution of the response.
    link : str or None
        The link of its mean; None for the family's first.
    methods : tuple of str
        The methods to fit, in order, each once.
    categories : mapping
        Column name to its levels in order, the base level first.
    weights : str or None
        The column of the observations' weights.
    missing : {"drop", "error"}
        What to do with rows that lack a value.
    priors : mapping or str or None
        Parameter name to the text of its prior, or the name of a preset; None for the default priors.
    nuts : mapping
        Those of ``draws``, ``tune``, ``chains`` and ``seed`` that the file sets; every method that samples takes
        those it knows.
    csv : mapping
        ``separator`` and ``decimal`` of a CSV file, those of them that the file states.
    chunk_rows : int or None
        Rows of a batch, where rows are read in batches and not kept.
    """

    path: Path
    formula: str
    data: str
    family: str = "gaussian"
    link: str | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    categories: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    weights: str | None = None
    missing: Missing = "drop"
    priors: Mapping[str, str] | str | None = None
    nuts: Mapping[str, int] = field(default_factory=dict)
    csv: Mapping[str, str] = field(default_factory=dict)
    chunk_rows: int | None = None


def read_model_file(path: str | Path) -> ModelFile:
    """Read and check a model file; the data are not read yet.

    Parameters
    ----------
    path : str or pathlib.Path
        A TOML file.

    Returns
    -------
    ModelFile

    Raises
    ------
    ModelFileError
        If the file is missing or is not TOML, or a key is unknown, missing or has a value of the wrong kind.
    """
    path = Path(path)
    table = _read_toml(path)
    for key in table:
        _check_known(path, key, _KEYS, "key")
    for key in ("formula", "data"):
        if key not in table:
            raise ModelFileError(f"{path}: the key '{key}' is missing. A model file needs 'formula' and 'data'.")
    family = _family(path, table.get("family", "gaussian"))
    default = DEFAULT_METHODS if family == "gaussian" else GENERALIZED_METHODS
    return ModelFile(
        path=path,
        formula=_text(path, "formula", table["formula"]),
        data=_data_name(path, table["data"]),
        family=family,
        link=None if "link" not in table else _link(path, family, table["link"]),
        methods=check_methods(table.get("methods", default), f"{path}: 'methods'"),
        categories=_categories(path, table.get("categories", {})),
        weights=None if "weights" not in table else _text(path, "weights", table["weights"]),
        missing=_missing(path, table.get("missing", "drop")),
        priors=_priors(path, table.get("priors")),
        nuts=_nuts(path, table.get("nuts", {})),
        csv=_csv(path, table.get("csv", {})),
        chunk_rows=check_rows(table.get("chunk_rows"), f"{path}: 'chunk_rows'"),
    )


def read_data(model_file: ModelFile) -> "pd.DataFrame | Rows":
    """Load the data a model file names, its categories applied, or open Parquet files that are read in batches.

    Parameters
    ----------
    model_file : ModelFile
        What :func:`read_model_file` returned.

    Returns
    -------
    pandas.DataFrame or Rows
        Columns named in ``categories`` are unordered categoricals with those levels in that order. Rows of a folder,
        and of a Parquet file where ``chunk_rows`` is given.

    Raises
    ------
    ModelFileError
        If the file is missing, unreadable or outside the model file's folder, a column is absent, or levels
        and data do not match.
    """
    shipped = model_file.data in DATASET_NAMES
    path = Path() if shipped else _inside(model_file)
    if not shipped and (path.is_dir() or (model_file.chunk_rows and path.suffix.lower() == ".parquet")):
        return _stream(model_file, path)
    frame = load_dataset(model_file.data) if shipped else read_table(path, **model_file.csv)
    for column, levels in model_file.categories.items():
        where = f"{model_file.path}: 'categories.{column}'"
        if column not in frame.columns:
            raise ModelFileError(f"{where}: {unknown_name('column', column, [str(c) for c in frame.columns])}")
        frame[column] = _as_category(frame[column], levels, where)
    return frame


def _stream(model_file: ModelFile, path: Path) -> "Rows":
    from bayeslmm.rows import open_rows

    folder = model_file.path.parent.resolve()
    if outside := [p for p in path.rglob("*") if not p.resolve().is_relative_to(folder)]:
        raise ModelFileError(f"{outside[0]} leads out of the model file's folder: copy the file there.")
    for column, levels in model_file.categories.items():
        raise ModelFileError(
            f"{model_file.path}: 'categories.{column}': rows that are read in batches take their levels from the "
            f"formula: write C({column}, levels={list(levels)}) there."
        )
    return open_rows(path)


def check_rows(value: object, where: str) -> int | None:
    """Return a number of rows per batch, or None.

    Raises
    ------
    ModelFileError
        If it is no whole number of at least one; ``where`` opens the message.
    """
    if value is None or (type(value) is int and value >= 1):
        return value
    raise ModelFileError(f"{where} is {value!r}; expected a whole number of rows, at least 1.")


def check_methods(methods: object, where: str) -> tuple[str, ...]:
    """Return the methods, each once and in order.

    Raises
    ------
    ModelFileError
        If they are not a non-empty list of known methods; ``where`` opens the message.
    """
    if not isinstance(methods, Sequence) or isinstance(methods, str) or not methods:
        raise ModelFileError(f"{where} is {methods!r}: give a list with at least one of {', '.join(METHODS)}.")
    for method in methods:
        if method not in METHODS:
            raise ModelFileError(f"{where} names {method!r}, which is not a method: use {', '.join(METHODS)}.")
    return tuple(dict.fromkeys(methods))


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Say that a name is unknown, with the nearest known one and the whole list."""
    near = suggest(name, known)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"there is no {kind} '{name}'.{hint} Known: {', '.join(known)}."


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        hint = "" if path.suffix == ".toml" else " Model files end in .toml; 'bayeslmm models' lists those of a folder."
        raise ModelFileError(f"{path}: there is no such model file.{hint}") from None
    except OSError as error:
        raise ModelFileError(f"{path}: the model file cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ModelFileError(f"{path}: the model file is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise ModelFileError(f"{path}: the model file is not valid TOML: {error}.") from None
    except RecursionError:
        raise ModelFileError(f"{path}: the model file is nested too deeply.") from None


def _check_known(path: Path, key: str, known: Sequence[str], kind: str, prefix: str = "") -> None:
    if key not in known:
        raise ModelFileError(f"{path}: '{prefix}{key}': {unknown_name(kind, key, known)}")


def _wrong_kind(path: Path, key: str, value: object, expected: str) -> ModelFileError:
    return ModelFileError(f"{path}: '{key}' is {value!r}; expected {expected}.")


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong_kind(path, key, value, "a text that is not empty")
    return value


def _data_name(path: Path, value: object) -> str:
    name = _text(path, "data", value)
    if name not in DATASET_NAMES and not is_table(name) and not _is_folder(path.parent / name):
        raise ModelFileError(
            f"{path}: 'data' is '{name}', which is neither a shipped data set ({', '.join(DATASET_NAMES)}) "
            f"nor the path of a file that ends in {ENDINGS_SAID}, nor a folder of Parquet files."
        )
    return name


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a null character
        return False


def _family(path: Path, value: object) -> str:
    name = _text(path, "family", value)
    if name == "gaussian":
        return name
    from bayeslmm.families import FAMILIES

    if name not in FAMILIES:
        raise ModelFileError(f"{path}: 'family': {unknown_name('family', name, list(FAMILIES))}")
    return name


def _link(path: Path, family: str, value: object) -> str:
    from bayeslmm.families import FAMILIES

    name, links = _text(path, "link", value), FAMILIES[family].links
    if name not in links:
        raise ModelFileError(f"{path}: 'link': the family '{family}' has no link '{name}'. Known: {', '.join(links)}.")
    return name


def _missing(path: Path, value: object) -> Missing:
    for choice in get_args(Missing):
        if value == choice:
            return choice
    raise _wrong_kind(path, "missing", value, " or ".join(f"'{choice}'" for choice in get_args(Missing)))


def _categories(path: Path, value: object) -> dict[str, tuple[Level, ...]]:
    if not isinstance(value, dict):
        raise _wrong_kind(path, "categories", value, "a table of columns, each with the list of its levels")
    checked = {}
    for column, levels in value.items():
        key = f"categories.{column}"
        if not isinstance(levels, list) or not levels:
            raise _wrong_kind(path, key, levels, "a list of levels, the base level first")
        kinds = {type(level) for level in levels}
        if len(kinds) > 1 or not kinds <= {str, int, float, bool}:
            raise _wrong_kind(path, key, levels, "levels that are all texts, all numbers or all true or false")
        if len(set(levels)) < len(levels):
            twice = next(level for level in levels if levels.count(level) > 1)
            raise ModelFileError(f"{path}: '{key}' lists the level {twice!r} twice.")
        checked[column] = tuple(levels)
    return checked


def _priors(path: Path, value: object) -> dict[str, str] | str | None:
    if value is None or isinstance(value, str):
        return value
    expected = 'a preset\'s name or a table of parameters, each with a text such as "Normal(0, 10)"'
    if not isinstance(value, dict):
        raise _wrong_kind(path, "priors", value, expected)
    return {name: _text(path, f"priors.{name}", text) for name, text in value.items()}


def check_csv(stated: Mapping[str, object], where: str) -> dict[str, str]:
    """Return how a CSV file is written.

    Raises
    ------
    ModelFileError
        If the separator or the decimal point is none; ``where`` opens the message.
    """
    separator, decimal = stated.get("separator", ","), stated.get("decimal", ".")
    if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"' or separator.isalnum():
        raise ModelFileError(f"{where}: the separator is {separator!r}; expected one sign, such as ';' or a tab.")
    if decimal not in (".", ","):
        raise ModelFileError(f"{where}: the decimal point is {decimal!r}; expected '.' or ','.")
    if decimal == separator or (decimal == "," and "separator" not in stated):
        raise ModelFileError(f"{where}: commas cannot be both decimal points and separators; state another separator.")
    return {key: str(value) for key, value in stated.items()}


def _csv(path: Path, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong_kind(path, "csv", value, "a table with separator and decimal")
    for key in value:
        _check_known(path, key, ("separator", "decimal"), "key", prefix="csv.")
    return check_csv(value, f"{path}: [csv]")


def _nuts(path: Path, value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise _wrong_kind(path, "nuts", value, f"a table with {', '.join(_NUTS_MINIMUM)}")
    for key, number in value.items():
        _check_known(path, key, tuple(_NUTS_MINIMUM), "key", prefix="nuts.")
        if type(number) is not int or number < _NUTS_MINIMUM[key]:
            raise _wrong_kind(path, f"nuts.{key}", number, f"a whole number, at least {_NUTS_MINIMUM[key]}")
    return dict(value)


def _inside(model_file: ModelFile) -> Path:
    """Return the data file's path, refusing to leave the model file's folder."""
    name = model_file.data
    where = f"{model_file.path}: 'data' is '{name}'"
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts:
        raise ModelFileError(f"{where}: give a path relative to the model file, without '..'.")
    folder = model_file.path.parent.resolve()
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symbolic links, a null character
        raise ModelFileError(f"{where}, which is no usable path ({error}).") from None
    if not path.is_relative_to(folder):
        raise ModelFileError(f"{where}, which leads out of the model file's folder ({path}): copy the file there.")
    holds_rows = path.is_dir() and (path.suffix.lower() == ".parquet" or not is_table(path.name))
    if not path.is_file() and not holds_rows:
        raise ModelFileError(f"{where}: there is no such file in {folder}.")
    return path


def _as_category(values: pd.Series, levels: Sequence[Level], where: str) -> pd.Series:
    """Turn a column into a categorical with the given levels, which must be exactly the values found."""
    plain = values.astype(object)
    present = values.notna()
    # Python counts True as equal to 1: levels of true and false fit a column of truth values and no other.
    truths = {isinstance(value, bool) for value in (*levels, *plain[present].unique())}
    unlisted = (present & ~plain.isin(list(levels))).to_numpy()
    if unlisted.any() or len(truths) > 1:
        row = int(unlisted.argmax())
        raise ModelFileError(
            f"{where} is {list(levels)}, which does not cover the column: row {row} (counted from 0) holds "
            f"{plain.iloc[row]!r}. {int(unlisted.sum())} rows hold values that are not listed."
        )
    absent = [level for level in levels if not (plain == level).any()]
    if absent:
        raise ModelFileError(
            f"{where} lists {absent[0]!r}, which the column never holds. Remove it, or check its spelling."
        )
    category = pd.Categorical(plain, dtype=pd.CategoricalDtype(list(levels)))
    return pd.Series(category, index=values.index, name=values.name)
