"""Formula and data as arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.covariance import Structure, TermShape
from bayeslmm.design.centring import Centring
from bayeslmm.design.held_columns import HeldColumns
from bayeslmm.design.row_labels import RowLabels
from bayeslmm.formula.formula import Formula
from bayeslmm.types import Array, Codes

if TYPE_CHECKING:
    from bayeslmm.design.collinearity import Collinearity


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random-effects term as codes and columns; Z is never formed.

    Attributes
    ----------
    name
        Unique among the terms: the factor, with ``.1``, ``.2`` appended for further terms on one factor.
    factor
        The grouping factor, ``"Subject"`` or ``"litter:sex"``.
    effects
        Names of the S columns, ``("Intercept", "Days")``.
    codes
        Level of each row, shape (n,), int32 in 0..J-1; -1 for a level unknown to the fit (new data only).
    columns
        The S columns of the term, shape (n, S); a lone column of ones is one number seen n times.
    levels
        The J levels with the user's labels and dtype; ``a1:b1`` strings for interactions.
    covariance
        The structure of the S effects' covariance matrix.
    centring
        The constant among the columns and their means; none where the structure does not allow centring.
    """

    name: str
    factor: str
    effects: tuple[str, ...]
    codes: Codes
    columns: Array
    levels: pd.Index
    covariance: Structure
    centring: Centring

    @property
    def n_levels(self) -> int:
        """J, the number of levels."""
        return len(self.levels)

    @property
    def n_columns(self) -> int:
        """S, the number of effects per level."""
        return len(self.effects)

    def at_rows(self, codes: Codes, columns: Array) -> "RandomTerm":
        """Return the term at other rows: the level of each, shape (m,), and its columns, shape (m, S)."""
        return RandomTerm(
            self.name, self.factor, self.effects, codes, columns, self.levels, self.covariance, self.centring
        )

    def times(self, effects: Array) -> Array:
        """Return what effects (J, S) add to the linear predictor of each row, (n,)."""
        return np.einsum("ns,ns->n", self.columns, effects[self.codes])

    @property
    def shape(self) -> TermShape:
        """(J, S, covariance structure)."""
        return TermShape(self.n_levels, self.n_columns, self.covariance)

    @property
    def has_correlations(self) -> bool:
        """Whether there are effects with a correlation."""
        return self.shape.has_correlations


@dataclass(frozen=True, slots=True)
class Design:
    """A formula applied to a data frame: everything the likelihood needs, and how to do it again.

    Attributes
    ----------
    formula
        The parsed formula.
    response
        Name of the response.
    y
        Response, shape (n,), the offset not yet subtracted.
    fixed_columns
        Fixed columns, shape (n, p), as the user wrote them; of full column rank but for `collinearity`. Those of many
        rows are held one by one.
    fixed_names
        Names of the p columns.
    terms
        The random terms in formula order.
    weights
        Prior weights, shape (n,), all positive; None means ones.
    offset
        Known part of the mean, shape (n,); None means zero.
    index
        Index labels of the rows kept, shape (n,).
    n_dropped
        Rows left out, by reason: ``{"missing": 3, "zero weight": 1}``.
    dropped_columns
        Collinear columns left out of X, by name.
    centring
        The constant among the columns of X and their means.
    data
        The columns of the data frame the formula uses, all rows as given. Weights or an offset passed as an
        array are the columns ``"(weights)"`` and ``"(offset)"``.
    places
        Positions in `data` of the rows used, shape (n,); None for all of them.
    weights_column, offset_column
        The columns of `data` that hold the weights and the offset argument; None without them. With these two
        and the formula's text, `data` builds the same design again.
    functions
        The user's own functions in the formula.
    left_out
        The columns of `dropped_columns`, shape (n, q); None without any.
    collinearity
        How the columns of X depend on each other; None where they are independent, as they are but for posteriors
        under proper priors.
    independent
        Where they are not, the design whose columns are.
    """

    formula: Formula
    response: str
    y: Array
    fixed_columns: Array | HeldColumns
    fixed_names: tuple[str, ...]
    terms: tuple[RandomTerm, ...]
    weights: Array | None
    offset: Array | None
    index: pd.Index
    n_dropped: Mapping[str, int]
    dropped_columns: tuple[str, ...]
    centring: Centring
    data: pd.DataFrame
    places: NDArray[np.intp] | None = None
    weights_column: str | None = None
    offset_column: str | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    outcome: Any = None  # the response as the family of a generalized model reads it
    zero: Any = None  # the design of the share of zeros of a generalized model, where it has a formula
    recipe: Any = None  # how to rebuild the columns from new data; private to this room
    left_out: Any = None
    collinearity: "Collinearity | None" = None
    independent: Optional["Design"] = None

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y)

    @property
    def rows(self) -> NDArray[np.intp]:
        """Positions in `data` of the rows used, shape (n,)."""
        return np.arange(len(self.data), dtype=np.intp) if self.places is None else self.places

    @property
    def X(self) -> Array:
        """The fixed columns, shape (n, p)."""
        return np.asarray(self.fixed_columns)

    @property
    def p(self) -> int:
        """Number of fixed columns."""
        return self.fixed_columns.shape[1]


@dataclass(frozen=True, slots=True)
class NewRows:
    """The columns of a fitted design, evaluated at new rows.

    Attributes
    ----------
    X
        Fixed columns, shape (m, p).
    terms
        One random term each, codes -1 where the level was not in the fit; `levels` are those of the fit.
    new_labels
        For each term the labels of its m rows, the user's own; they tell unknown levels apart.
    offset
        Shape (m,), zeros without one.
    index
        Index labels of the rows, shape (m,).
    places
        Positions of the rows in the new data, shape (m,); rows with missing values may be left out.
    labels
        Index labels of all rows of the new data.
    estimable
        Whether the fixed part of each row is a combination of rows of the fit, shape (m,): where columns were left out
        as collinear, a row that breaks the collinearity has a mean that the data do not identify.
    """

    X: Array
    terms: tuple[RandomTerm, ...]
    new_labels: tuple[RowLabels, ...]
    offset: Array
    index: pd.Index
    places: NDArray[np.intp]
    labels: pd.Index
    estimable: NDArray[np.bool_]
