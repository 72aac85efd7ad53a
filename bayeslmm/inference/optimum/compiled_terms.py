r"""The data of a search in compiled loops: one random term with any number of levels, or several with few effects.

Either kind has its own equations, in `bayeslmm.likelihood.single_term` and `bayeslmm.likelihood.several_terms`. Both
stand in the same arrays, so that the search is compiled once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.several_terms import covariance_slopes_several, dense_crossproducts, reduce_several
from bayeslmm.likelihood.single_term import (
    LARGEST,
    NEARLY_COLLINEAR,
    coefficients_single,
    covariance_slope_single,
    reduce_single,
    root_single,
    slopes_single,
)
from bayeslmm.types import Array, Criterion


class Effects(NamedTuple):
    """What the search knows of each effect, in formula order, shape (S,).

    Attributes
    ----------
    term
        Its term.
    levels
        How many levels that has.
    correlated
        Whether it may be correlated with other effects of the term.
    """

    term: NDArray[np.int64]
    levels: Array
    correlated: NDArray[np.bool_]


class Terms(NamedTuple):
    """The data of random terms, and the criterion.

    Attributes
    ----------
    z, rows, rest
        Cross-products of the leading term with itself (J, S, S), of that with the effects of the others, X and y
        (J, S, m), and of these with one another (m, m). Of a single term the rest are X and y, m = p + 1.
    places
        Of each term, the leading one first: its first effect in formula order, its effects, and its levels.
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation, NaN where it is profiled.
    effects
        What the search knows of the effects.
    """

    z: Array
    rows: Array
    rest: Array
    places: NDArray[np.int64]
    n: int
    reml: bool
    sigma: float
    effects: Effects


class Work(NamedTuple):
    """Room for an evaluation, and the record of all.

    Attributes
    ----------
    low, reduced, left, turned, root, solved
        Filled by the functions of `bayeslmm.likelihood.several_terms`; a single term has no use for those after the
        second, and they are empty.
    schur
        The lower Cholesky factor of what remains of X and y (p + 1, p + 1).
    factors, values
        Every lambda evaluated and the objective there, in order, shapes (m, S, S) and (m,); m = 0 keeps none.
    tally
        How many were evaluated, and whether one of them lost its digits, or the room for them has run out; shape (2,).
    """

    low: Array
    reduced: Array
    left: Array
    turned: Array
    root: Array
    solved: Array
    schur: Array
    factors: Array
    values: Array
    tally: NDArray[np.int64]


def terms_of(kernel: Kernel, method: Criterion, sigma: float | None) -> Terms:
    """Return the arrays of a kernel without a sparse factor; those with y may be overwritten."""
    products, shapes = kernel.products, kernel.shapes
    order = [*products.layout.nest, *products.layout.trailing]
    firsts = np.cumsum([0, *(shape.n_columns for shape in shapes)])
    places = np.array([(firsts[k], shapes[k].n_columns, shapes[k].n_levels) for k in order], dtype=np.int64)
    return Terms(
        *dense_crossproducts(products), places, products.n, method == "reml",
        np.nan if sigma is None else float(sigma), _effects_of(shapes),
    )  # fmt: skip


def _effects_of(shapes: Sequence[TermShape]) -> Effects:
    """Return what the search knows of the effects of terms."""
    sizes = [shape.n_columns for shape in shapes]
    return Effects(
        np.repeat(np.arange(len(shapes), dtype=np.int64), sizes),
        np.repeat([float(shape.n_levels) for shape in shapes], sizes),
        np.repeat([shape.n_theta > shape.n_columns for shape in shapes], sizes),
    )


def count_effects(terms: Terms) -> int:
    """Return how many random effects there are in all levels."""
    return int(np.sum(terms.places[:, 1] * terms.places[:, 2]))


@numba.njit(cache=True, nogil=True)
def room(terms: Terms, kept: int) -> Work:
    """Return room for evaluations, of which up to `kept` are recorded."""
    m, size = len(terms.rest), len(terms.effects.term)
    trailing, wide, n_effects = 0, 0, 0
    if len(terms.places) > 1:
        n_effects = int(np.sum(terms.places[:, 1] * terms.places[:, 2]))
        trailing, wide = n_effects - terms.places[0, 1] * terms.places[0, 2], m
    return Work(
        np.zeros(terms.z.shape), np.zeros(terms.rows.shape), np.zeros((wide, wide)), np.zeros((wide, wide)),
        np.zeros((wide, wide)), np.zeros((wide, n_effects)), np.zeros((m - trailing, m - trailing)),
        np.zeros((kept, size, size)), np.zeros(kept), np.zeros(2, dtype=np.int64),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def reduce_terms(terms: Terms, factor: Array, work: Work) -> float:
    """Eliminate all effects; return log |Omega|, or NaN where too few digits would be left."""
    for a in range(len(factor)):
        for b in range(a + 1):
            if not abs(factor[a, b]) <= LARGEST:
                return np.nan
    order = len(work.schur)
    q = len(terms.rest) - order
    if len(terms.places) == 1:
        log_det = reduce_single(terms.z, terms.rows, terms.rest, factor, work.low, work.reduced, work.schur)
    else:
        log_det = reduce_several(
            terms.z, terms.rows, terms.rest, factor, terms.places, work.low, work.reduced, work.left, work.turned,
            work.root,
        )  # fmt: skip
        for a in range(order):
            for b in range(a + 1):
                work.schur[a, b] = work.root[q + b, q + a]
    for a in range(order - 1):
        if not work.schur[a, a] ** 2 >= NEARLY_COLLINEAR * terms.rest[q + a, q + a]:
            return np.nan
    return log_det


@numba.njit(cache=True, nogil=True)
def fill_slopes(
    terms: Terms, factor: Array, work: Work, sigma: float, excess: Array, slope: Array, known: Array
) -> None:
    """Fill a point's derivatives from what the elimination at its factor left."""
    if len(terms.places) == 1:
        beta, root, inverse = coefficients_single(work.schur), root_single(work.schur, terms.reml), np.zeros_like(slope)
        slopes_single(factor, work.low, work.reduced, beta, root, sigma, inverse, excess, slope)
        for a in range(len(known)):
            known[a] = len(terms.z) - inverse[a, a]
        if np.isnan(slope[0, 0]):
            by_covariance = covariance_slope_single(
                terms.z, terms.rows, factor, work.low, work.reduced, beta, root, sigma
            )
            slope[:] = 2.0 * by_covariance @ factor
        return
    by_covariance, without_y = _slopes_several(terms, factor, work, sigma)
    slope[:] = 2.0 * by_covariance @ factor
    excess[:] = 0.5 * factor.T @ slope
    known[:] = np.diag(factor.T @ (without_y @ factor))


