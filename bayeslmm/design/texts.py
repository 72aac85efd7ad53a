"""Texts that were probably meant as something else: numbers, or labels that are spelled in two ways."""

import unicodedata

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import warn_user

MOSTLY = 0.8  # share of distinct values that read as numbers, above which the others look like slips
MANY = 10  # fewer distinct values are labels, whatever they read as
LEVELS_PER_ROW = 0.25  # more levels than this share of the rows are rarely labels


def cells_not_numbers(values: pd.Series | pd.Categorical) -> NDArray[np.bool_] | None:
    """Return which cells are present and do not read as numbers, shape (n,), if most distinct values do, else None."""
    cells = pd.Series(np.asarray(values, dtype=object))
    distinct = pd.Series(cells.dropna().unique(), dtype=object)
    reads = _reads_as_number(distinct)
    if len(distinct) == 0 or reads.mean() < MOSTLY:
        return None
    return cells.isin(distinct[~reads]).to_numpy(dtype=bool)


def looks_numeric(column: pd.Series) -> bool:
    """Whether a text column has so many values that read as numbers that they are no labels."""
    if not (isinstance(column.dtype, pd.StringDtype) or column.dtype == object):
        return False
    levels = column.dropna().nunique()
    return levels > max(MANY, LEVELS_PER_ROW * len(column)) and cells_not_numbers(column) is not None


def warn_of_levels(name: str, levels: pd.Index, n: int) -> None:
    """Warn of levels of n rows that were probably meant as numbers, or as each other."""
    warn_of_spellings(name, levels)
    texts = pd.Series(levels, dtype=object)
    if len(levels) <= max(MANY, LEVELS_PER_ROW * n) or not all(isinstance(text, str) for text in texts):
        return
    if cells_not_numbers(texts) is not None:
        warn_user(
            f"Column {name!r} is text with {len(levels)} different values, each a level, although they read as "
            f"numbers: convert it to numbers, or write C({name}) if these are labels."
        )


def warn_of_spellings(name: str, levels: pd.Index) -> None:
    """Warn of levels that look alike, because Unicode spells an accented letter as one sign or as two."""
    if pd.api.types.is_numeric_dtype(levels.dtype):
        return
    texts = [level for level in levels if isinstance(level, str) and not level.isascii()]
    seen: dict[str, str] = {}
    for text in texts:
        other = seen.setdefault(unicodedata.normalize("NFC", text), text)
        if other != text:
            warn_user(
                f"Column {name!r} has two levels that look like {text!r}, spelled with different Unicode signs: if "
                f"they are one, normalise the column with data[{name!r}].str.normalize('NFC')."
            )
            return


def _reads_as_number(values: pd.Series) -> NDArray[np.bool_]:
    return pd.to_numeric(values.astype(str), errors="coerce").notna().to_numpy(dtype=bool)
