"""Texts that were probably meant as something else: numbers, or labels that are spelled in two ways."""

import unicodedata
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import warn_user

MOSTLY = 0.8  # share of distinct values that read as numbers, above which the others look like slips
MANY = 10  # fewer distinct values are labels, whatever they read as
LEVELS_PER_ROW = 0.25  # more levels than this share of the rows are rarely labels
LONGEST_CELL = 40  # characters of a cell that messages show

PLAIN = "convert it with pandas.to_numeric"
SIGNS = (
    "take out separators of thousands and signs such as %, € and <, write minus as '-', then convert it with "
    "pandas.to_numeric"
)
COMMA = (
    "they have decimal commas, so read the file with decimal=',', or convert the column with "
    "pandas.to_numeric({data}.str.replace(',', '.'))"
)
_SIGNS = r"[\s%‰°$€£¥'’_<>≤≥≈~]"
_MINUS = "[\u2212\u2013]"  # of typesetting: the minus sign and the dash
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"
_COMMA = r"\s*[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][+-]?\d+)?\s*"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How texts spell numbers.

    Attributes
    ----------
    reads
        Which texts read as numbers, shape (k,).
    remedy
        How to convert the column; ``{data}`` stands for it.
    """

    reads: NDArray[np.bool_]
    remedy: str


def spelling(texts: pd.Series) -> Spelling:
    """Return the spelling that most of k texts have: plain, with separators and signs, or with decimal commas."""
    words = texts.astype(str)
    plain = _reads_as_number(words)
    if plain.size and plain.mean() >= MOSTLY:
        return Spelling(plain, PLAIN)
    bare = words.str.replace(_SIGNS, "", regex=True).str.replace(_MINUS, "-", regex=True)
    thousands = plain | bare.str.fullmatch(_THOUSANDS).to_numpy(dtype=bool) | _reads_as_number(bare)
    comma = plain | words.str.fullmatch(_COMMA).to_numpy(dtype=bool)
    found = (Spelling(plain, PLAIN), Spelling(thousands, SIGNS), Spelling(comma, COMMA))
    return max(found, key=lambda one: int(one.reads.sum()))  # the first of equals


def cells_not_numbers(values: pd.Series | pd.Categorical) -> NDArray[np.bool_] | None:
    """Return which cells are present and do not read as numbers, shape (n,), if most distinct values do, else None."""
    cells = hashable_cells(values)
    distinct = pd.Series(cells.dropna().unique(), dtype=object)
    reads = spelling(distinct).reads
    if len(distinct) == 0 or reads.mean() < MOSTLY:
        return None
    return cells.isin(distinct[~reads]).to_numpy(dtype=bool)


def conversion(values: pd.Series | pd.Categorical, name: str) -> str:
    """Return how to turn a column of texts into numbers."""
    distinct = pd.Series(hashable_cells(values).dropna().unique(), dtype=object)
    found = spelling(distinct)
    if len(distinct) and found.reads.mean() < MOSTLY:
        return f"it holds texts such as {show_cell(distinct[~found.reads].iloc[0])}; use a column of numbers"
    return found.remedy.replace("{data}", f"data[{name!r}]")


def show_cell(value: Any) -> str:
    """Return a cell as messages show it, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]} …"


def hashable_cells(values: pd.Series | pd.Categorical) -> pd.Series:
    """Return the cells as objects, lists and the like as their texts: these cannot be compared."""
    cells = pd.Series(np.asarray(values, dtype=object))
    unusable = unhashable(cells)
    return cells.where(~unusable, cells.map(repr)) if unusable.any() else cells


def unhashable(cells: pd.Series) -> NDArray[np.bool_]:
    """Return which cells hold a list, an array or the like, which is no label, shape (n,)."""
    if cells.dtype != object:
        return np.zeros(len(cells), dtype=bool)
    kinds = {kind for kind in set(map(type, cells)) if not issubclass(kind, Hashable)}  # few, where cells are many
    return np.array([type(cell) in kinds for cell in cells] if kinds else np.zeros(len(cells)), dtype=bool)


def looks_numeric(column: pd.Series) -> bool:
    """Whether a text column has so many values that read as numbers that they are no labels."""
    if not (isinstance(column.dtype, pd.StringDtype) or column.dtype == object):
        return False
    levels = hashable_cells(column).dropna().nunique()
    return levels > max(MANY, LEVELS_PER_ROW * len(column)) and cells_not_numbers(column) is not None


def warn_of_levels(name: str, levels: pd.Index, n: int) -> None:
    """Warn of levels of n rows that were probably meant as numbers, or as each other."""
    warn_of_spellings(name, levels)
    texts = pd.Series(levels, dtype=object)
    if len(levels) <= max(MANY, LEVELS_PER_ROW * n) or not all(isinstance(text, str) for text in texts):
        return
    if cells_not_numbers(texts) is not None:
        warn_of_numbers(name, texts, len(levels))


def warn_of_numbers(name: str, texts: pd.Series, count: int, slips: str = "") -> None:
    """Warn of a text column whose `count` different values read as numbers, but for `slips`."""
    warn_user(
        f"Column {name!r} is text with {count} different values, each a level, although they read as "
        f"numbers{f', except that {slips}' if slips else ''}: {conversion(texts, name)}, or write C({name}) if these "
        "are labels."
    )


def warn_of_spellings(name: str, levels: pd.Index) -> None:
    """Warn of levels that look alike, because Unicode spells an accented letter as one sign or as two."""
    if pd.api.types.is_numeric_dtype(levels.dtype):
        return
    seen: dict[str, str] = {}
    for text in _beyond_ascii(levels):
        other = seen.setdefault(unicodedata.normalize("NFC", text), text)
        if other != text:
            warn_user(
                f"Column {name!r} has two levels that look like {text!r}, spelled with different Unicode signs: if "
                f"they are one, normalise the column with data[{name!r}].str.normalize('NFC')."
            )
            return


def _beyond_ascii(levels: pd.Index) -> list[str]:
    """Return the texts among levels that hold other signs than those of ASCII."""
    if isinstance(levels.dtype, pd.StringDtype) and levels.dtype.storage == "pyarrow":  # an object each costs a second
        import pyarrow.compute as pc  # for a million

        texts = levels.array.__arrow_array__()
        return texts.filter(pc.invert(pc.string_is_ascii(texts))).to_pylist()  # type: ignore[no-any-return]
    return [level for level in levels if isinstance(level, str) and not level.isascii()]


def is_text(label: str) -> bool:
    """Whether a label holds neither null characters nor halves of surrogate pairs, which no file of text can hold."""
    return "\0" not in label and (label.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in label))


def _reads_as_number(values: pd.Series) -> NDArray[np.bool_]:
    return pd.to_numeric(values.astype(str), errors="coerce").notna().to_numpy(dtype=bool)
