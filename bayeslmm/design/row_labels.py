"""The labels of rows, kept as codes until someone asks for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.types import Codes


class RowLabels:
    """The labels of the levels of each row, formed for the rows asked for.

    Only rows of unknown levels are ever asked for their labels; a text for each of ten million rows costs a hundred
    times what finding their levels does.

    Parameters
    ----------
    parts
        For each column of the factor the code of each row, shape (m,), and the labels the codes count.
    dtype
        The type of the texts of several columns.
    name
        The factor.
    """

    __slots__ = ("_dtype", "_name", "_parts")

    def __init__(self, parts: Sequence[tuple[Codes, pd.Index]], dtype: Any = None, name: str | None = None) -> None:
        self._parts, self._dtype, self._name = tuple(parts), dtype, name

    @classmethod
    def of_numbers(cls, m: int) -> "RowLabels":
        """Return labels that number the rows."""
        return cls([(np.arange(m, dtype=np.int32), pd.RangeIndex(m))])

    def __len__(self) -> int:
        """Return the number of rows, m."""
        return len(self._parts[0][0])

    def __getitem__(self, rows: Any) -> Any:
        """Return the label of one row, or the labels of a slice, a mask or an array of rows as an Index."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        chosen = [codes[rows] for codes, _ in self._parts]
        if len(chosen) == 1:
            return self._parts[0][1].take(chosen[0]).rename(self._name)
        # Each combination is written once, however many rows have it.
        frame = pd.DataFrame(dict(enumerate(chosen)))
        combination = frame.groupby(list(frame), sort=False).ngroup().to_numpy()
        _, first = np.unique(combination, return_index=True)
        labels = [found.take(codes[first]) for codes, (_, found) in zip(chosen, self._parts, strict=True)]
        texts = [":".join(map(str, row)) for row in zip(*labels, strict=True)]
        return pd.Index(texts, dtype=self._dtype, name=self._name).take(combination)

    def tolist(self) -> list[Any]:
        """Return the labels of all rows."""
        return list(self[:])
