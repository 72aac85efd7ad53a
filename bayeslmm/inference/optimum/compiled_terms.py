r"""The data of a search in compiled loops: one random term with any number of levels, or several with few effects.

Either kind has its own equations (`bayeslmm.likelihood.single_term`, `bayeslmm.likelihood.several_terms`). A compiled
function that is given one of them calls those of its type, chosen when it is compiled.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from bayeslmm.likelihood.several_terms import covariance_slopes_several, reduce_several
from bayeslmm.likelihood.single_term import (
    LARGEST,
    NEARLY_COLLINEAR,
    coefficients_single,
    covariance_slope_single,
    reduce_single,
    root_single,
    slopes_single,
)
from bayeslmm.types import Array


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


class SingleTerm(NamedTuple):
    """The data of one random term, and the criterion.

    Attributes
    ----------
    z, xy, total
        Cross-products of the term with itself (J, S, S), of the term with X and y (J, S, p + 1), and of X and y.
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation, NaN where it is profiled.
    effects
        What the search knows of the effects.
    """

    z: Array
    xy: Array
    total: Array
    n: int
    reml: bool
    sigma: float
    effects: Effects


class SeveralTerms(NamedTuple):
    """The data of several random terms, and the criterion.

    Attributes
    ----------
    z, rows, rest
        Cross-products of the leading term with itself (J, S, S), of that with the effects of the others, X and y
        (J, S, m), and of these with one another (m, m).
    places
        Of each term, the leading one first: its first effect in formula order, its effects, and its levels.
    n, reml, sigma, effects
        As those of a single term.
    """

    z: Array
    rows: Array
    rest: Array
    places: NDArray[np.int64]
    n: int
    reml: bool
    sigma: float
    effects: Effects


Terms = SingleTerm | SeveralTerms


class SingleWork(NamedTuple):
    """Room for an evaluation of a single term, and the record of all.

    Attributes
    ----------
    low, rows, schur
        Filled by :func:`~bayeslmm.likelihood.single_term.reduce_single`.
    factors, values
        Every lambda evaluated and the objective there, in order, shapes (m, S, S) and (m,); m = 0 keeps none.
    tally
        How many were evaluated, and whether one of them lost its digits, or the room for them has run out; shape (2,).
    """

    low: Array
    rows: Array
    schur: Array
    factors: Array
    values: Array
    tally: NDArray[np.int64]


class SeveralWork(NamedTuple):
    """Room for an evaluation of several terms, and the record of all.

    Attributes
    ----------
    low, reduced, left, turned, root, solved
        Filled by the functions of `bayeslmm.likelihood.several_terms`.
    schur
        The lower Cholesky factor of what remains of X and y (p + 1, p + 1).
    factors, values, tally
        As those of a single term.
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


Work = SingleWork | SeveralWork


def count_effects(terms: Terms) -> int:
    """Return how many random effects there are in all levels."""
    if isinstance(terms, SingleTerm):
        return terms.z.shape[0] * terms.z.shape[1]
    return int(np.sum(terms.places[:, 1] * terms.places[:, 2]))


