r"""Searches for many responses at once where there is a single random term, from start to end in compiled loops.

Each search starts where the response's own moments suggest and takes the steps of a fit of that response alone.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.optimum.compiled_point import SingleTerm, empty_point, evaluate, room
from bayeslmm.inference.optimum.compiled_search import search_factor
from bayeslmm.inference.optimum.search import ACCEPTED_GRADIENT
from bayeslmm.likelihood.single_term import coefficients_single
from bayeslmm.types import Array

LARGEST_ROUNDING = 1e-7  # error of the objective by rounding above which another search has to judge


@dataclass(frozen=True, slots=True)
class Estimates:
    """Where the searches for m responses ended.

    Attributes
    ----------
    lambdas
        The kernel's factors, diagonals non-negative and negligible ones zero, shape (m, S, S).
    beta, R_X
        Coefficients of the kernel's columns (m, p), and the factors of their cross-products, Z eliminated, (m, p, p).
    sigma, value
        Residual standard deviations, and the objectives but for the weights' logarithms, shape (m,).
    settled
        Whether the search ended with nothing left to gain, shape (m,).
    """

    lambdas: Array
    beta: Array
    R_X: Array
    sigma: Array
    value: Array
    settled: NDArray[np.bool_]

    @property
    def singular(self) -> NDArray[np.bool_]:
        """Whether some diagonal of lambda is zero, shape (m,)."""
        return np.asarray((np.diagonal(self.lambdas, axis1=1, axis2=2) == 0).any(axis=1))


def search_responses(
    z: Array, zx: Array, xx: Array, zy: Array, xy: Array, yy: Array, n: int, reml: bool, sigma: float | None,
    starts: Array, *, diagonal: bool, gain: float,
) -> Estimates:  # fmt: skip
    """Fit m responses.

    Parameters
    ----------
    z, zx, xx
        Cross-products of the term with itself (J, S, S), of the term with X (J, S, p), and of X (p, p).
    zy, xy, yy
        Those with the responses: (m, J, S), (m, p), (m,).
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation where it is known.
    starts
        Factors that the searches start from, (m, S, S).
    diagonal
        Whether the term's effects are independent.
    gain
        Of the objective, where a search stops.
    """
    m, p, size = len(yy), xx.shape[0], z.shape[1]
    found = Estimates(
        np.zeros((m, size, size)), np.zeros((m, p)), np.zeros((m, p, p)), np.zeros(m), np.zeros(m), np.zeros(m, bool)
    )
    _search(
        *(np.ascontiguousarray(part, dtype=float) for part in (z, zx, xx, zy, xy, yy)), n, reml,
        np.nan if sigma is None else sigma, np.ascontiguousarray(starts), diagonal, gain, found.lambdas, found.beta,
        found.R_X, found.sigma, found.value, found.settled,
    )  # fmt: skip
    return found


@numba.njit(cache=True, nogil=True)
def _search(
    z: Array, zx: Array, xx: Array, zy: Array, xy: Array, yy: Array, n: int, reml: bool, sigma: float, starts: Array,
    diagonal: bool, gain: float, lambdas: Array, beta: Array, roots: Array, sigmas: Array, values: Array,
    settled: NDArray[np.bool_],
) -> None:  # fmt: skip
    levels, size, p = zx.shape
    both, total = np.zeros((levels, size, p + 1)), np.zeros((p + 1, p + 1))
    both[:, :, :p] = zx
    total[:p, :p] = xx
    work, point = room(both, 0), empty_point(size)
    for i in range(len(yy)):
        both[:, :, p] = zy[i]
        total[p, :p] = xy[i]
        total[:p, p] = xy[i]
        total[p, p] = yy[i]
        term = SingleTerm(z, both, total, n, reml, sigma, diagonal)
        work.tally[:] = 0
        point.factor[:] = starts[i]
        norm, held = search_factor(term, point, gain, work)
        rounding = np.sqrt(n) * np.finfo(np.float64).eps * total[p, p] / point.numbers[1] ** 2
        if work.tally[1] > 0 or not held or norm > ACCEPTED_GRADIENT or not rounding <= LARGEST_ROUNDING:
            continue
        evaluate(term, point, work)  # which leaves the factors of the minimum
        lambdas[i], beta[i], roots[i] = point.factor, coefficients_single(work.schur), work.schur[:p, :p]
        values[i], sigmas[i], settled[i] = point.numbers[0], point.numbers[1], True