@numba.njit(cache=True, nogil=True)
def slopes_by_covariance(terms: Terms, factor: Array, work: Work, sigma: float) -> Array:
    """Return the derivative by ``lambda lambda'``, (S, S), from what the elimination at that factor left."""
    if len(terms.places) == 1:
        beta, root = coefficients_single(work.schur), root_single(work.schur, terms.reml)
        return covariance_slope_single(terms.z, terms.rows, factor, work.low, work.reduced, beta, root, sigma)
    return _slopes_several(terms, factor, work, sigma)[0]


@numba.njit(cache=True, nogil=True)
def _slopes_several(terms: Terms, factor: Array, work: Work, sigma: float) -> tuple[Array, Array]:
    return covariance_slopes_several(
        terms.z, terms.rows, factor, terms.places, work.low, work.reduced, work.left, work.turned, work.root,
        len(work.schur) - 1, terms.reml, sigma, work.solved,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def place_response(terms: Terms, response: Array) -> None:
    """Overwrite the cross-products with y: those of all effects in the order of elimination, of X and of y itself."""
    levels, size, m = terms.rows.shape
    for j in range(levels):
        for s in range(size):
            terms.rows[j, s, m - 1] = response[j * size + s]
    for a in range(m):
        value = response[levels * size + a]
        terms.rest[a, m - 1] = terms.rest[m - 1, a] = value
