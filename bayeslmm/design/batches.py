"""Batches of rows as the columns of a design, by what the formula has learned."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.build import total_offset
from bayeslmm.design.coding import ColumnRecipe, columns_of_values, rebuild_columns, term_values
from bayeslmm.design.combinations import CombinationCoder
from bayeslmm.design.design import Array, Codes
from bayeslmm.design.evaluate import Evaluator, check_magnitude
from bayeslmm.design.grouping import Grouping, combine_codes
from bayeslmm.design.learning import Counts, Learned, read_batch
from bayeslmm.design.levels import LevelCoder
from bayeslmm.errors import DataError
from bayeslmm.scratch import Scratch


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """The columns of some rows.

    Attributes
    ----------
    y
        Response, shape (m,).
    net
        Response less offset, shape (m,).
    X
        All fixed columns of the formula, shape (m, P).
    codes
        Level of each row, one (m,) per random term.
    columns
        The columns of each random term, (m, S).
    weights
        Shape (m,) or None.
    """

    y: Array
    net: Array
    X: Array
    codes: tuple[Codes, ...]
    columns: tuple[Array, ...]
    weights: Array | None


@dataclass(frozen=True, slots=True)
class Recipes:
    """How the fixed part and every random term become columns."""

    fixed: ColumnRecipe
    effects: tuple[ColumnRecipe, ...]


def make_recipes(learned: Learned, frame: pd.DataFrame, kind: Callable[..., Evaluator] = Evaluator) -> Recipes:
    """Return the recipes, from any rows that take part: names and codings depend on what was learned alone."""
    rows, _ = read_batch(learned.plan, frame, "", Counts())
    evaluator = _evaluator(learned, rows, frame.index, kind)
    parts = learned.plan.parts

    def recipe(terms: tuple) -> ColumnRecipe:
        return columns_of_values(terms, term_values(terms, evaluator), len(rows))[1]

    return Recipes(recipe(parts.fixed), tuple(recipe(terms) for terms in parts.effects))


class BatchReader:
    """Reads batches as columns.

    Parameters
    ----------
    learned
        What the formula learned.
    recipes
        How columns are built.
    kind
        Makes the evaluator of a batch.
    """

    def __init__(self, learned: Learned, recipes: Recipes, kind: Callable[..., Evaluator] = Evaluator) -> None:
        self.learned, self.recipes, self._kind = learned, recipes, kind
        self._scratch = [Scratch() for _ in range(1 + len(recipes.effects))]  # of the fixed part and of every term
        names = {column for grouping in learned.groupings for column in grouping.columns}
        by_column = {c: part for g in learned.groupings for c, part in zip(g.columns, g.parts, strict=True)}
        self._coders = {name: LevelCoder(by_column[name]) for name in names}
        self._combined = {
            grouping.columns: CombinationCoder(grouping.observed)
            for grouping in learned.groupings
            if len(grouping.columns) > 1
        }

    def read(self, frame: pd.DataFrame, part: str, counts: Counts) -> BatchColumns | None:
        """Return the columns of a batch's rows, None where none takes part; they last until the next batch is read.

        Raises
        ------
        DataError
            If a level is new: the rows have changed since the first pass.
        """
        plan = self.learned.plan
        rows, w = read_batch(plan, frame, part, counts)
        if len(rows) == 0:
            return None
        evaluator = _evaluator(self.learned, rows, frame.index, self._kind)
        y = evaluator.numbers(plan.parts.response)
        offset = total_offset(plan.parts.offsets, plan.offset_column, evaluator)
        X = rebuild_columns(self.recipes.fixed, evaluator, self._scratch[0])
        check_magnitude(X, self.recipes.fixed.names)
        columns = tuple(
            rebuild_columns(recipe, evaluator, scratch)
            for recipe, scratch in zip(self.recipes.effects, self._scratch[1:], strict=True)
        )
        coded: dict[tuple[str, ...], Codes] = {}
        for grouping in self.learned.groupings:
            if grouping.columns not in coded:
                coded[grouping.columns] = self.codes(rows, grouping)
        codes = tuple(coded[grouping.columns] for grouping in self.learned.groupings)
        return BatchColumns(y, y if offset is None else y - offset, X, codes, columns, w)

    def codes(self, rows: pd.DataFrame, grouping: Grouping) -> Codes:
        """Return the level of each row, shape (m,)."""
        parts = [self._coders[name].codes(rows[name]) for name in grouping.columns]
        for name, codes in zip(grouping.columns, parts, strict=True):
            _check_known(codes, rows[name])
        if len(parts) == 1:
            return parts[0]
        codes = self._combined[grouping.columns].codes(combine_codes(parts, grouping.parts))
        _check_known(codes, rows[grouping.columns[0]])
        return codes


def _check_known(codes: NDArray[np.int32], column: pd.Series) -> None:
    if len(codes) and codes.min() < 0:
        label = column.iloc[int(np.argmin(codes))]
        raise DataError(
            f"Column {column.name!r} has the level {getattr(label, 'item', lambda: label)()!r}, which the first pass "
            "did not meet: the rows changed while they were read. Keep them as they are until the model is built."
        )


def _evaluator(learned: Learned, rows: pd.DataFrame, index: pd.Index, kind: Callable[..., Evaluator]) -> Evaluator:
    positions = range(len(rows)) if len(rows) == len(index) else index.get_indexer(rows.index)
    return kind(rows, learned.plan.functions, learned.memory, False, index, positions)