@numba.njit(cache=True, nogil=True)
def room_single(term: SingleTerm, kept: int) -> SingleWork:
    """Return room for evaluations of a single term, of which up to `kept` are recorded."""
    levels, size, order = term.xy.shape
    return SingleWork(
        np.zeros((levels, size, size)), np.zeros((levels, size, order)), np.zeros((order, order)),
        np.zeros((kept, size, size)), np.zeros(kept), np.zeros(2, dtype=np.int64),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def room_several(terms: SeveralTerms, kept: int) -> SeveralWork:
    """Return room for evaluations of several terms, of which up to `kept` are recorded."""
    m, size = len(terms.rest), len(terms.effects.term)
    n_effects = int(np.sum(terms.places[:, 1] * terms.places[:, 2]))
    order = m - n_effects + terms.places[0, 1] * terms.places[0, 2]
    return SeveralWork(
        np.zeros(terms.z.shape), np.zeros(terms.rows.shape), np.zeros((m, m)), np.zeros((m, m)), np.zeros((m, m)),
        np.zeros((m, n_effects)), np.zeros((order, order)), np.zeros((kept, size, size)), np.zeros(kept),
        np.zeros(2, dtype=np.int64),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _in_reach(factor: Array) -> bool:
    for a in range(len(factor)):
        for b in range(a + 1):
            if not abs(factor[a, b]) <= LARGEST:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def _reduce_single(term: SingleTerm, factor: Array, work: SingleWork) -> float:
    if not _in_reach(factor):
        return np.nan
    log_det = reduce_single(term.z, term.xy, term.total, factor, work.low, work.rows, work.schur)
    for a in range(len(term.total) - 1):
        if not work.schur[a, a] ** 2 >= NEARLY_COLLINEAR * term.total[a, a]:
            return np.nan
    return log_det


@numba.njit(cache=True, nogil=True)
def _reduce_several(terms: SeveralTerms, factor: Array, work: SeveralWork) -> float:
    if not _in_reach(factor):
        return np.nan
    log_det = reduce_several(
        terms.z, terms.rows, terms.rest, factor, terms.places, work.low, work.reduced, work.left, work.turned, work.root
    )
    order, q = len(work.schur), len(work.root) - len(work.schur)
    for a in range(order):
        for b in range(a + 1):
            work.schur[a, b] = work.root[q + b, q + a]
    for a in range(order - 1):
        if not work.schur[a, a] ** 2 >= NEARLY_COLLINEAR * terms.rest[q + a, q + a]:
            return np.nan
    return log_det


@numba.njit(cache=True, nogil=True)
def _fill_single(term: SingleTerm, point: Any, work: SingleWork, sigma: float) -> None:
    beta, root = coefficients_single(work.schur), root_single(work.schur, term.reml)
    size, inverse = len(point.factor), np.empty(point.factor.shape)
    slopes_single(point.factor, work.low, work.rows, beta, root, sigma, inverse, point.excess, point.slope)
    for a in range(size):
        point.known[a] = len(term.z) - inverse[a, a]
    if not np.isnan(point.slope[0, 0]):
        return
    slope = covariance_slope_single(term.z, term.xy, point.factor, work.low, work.rows, beta, root, sigma)
    for a in range(size):
        for b in range(size):
            point.slope[a, b] = 0.0
            for c in range(b, size):
                point.slope[a, b] += 2.0 * slope[a, c] * point.factor[c, b]


@numba.njit(cache=True, nogil=True)
def _fill_several(terms: SeveralTerms, point: Any, work: SeveralWork, sigma: float) -> None:
    """With G by lambda lambda', the gradient by lambda is 2 G lambda and the excess lambda' G lambda."""
    slope, known = _slopes_several(terms, point.factor, work, sigma)
    size = len(slope)
    point.slope[:], point.excess[:], point.known[:] = 0.0, 0.0, 0.0
    for a in range(size):
        for b in range(size):
            for c in range(b, size):
                point.slope[a, b] += 2.0 * slope[a, c] * point.factor[c, b]
    for a in range(size):
        for b in range(size):
            for c in range(a, size):
                point.excess[a, b] += 0.5 * point.factor[c, a] * point.slope[c, b]
        for b in range(a, size):
            for c in range(a, size):
                point.known[a] += point.factor[b, a] * known[b, c] * point.factor[c, a]


@numba.njit(cache=True, nogil=True)
def _slopes_single(term: SingleTerm, factor: Array, work: SingleWork, sigma: float) -> Array:
    beta, root = coefficients_single(work.schur), root_single(work.schur, term.reml)
    return covariance_slope_single(term.z, term.xy, factor, work.low, work.rows, beta, root, sigma)


@numba.njit(cache=True, nogil=True)
def _slopes_several(terms: SeveralTerms, factor: Array, work: SeveralWork, sigma: float) -> tuple[Array, Array]:
    return covariance_slopes_several(
        terms.z, terms.rows, factor, terms.places, work.low, work.reduced, work.left, work.turned, work.root,
        len(work.schur) - 1, terms.reml, sigma, work.solved,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _slope_several(terms: SeveralTerms, factor: Array, work: SeveralWork, sigma: float) -> Array:
    return _slopes_several(terms, factor, work, sigma)[0]


@numba.njit(cache=True, nogil=True)
def _place_single(term: SingleTerm, response: Array) -> None:
    levels, size, order = term.xy.shape
    for j in range(levels):
        for s in range(size):
            term.xy[j, s, order - 1] = response[j * size + s]
    for a in range(order):
        value = response[levels * size + a]
        term.total[a, order - 1] = term.total[order - 1, a] = value


@numba.njit(cache=True, nogil=True)
def _place_several(terms: SeveralTerms, response: Array) -> None:
    levels, size, m = terms.rows.shape
    for j in range(levels):
        for s in range(size):
            terms.rows[j, s, m - 1] = response[j * size + s]
    for a in range(m):
        value = response[levels * size + a]
        terms.rest[a, m - 1] = terms.rest[m - 1, a] = value


def room(terms: Terms, kept: int) -> Work:  # type: ignore[empty-body]
    """Return room for evaluations, of which up to `kept` are recorded; for compiled functions."""


def reduce_terms(terms: Terms, factor: Array, work: Work) -> float:  # type: ignore[empty-body]
    """Eliminate all effects; return log |Omega|, or NaN where too few digits would be left."""


def fill_slopes(terms: Terms, point: Any, work: Work, sigma: float) -> None:
    """Fill a point's derivatives from what the elimination at its factor left."""


def slopes_by_covariance(terms: Terms, factor: Array, work: Work, sigma: float) -> Array:  # type: ignore[empty-body]
    """Return the derivative by ``lambda lambda'``, (S, S), from what the elimination at that factor left."""


def place_response(terms: Terms, response: Array) -> None:
    """Overwrite the cross-products with y: those of all effects in the order of elimination, of X and of y itself."""


def _of_type(terms: Any, single: Callable[..., Any], several: Callable[..., Any]) -> Callable[..., Any]:
    """Return the one for the type that a compiled function's argument has."""
    return {SingleTerm: single, SeveralTerms: several}[terms.instance_class]


# numba compares the names and annotations of an overload's arguments with those of what it returns: they have none


@overload(room)
def _compiled_room(terms, kept):  # type: ignore[no-untyped-def]
    chosen = _of_type(terms, room_single, room_several)
    return lambda terms, kept: chosen(terms, kept)


@overload(reduce_terms)
def _compiled_reduce(terms, factor, work):  # type: ignore[no-untyped-def]
    chosen = _of_type(terms, _reduce_single, _reduce_several)
    return lambda terms, factor, work: chosen(terms, factor, work)


@overload(fill_slopes)
def _compiled_fill(terms, point, work, sigma):  # type: ignore[no-untyped-def]
    chosen = _of_type(terms, _fill_single, _fill_several)
    return lambda terms, point, work, sigma: chosen(terms, point, work, sigma)


@overload(slopes_by_covariance)
def _compiled_slopes(terms, factor, work, sigma):  # type: ignore[no-untyped-def]
    chosen = _of_type(terms, _slopes_single, _slope_several)
    return lambda terms, factor, work, sigma: chosen(terms, factor, work, sigma)


@overload(place_response)
def _compiled_place(terms, response):  # type: ignore[no-untyped-def]
    chosen = _of_type(terms, _place_single, _place_several)
    return lambda terms, response: chosen(terms, response)
