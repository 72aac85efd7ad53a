"""The sums of rows that are read once: where a formula learns nothing but the levels of one grouping factor.

Levels are known by their places in a range, or numbered as rows bring them where that range is long, and sums are put
in the order of the sorted levels at the end. Whatever would have to be known beforehand (levels of fixed factors,
constants of transforms, labels that are no whole numbers) ends the attempt, and the rows are read in two passes.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design.batches import BatchReader, Recipes, make_recipes
from bayeslmm.design.columns import Kind
from bayeslmm.design.evaluate import Evaluator, Memory
from bayeslmm.design.first_come import Coder, numbered
from bayeslmm.design.grouping import Grouping, make_grouping
from bayeslmm.design.learning import Counts, Learned, Plan, read_batch
from bayeslmm.design.placed import PlacedCoder
from bayeslmm.errors import BayeslmmError
from bayeslmm.formula import Expression
from bayeslmm.likelihood.partial_sums import PartialSums, SumsShape
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.rows import Rows, part_named
from bayeslmm.scratch import Scratch
from bayeslmm.streams.deciding import Streamed
from bayeslmm.streams.own_functions import check_own_functions
from bayeslmm.streams.summing import sums_shape
from bayeslmm.types import Codes

PLACED_BYTES = 2**26  # of sums whose levels are known by their places, though only some of them occur
PLACES = 2**20  # of a first batch
SPARSE = 2  # places per level beyond which sums travel without the empty ones


class _LearnsFirstError(BayeslmmError):
    """The formula has to learn something of all rows before they can be summed."""


def sum_in_one_reading(plan: Plan, rows: Rows, chunk_rows: int) -> Streamed | None:
    """Return the sums of all rows and the levels met on the way; None where the formula must learn first.

    Parameters
    ----------
    plan
        What is read of every batch.
    rows
        The source.
    chunk_rows
        Rows of a batch, at most.
    """
    bars = plan.formula.bars
    if rows.may_change or len(bars) > 1 or any(len(bar.factors) > 1 for bar in bars):
        return None
    nothing = pd.Index([], dtype=np.int64)
    groupings = tuple(Grouping(bar.factors, (nothing,), np.zeros(0, dtype=np.int64), nothing) for bar in bars)
    learned = Learned(plan, Memory(), groupings, Counts())
    try:
        start = _first_rows(learned, rows, chunk_rows)
        if start is None:
            return None
        total = rows.fold(start, plan.columns, chunk_rows)
    except _LearnsFirstError:
        return None
    return total.finished()


def _first_rows(learned: Learned, rows: Rows, chunk_rows: int) -> "_Start | None":
    for part, frame in rows.batches(learned.plan.columns, chunk_rows):
        with part_named(part):
            if len(read_batch(learned.plan, frame, "", Counts())[0]) == 0:
                continue
            recipes = make_recipes(learned, frame, _Numbers)
            if any(recipe.spec is not None for recipe in (recipes.fixed, *recipes.effects)):
                return None
            first = _Reader(learned, recipes, PLACES).read(frame, "", Counts())
            assert first is not None
            check_own_functions(_Reader(learned, recipes, PLACES), frame, first)
            return _Start(learned, recipes, sums_shape(learned, recipes, first))
    return None


@dataclass(frozen=True, slots=True)
class _Start:
    """Begins the reading, here or in a worker."""

    learned: Learned
    recipes: Recipes
    shape: SumsShape

    def __call__(self) -> "OneReading":
        places = PLACED_BYTES // max(self.shape.level_bytes, default=1)
        return OneReading(_Reader(self.learned, self.recipes, places), self.shape)


class OneReading:
    """Sums over batches whose levels get codes as they come."""

    def __init__(self, reader: "_Reader", shape: SumsShape) -> None:
        self._reader = reader
        self._sums = PartialSums(shape)
        self._counts = Counts()

    def add(self, frame: pd.DataFrame, part: str) -> None:
        """Add one batch."""
        found = self._reader.read(frame, part, self._counts)
        if found is not None:
            self._sums.make_room(self._reader.coder.count)
            with blas_threads(1):
                self._sums.add(found.y, found.net, found.X, found.codes, found.columns, found.weights)

    def merge(self, other: "OneReading") -> None:
        """Add the sums of other batches, their levels renumbered."""
        places = self._reader.ask(lambda coder: coder.merge(other._reader.coder))
        self._sums.make_room(self._reader.coder.count)
        self._sums.merge(other._sums, places)
        self._counts.merge(other._counts)

    def packed(self) -> "OneReading":
        """Return the sums without room for more levels."""
        found = copy(self)
        found._reader = copy(self._reader)
        coder = self._reader.coder.packed()
        if self._sums.by_level:
            found._sums = self._sums.first_levels(coder.count)
            order = coder.order()
            if isinstance(coder, PlacedCoder) and SPARSE * len(order) < coder.count:
                found._sums, coder = self._sums.levels_at(order), numbered(coder.levels())
        found._reader.coder = coder
        return found

    def finished(self) -> Streamed:
        """Return the sums in the order of the sorted levels."""
        learned, coder = self._reader.learned, self._reader.coder
        levels = pd.Index(coder.levels())
        groupings = tuple(make_grouping(grouping.columns, [levels]) for grouping in learned.groupings)
        sums = self._sums.levels_at(coder.order()) if groupings else self._sums
        return Streamed(replace(learned, groupings=groupings, counts=self._counts), self._reader.recipes, sums)


class _Reader(BatchReader):
    """Reads batches as columns before anything is known of other rows."""

    def __init__(self, learned: Learned, recipes: Recipes, places: int) -> None:
        super().__init__(learned, recipes, _Numbers)
        self.coder: Coder = PlacedCoder(places)
        self._scratch_codes = Scratch(np.int32)

    def codes(self, rows: pd.DataFrame, grouping: Grouping) -> Codes:
        """Return the level of each row, numbered as they come, shape (m,)."""
        column = rows[grouping.columns[0]]
        return self.ask(lambda coder: coder.codes(column, self._scratch_codes))

    def ask(self, question: Callable[[Coder], Codes | None]) -> Codes:
        """Return codes from the coder, or from one that numbers levels as they come where their range is too long."""
        codes = question(self.coder)
        if codes is None and isinstance(self.coder, PlacedCoder):
            self.coder = self.coder.first_come()
            codes = question(self.coder)
        if codes is None:
            raise _LearnsFirstError
        return codes


@dataclass(frozen=True, slots=True)
class _Numbers(Evaluator):
    """Evaluates what needs no knowledge of other rows."""

    def kind(self, column: pd.Series) -> Kind:
        """Return that a column holds numbers: labels and truth values have levels."""
        if Evaluator.kind(self, column) != "number":
            raise _LearnsFirstError
        return "number"

    def fixed_levels(self, expression: Expression, value: pd.Categorical) -> pd.Categorical:
        """Levels are those of all rows."""
        raise _LearnsFirstError

    def state(self, key: str) -> dict[str, Any]:
        """Constants are those of all rows."""
        raise _LearnsFirstError
