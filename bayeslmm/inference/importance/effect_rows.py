"""Random effects of weighted draws, kept in the arrays that are returned until it is known which are chosen.

These arrays have as many rows as there are draws to return. Where more are made than that, those of least weight lose
their rows, and are made again should they be chosen: draws depend on nothing but their place and the seed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape
from bayeslmm.inference.importance.moved_rows import NOTHING, moved_rows
from bayeslmm.types import Array

MOST_NUMBERS = 1 << 22  # effects that are kept however few are to be returned


class EffectRows:
    """Rows for the random effects of draws, which are numbered in the order they are made in.

    Parameters
    ----------
    shapes, keep
        Of every term, and whether its effects are wanted.
    dtype
        In which they are kept.
    n_draws
        Draws that will be chosen.
    """

    def __init__(self, shapes: Sequence[TermShape], keep: Sequence[bool], dtype: type, n_draws: int) -> None:
        self.shapes = [
            (shape.n_levels if kept else 0, shape.n_columns) for shape, kept in zip(shapes, keep, strict=True)
        ]
        self.dtype, self.n_draws = dtype, n_draws
        self.values: tuple[NDArray[np.floating], ...] = ()
        self.row: NDArray[np.intp] = np.zeros(0, dtype=np.intp)  # of each draw so far

    def expect(self, count: int, weights: Array) -> None:
        """Make room for further draws, at the cost of those so far that have the least weights, which are given."""
        if not self.values:
            numbers = max(sum(levels * columns for levels, columns in self.shapes), 1)
            rows = max(self.n_draws, min(count, MOST_NUMBERS // numbers))
            self.values = tuple(np.empty((rows, *shape), dtype=self.dtype) for shape in self.shapes)
        rows = len(self.values[0]) if self.values else 0
        held = np.flatnonzero(self.row != NOTHING)
        more = max(count - (rows - len(held)), 0)
        self.row[held[np.argsort(weights[held], kind="stable")[:more]]] = NOTHING
        free = np.setdiff1d(np.arange(rows), self.row)[:count]
        self.row = np.concatenate([self.row, free, np.full(count - len(free), NOTHING)])

    def put(self, draw: int, effects: Sequence[Array]) -> None:
        """Keep the effects of a draw, (J, S) per term, if it has a row."""
        if self.row[draw] != NOTHING:
            self.fill(int(self.row[draw]), effects)

    def fill(self, row: int, effects: Sequence[Array]) -> None:
        """Put effects, (J, S) per term, into a row."""
        for values, own in zip(self.values, effects, strict=True):
            values[row] = own[: values.shape[1]]

    def choose(self, draws: NDArray[np.intp]) -> NDArray[np.intp]:
        """Keep the rows of some draws, in their order, and return the places of those to be filled again."""
        source = self.row[draws]
        self.values = tuple(moved_rows(values, source) for values in self.values)
        return np.flatnonzero(source == NOTHING) if any(values.size for values in self.values) else np.zeros(0, np.intp)
