"""The fixed part of a design at any values of the predictors, and how far the data identify it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.build import Recipe, total_offset
from bayeslmm.design.coding import rebuild_columns
from bayeslmm.design.columns import as_category, kind_of
from bayeslmm.design.design import Design
from bayeslmm.design.evaluate import Evaluator
from bayeslmm.design.rank import ESTIMABLE
from bayeslmm.errors import DataError
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class MeanRows:
    r"""m rows of the fixed part: means are :math:`X\beta` + offset.

    Attributes
    ----------
    X
        Shape (m, p).
    offset
        Shape (m,).
    departure
        How far each row departs from the collinearity of the fit, shape (m, number of columns left out), relative to
        the largest entries: a function of the means is estimable where the same function of these is zero.
    """

    X: Array
    offset: Array
    departure: Array

    @classmethod
    def themselves(cls, departure: Array) -> "MeanRows":
        """Return the rows of m means that are known as such, not as functions of coefficients; departure (m, k)."""
        m = len(departure)
        return cls(np.eye(m), np.zeros(m), departure)

    def combine(self, weights: Array) -> "MeanRows":
        """Return linear functions of the rows, `weights` (k, m)."""
        return MeanRows(weights @ self.X, weights @ self.offset, weights @ self.departure)

    @property
    def estimable(self) -> NDArray[np.bool_]:
        """Whether the data identify each row's mean, shape (m,)."""
        return np.asarray((np.abs(self.departure) <= ESTIMABLE).all(axis=1))


def fitted_departure(design: Design) -> Array:
    """Return the largest entries of the columns left out as the rows of the fit have them; a pass over the rows."""
    dependence = design.recipe.dependence
    if not dependence.shape[1]:
        return np.zeros(0)
    return np.asarray(np.abs(design.X @ dependence).max(axis=0))


def mean_rows(design: Design, frame: pd.DataFrame, fitted: Array | None = None) -> MeanRows:
    """Evaluate the fixed part and the offsets at new values of the predictors.

    Parameters
    ----------
    design
        The design of the fit.
    frame
        The predictors, m rows.
    fitted
        What :func:`fitted_departure` gives, where it is at hand.

    Raises
    ------
    DataError
        If a column is absent or unusable, or a category holds a value the fit did not see.
    """
    recipe: Recipe = design.recipe
    evaluator = Evaluator(frame, design.functions, recipe.memory, False, frame.index, np.arange(len(frame)))
    columns = rebuild_columns(recipe.fixed, evaluator)
    X = np.ascontiguousarray(columns[:, recipe.kept])
    others = recipe.left_out(columns)
    # One scale for all rows: what departs in two rows alike cancels in their difference. The fit's own rows count,
    # since in a few cells a column left out may be zero, and only rounding errors are there to compare with.
    size = (np.abs(others) + np.abs(X) @ np.abs(recipe.dependence)).max(axis=0, initial=0.0)
    size = np.maximum(size, fitted_departure(design) if fitted is None else fitted)
    departure = (others - X @ recipe.dependence) / np.where(size > 0, size, 1.0)
    total = total_offset(recipe.parts.offsets, design.offset_column, evaluator)
    return MeanRows(X, np.zeros(len(frame)) if total is None else total, departure)


def predictor_names(design: Design) -> list[str]:
    """Return the columns that the fixed part and the offsets use."""
    names = design.recipe.parts.predictor_columns(design.formula, False, False)
    extra = [] if design.offset_column is None else [str(design.offset_column)]
    return list(dict.fromkeys([*names, *extra]))


def predictor_levels(design: Design) -> dict[str, pd.Index | None]:
    """Return the levels of each predictor that is a category, None for numbers."""
    recipe: Recipe = design.recipe
    found: dict[str, pd.Index | None] = {}
    coded = {
        factor.columns[0]
        for term in recipe.fixed.terms
        for factor in term
        if factor.text in recipe.memory.levels and len(factor.columns) == 1
    }
    for name in predictor_names(design):
        column = design.data[name].iloc[design.rows]
        categorical = kind_of(column) != "number" or name in coded
        found[name] = as_category(column).categories if categorical else None
    return found


def predictor_frame(design: Design) -> pd.DataFrame:
    """Return the predictors of the rows used."""
    return design.data[predictor_names(design)].iloc[design.rows]


def check_predictor(design: Design, name: str) -> None:
    """Refuse a name that is no predictor.

    Raises
    ------
    DataError
        With the names there are.
    """
    names = predictor_names(design)
    if name not in names:
        listed = ", ".join(map(repr, names)) if names else "none"
        raise DataError(f"There is no predictor {name!r} in the fixed part; the predictors are {listed}.")
