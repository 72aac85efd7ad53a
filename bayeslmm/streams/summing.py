"""The pass that sums: batches in, cross-products out."""

from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.linalg import qr

from bayeslmm.design.batches import BatchColumns, BatchReader, Recipes
from bayeslmm.design.coding import ColumnRecipe
from bayeslmm.design.learning import Counts, Learned
from bayeslmm.likelihood.partial_sums import PartialSums, SumsShape
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.types import Array


def sums_shape(learned: Learned, recipes: Recipes, first: BatchColumns) -> SumsShape:
    """Return what is summed; columns are moved by their means over the rows of a first batch."""
    constant = literal_intercept(recipes.fixed)
    constants = tuple(literal_intercept(recipe) for recipe in recipes.effects)
    moved_terms = tuple(
        _moves(columns, place) if place >= 0 else np.zeros(columns.shape[1])
        for columns, place in zip(first.columns, constants, strict=True)
    )
    return SumsShape(
        levels=tuple(len(grouping.levels) for grouping in learned.groupings),
        sizes=tuple(len(recipe.names) for recipe in recipes.effects),
        n_fixed=len(recipes.fixed.names),
        constant=constant,
        constants=constants,
        moved=_moves(first.X, constant),
        moved_y=float(first.net.mean()),
        moved_terms=moved_terms,
    )


def literal_intercept(recipe: ColumnRecipe) -> int:
    """Return the place of the intercept that the formula has as a term, -1 without one."""
    return recipe.names.index("Intercept") if () in recipe.terms else -1


def _moves(columns: Array, constant: int) -> Array:
    """Return the means of columns, zero for the intercept and for indicators, whose sums are exact as they are."""
    if columns.shape[1] == 0:
        return np.zeros(0)
    binary = ((columns == 0) | (columns == 1)).all(axis=0)
    means = np.where(binary, 0.0, columns.mean(axis=0))
    if constant >= 0:
        means[constant] = 0.0
    return means


class Summing:
    """Sums over batches.

    Attributes
    ----------
    sums
        The cross-products.
    counts
        Rows read.
    """

    def __init__(self, reader: BatchReader, shape: SumsShape) -> None:
        self._reader = reader
        self.sums = PartialSums(shape)
        self.counts = Counts()

    def add(self, frame: pd.DataFrame, part: str) -> None:
        """Add one batch."""
        found = self._reader.read(frame, part, self.counts)
        if found is not None:
            with blas_threads(1):
                self.sums.add(found.y, found.net, found.X, found.codes, found.columns, found.weights)

    def merge(self, other: "Summing") -> None:
        """Add the sums of other batches."""
        self.sums.merge(other.sums)
        self.counts.merge(other.counts)

    def packed(self) -> "Summing":
        """Return the sums alone."""
        found = copy(self)
        vars(found).pop("_reader", None)
        return found


class Triangle:
    """The triangular factor of the fixed columns and the constant, batch by batch: QR of the factor above new rows.

    It has the digits of the rows where cross-products have half of them.
    """

    def __init__(self, reader: BatchReader, shape: SumsShape) -> None:
        self._reader, self._shape = reader, shape
        self.R = np.zeros((shape.n_fixed + 1, shape.n_fixed + 1))

    def add(self, frame: pd.DataFrame, part: str) -> None:
        """Add one batch."""
        found = self._reader.read(frame, part, Counts())
        if found is not None:
            rows = np.column_stack([np.ones(len(found.X)), found.X - self._shape.moved])
            self._stack(rows if found.weights is None else rows * np.sqrt(found.weights)[:, None])

    def merge(self, other: "Triangle") -> None:
        """Add the rows of other batches."""
        self._stack(other.R)

    def packed(self) -> "Triangle":
        """Return the factor alone."""
        found = copy(self)
        vars(found).pop("_reader", None)
        return found

    def _stack(self, rows: Array) -> None:
        with blas_threads(1):
            self.R = qr(np.vstack([self.R, rows]), mode="r")[0][: len(self.R)]


@dataclass(frozen=True, slots=True)
class Start:
    """Begins a pass, here or in a worker."""

    kind: type
    learned: Learned
    recipes: Recipes
    shape: SumsShape

    def __call__(self) -> "Summing | Triangle":
        """Return an empty sum."""
        return self.kind(BatchReader(self.learned, self.recipes), self.shape)  # type: ignore[no-any-return]
