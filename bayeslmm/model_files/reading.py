"""A TOML file to a :class:`ModelFile`: each key with the check of its value."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from bayeslmm.datasets import DATASET_NAMES, ENDINGS_SAID, is_table
from bayeslmm.errors import ModelFileError
from bayeslmm.model_files.checks import check_csv, check_methods, check_rows, unknown_name
from bayeslmm.model_files.model_file import DEFAULT_METHODS, GENERALIZED_METHODS, Level, ModelFile
from bayeslmm.types import Missing

_KEYS = (
    "formula", "data", "family", "link", "methods", "categories", "weights", "missing", "priors", "nuts", "csv",
    "chunk_rows", "zero",
)  # fmt: skip
# Each sampler setting with the smallest value that makes sense.
_NUTS_MINIMUM = {"draws": 1, "tune": 1, "chains": 1, "seed": 0}


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
        zero=None if "zero" not in table else _zero(path, family, table["zero"]),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.loads(stream.read().decode("utf-8-sig"))  # editors of Windows write a byte order mark
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


def _zero(path: Path, family: str, value: object) -> str:
    from bayeslmm.families import FAMILIES

    text = _text(path, "zero", value)
    if family != "gaussian" and FAMILIES[family]().has_zero_part:
        return text
    having = ", ".join(name for name, kind in FAMILIES.items() if kind().has_zero_part)
    raise ModelFileError(
        f"{path}: 'zero' is the formula of a share of zeros, which the family '{family}' does not have. Those that do: "
        f"{having}."
    )


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
