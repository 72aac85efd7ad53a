"""Grouping factors as codes: levels of single columns and of interactions, in the fit and in new data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.columns import as_codes
from bayeslmm.design.combinations import CombinationCoder
from bayeslmm.design.design import Codes
from bayeslmm.design.row_labels import RowLabels
from bayeslmm.design.texts import warn_of_spellings
from bayeslmm.errors import DataError


@dataclass(frozen=True, slots=True)
class Grouping:
    """The levels of one grouping factor.

    Attributes
    ----------
    columns
        The columns it is made of.
    parts
        The levels of each column.
    observed
        The combinations that occur, as mixed-radix numbers of the columns' codes, sorted; shape (J,).
    levels
        The J levels: the user's labels of a single column, ``a1:b1`` strings of several.
    """

    columns: tuple[str, ...]
    parts: tuple[pd.Index, ...]
    observed: NDArray[np.int64]
    levels: pd.Index


@dataclass(frozen=True, slots=True)
class MatchedColumn:
    """A column of new data beside the levels of the fit.

    Attributes
    ----------
    codes
        The level of each row in the fit, -1 where it has none, shape (m,).
    found
        The label of each row among those of the new data, shape (m,).
    labels
        The labels of the new data.
    """

    codes: Codes
    found: Codes
    labels: pd.Index


def group_rows(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Codes, Grouping]:
    """Return the level of each row, shape (n,), and the grouping they form.

    Combinations are found by arithmetic on codes; no indicator matrix and no text per row is formed.
    """
    coded = [as_codes(frame[column]) for column in columns]
    parts = tuple(levels for _, levels in coded)
    for column, found in zip(columns, parts, strict=True):
        warn_of_spellings(column, found)
    name = ":".join(columns)
    if len(coded) == 1:
        codes, levels = coded[0]
        return codes, Grouping((name,), parts, np.arange(len(levels)), levels.rename(name))
    combined = combine_codes([codes for codes, _ in coded], parts)
    observed, inverse = np.unique(combined, return_inverse=True)
    levels = _interaction_labels(split_codes(observed, parts), parts, name)
    return inverse.astype(np.int32), Grouping(tuple(columns), parts, observed, levels)


def make_grouping(
    columns: Sequence[str], parts: Sequence[pd.Index], observed: NDArray[np.int64] | None = None
) -> Grouping:
    """Return the grouping of columns with known levels and, for several columns, known combinations."""
    for column, found in zip(columns, parts, strict=True):
        warn_of_spellings(column, found)
    name = ":".join(columns)
    if observed is None:
        return Grouping((name,), tuple(parts), np.arange(len(parts[0])), parts[0].rename(name))
    return Grouping(
        tuple(columns), tuple(parts), observed, _interaction_labels(split_codes(observed, parts), parts, name)
    )


def match_rows(
    frame: pd.DataFrame, grouping: Grouping, matched: dict[str, MatchedColumn] | None = None
) -> tuple[Codes, RowLabels]:
    """Return the level of each row of new data, -1 where the fit has none, and the labels of the rows.

    Parameters
    ----------
    frame
        The new data.
    grouping
        The levels of the fit.
    matched
        Columns of the data that other factors have matched, added to: the factors of ``(1 | a/b)`` share ``a``.
    """
    matched = {} if matched is None else matched
    for column, part in zip(grouping.columns, grouping.parts, strict=True):
        if column not in matched:
            matched[column] = _match_column(frame[column], part)
    columns = [matched[column] for column in grouping.columns]
    labels = RowLabels([(c.found, c.labels) for c in columns], grouping.levels.dtype, ":".join(grouping.columns))
    if len(columns) == 1:
        return columns[0].codes, labels
    known = [column.codes for column in columns]
    codes = CombinationCoder(grouping.observed).codes(combine_codes([np.maximum(c, 0) for c in known], grouping.parts))
    for part_codes in known:
        codes[part_codes < 0] = -1
    return codes, labels


def _match_column(column: pd.Series, levels: pd.Index) -> MatchedColumn:
    codes, found = as_codes(column)
    if len(found) and (found.inferred_type == "string") != (levels.inferred_type == "string"):
        raise DataError(
            f"The labels of {column.name!r} are {found.dtype} here and were {levels.dtype} in the fit, so no "
            "level would match: convert the column with astype."
        )
    known = _lookup(levels, found)
    return MatchedColumn(known[codes] if len(found) else codes, codes, found)


def _lookup(levels: pd.Index, found: pd.Index) -> Codes:
    if levels.dtype == found.dtype:
        return levels.get_indexer(found).astype(np.int32)
    return levels.astype(object).get_indexer(found.astype(object)).astype(np.int32)


def combine_codes(codes: Sequence[Codes], parts: Sequence[pd.Index]) -> NDArray[np.int64]:
    """Return mixed-radix numbers of the columns' codes, shape (n,)."""
    size = float(np.prod([max(1, len(part)) for part in parts], dtype=float))
    if size > np.iinfo(np.int64).max:
        raise DataError("The grouping factors combine to more levels than can be counted: make one column of them.")
    combined = np.zeros(len(codes[0]), dtype=np.int64)
    for code, part in zip(codes, parts, strict=True):
        combined *= max(1, len(part))
        combined += code
    return combined


def split_codes(combined: NDArray[np.int64], parts: Sequence[pd.Index]) -> list[NDArray[np.int64]]:
    """Return the codes of each column from mixed-radix numbers."""
    codes = []
    for part in reversed(parts):
        combined, code = np.divmod(combined, max(1, len(part)))
        codes.append(code)
    return codes[::-1]


def _interaction_labels(codes: list[NDArray[np.int64]], parts: Sequence[pd.Index], name: str) -> pd.Index:
    labels = [[str(label) for label in part] for part in parts]
    texts = [
        ":".join(label[code] for label, code in zip(labels, row, strict=True))
        for row in zip(*(code.tolist() for code in codes), strict=True)
    ]
    levels = pd.Index(texts, name=name)
    if not levels.is_unique:
        twice = levels[levels.duplicated()][0]
        raise DataError(f"Two levels of {name} are both called {twice!r}, because labels contain colons: rename them.")
    return levels
