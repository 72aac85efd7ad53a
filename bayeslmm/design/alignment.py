"""The one rule for inputs with row labels: those of the data, in the same order; any others are refused."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.errors import DataError


def index_difference(index: pd.Index, expected: pd.Index) -> str | None:
    """Return where row labels differ from those expected, as the end of a sentence; None where they do not."""
    if index.equals(expected):
        return None
    if len(index) != len(expected):
        return f"({len(index)} rows against {len(expected)})"
    place = int(np.argmax(np.asarray(index != expected)))
    found, wanted = (_plain(labels[place]) for labels in (index, expected))
    return f"(first difference in row {place}: {found!r} against {wanted!r})"


def common_index(columns: Mapping[str, Any], n: int) -> pd.Index:
    """Return the row labels of columns from a mapping: those of its Series, positions where it has none.

    Raises
    ------
    DataError
        If two Series have different labels or the same in another order: by position they would be matched wrongly.
    """
    labelled = {name: values.index for name, values in columns.items() if isinstance(values, pd.Series)}
    for name, index in labelled.items():
        first = next(iter(labelled))
        if (difference := index_difference(index, labelled[first])) is not None:
            raise DataError(
                f"The index of column {name!r} differs from that of {first!r} {difference}, so rows would be matched "
                "wrongly: pass pandas.DataFrame(data), which matches by label, or arrays that are in order."
            )
    return next(iter(labelled.values()), pd.RangeIndex(n))


def _plain(label: Any) -> Any:
    if isinstance(label, tuple):
        return tuple(map(_plain, label))
    return label.item() if isinstance(label, np.generic) else label
