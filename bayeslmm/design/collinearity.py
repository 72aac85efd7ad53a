r"""All fixed columns of a model, those that are combinations of others included.

Likelihoods are made of independent columns :math:`X` only; the others are :math:`X_o = X A`. With proper priors no
column need be left out: the data tell :math:`\gamma = M \beta`, :math:`M = (I\;A)` in the order of the columns, and the
priors tell :math:`\beta` given :math:`\gamma`. Beside thresholds, which hold the level of the predictor,
:math:`X_o = X A + 1 a^\top`, and the thresholds of all columns are higher by :math:`a^\top \beta_o`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.centring import Centring
from bayeslmm.design.design import Design
from bayeslmm.design.streamed import StreamedDesign
from bayeslmm.design.summaries import ColumnSummary
from bayeslmm.types import Array

ROUNDING = 1e-8  # of the largest share of a column in another: what cross-products leave of zero


@dataclass(frozen=True, slots=True)
class Collinearity:
    """How q of p columns depend on the r = p - q independent ones.

    Attributes
    ----------
    kept, others
        Places of the independent columns, shape (r,), and of the others, shape (q,).
    dependence
        A, shape (r, q).
    """

    kept: NDArray[np.intp]
    others: NDArray[np.intp]
    dependence: Array

    @property
    def matrix(self) -> Array:
        """M, shape (r, p): coefficients of the independent columns for those of all."""
        found = np.zeros((len(self.kept), len(self.kept) + len(self.others)))
        found[:, self.kept] = np.eye(len(self.kept))
        found[:, self.others] = self.dependence
        return found

    def reduce(self, beta: Array) -> Array:
        """Return the coefficients of the independent columns, shape (..., r), for those of all, shape (..., p)."""
        return np.asarray(beta @ self.matrix.T)


def with_all_columns(design: Design) -> Design:
    """Return a design with the columns that were left out as collinear; the same design where there are none."""
    recipe = design.recipe
    if not len(design.dropped_columns):
        return design
    places = np.sort(np.concatenate([recipe.kept, recipe.others]).astype(np.intp))
    names = tuple(recipe.fixed.names[place] for place in places)
    kept, others = np.searchsorted(places, recipe.kept), np.searchsorted(places, recipe.others)
    beside = None if recipe.constants is None else np.zeros(0)
    whole = {
        "fixed_names": names,
        "dropped_columns": (),
        "recipe": replace(
            recipe, kept=places, others=places[:0], dependence=np.zeros((len(names), 0)), constants=beside
        ),
        "independent": design,
    }
    if isinstance(design, StreamedDesign):
        summaries = design.summaries
        fixed = _merged(summaries.fixed, design.left_out, kept, others)
        dependence = without_rounding(recipe.dependence, np.hypot(fixed.mean, fixed.sd)[kept])
        return design.changed(
            **whole,
            collinearity=Collinearity(kept, others, dependence),
            centring=_centring(design, kept, fixed.mean),
            summaries=replace(summaries, fixed=fixed),
        )
    X = np.empty((design.n, len(names)))
    X[:, kept], X[:, others] = design.X, design.left_out
    dependence = without_rounding(recipe.dependence, np.sqrt(np.mean(design.X**2, axis=0)))
    return replace(
        design,
        **whole,
        fixed_columns=X,
        collinearity=Collinearity(kept, others, dependence),
        centring=_centring(design, kept, np.average(X, axis=0, weights=design.weights)),
        left_out=None,
    )


def without_rounding(dependence: Array, sizes: Array) -> Array:
    """Return A with zeros for what rounding left of them: entries small against the largest share of a column.

    Parameters
    ----------
    dependence
        A, shape (r, q).
    sizes
        Root mean squares of the independent columns, shape (r,).
    """
    shares = np.abs(dependence) * sizes[:, None]
    return np.where(shares > ROUNDING * shares.max(axis=0, initial=0.0), dependence, 0.0)


def independent_columns_of(design: Design) -> Design:
    """Return the design whose columns are independent."""
    return design if design.independent is None else design.independent


def _centring(design: Design, kept: NDArray[np.intp], means: Array) -> Centring:
    """Return the centring of all columns: the constant is that of the independent ones, or is beside them."""
    constant = np.zeros(len(means))
    if design.recipe.constants is not None:
        return Centring(constant, means)
    constant[kept] = design.centring.constant
    moved = np.where(constant != 0, 0.0, means) if design.centring.spans_constant else np.zeros(len(means))
    return Centring(constant, moved)


def _merged(
    first: ColumnSummary, second: ColumnSummary, kept: NDArray[np.intp], others: NDArray[np.intp]
) -> ColumnSummary:
    order = np.argsort(np.concatenate([kept, others]))
    return ColumnSummary(
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])[order]
            for name in ("mean", "sd", "low", "high", "binary")
        )
    )
