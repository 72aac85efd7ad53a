r"""Searches for many responses at once, from start to end in compiled loops.

Each search starts where the response's own moments suggest and takes the steps of a fit of that response alone.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.optimum.compiled_point import empty_point, evaluate
from bayeslmm.inference.optimum.compiled_search import search_factor
from bayeslmm.inference.optimum.compiled_terms import Terms, count_effects, place_response, room
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
        The kernel's factors, all terms on one diagonal, whose entries are non-negative and zero where they are
        negligible, shape (m, S, S).
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


def search_responses(terms: Terms, responses: Array, starts: Array, gain: float) -> Estimates:
    """Fit m responses.

    Parameters
    ----------
    terms
        The data, whose cross-products with y are overwritten.
    responses
        The cross-products of each response with all effects in the order of elimination, with X and with itself,
        shape (m, q + p + 1).
    starts
        Factors that the searches start from, the terms on one diagonal, (m, S, S).
    gain
        Of the objective, where a search stops.
    """
    m, size = starts.shape[:2]
    p = responses.shape[1] - count_effects(terms) - 1
    found = Estimates(
        np.zeros((m, size, size)), np.zeros((m, p)), np.zeros((m, p, p)), np.zeros(m), np.zeros(m), np.zeros(m, bool)
    )
    _search(
        terms, responses, np.ascontiguousarray(starts), gain, found.lambdas, found.beta, found.R_X, found.sigma,
        found.value, found.settled,
    )  # fmt: skip
    return found


@numba.njit(cache=True, nogil=True)
def _search(
    terms: Terms, responses: Array, starts: Array, gain: float, lambdas: Array, beta: Array, roots: Array,
    sigmas: Array, values: Array, settled: NDArray[np.bool_],
) -> None:  # fmt: skip
    work, point, p = room(terms, 0), empty_point(starts.shape[1]), beta.shape[1]
    for i in range(len(responses)):
        place_response(terms, responses[i])
        work.tally[:] = 0
        point.factor[:] = starts[i]
        norm, held = search_factor(terms, point, gain, work)
        rounding = np.sqrt(terms.n) * np.finfo(np.float64).eps * responses[i, -1] / point.numbers[1] ** 2
        if work.tally[1] > 0 or not held or norm > ACCEPTED_GRADIENT or not rounding <= LARGEST_ROUNDING:
            continue
        evaluate(terms, point, work)  # which leaves the factors of the minimum
        lambdas[i], beta[i], roots[i] = point.factor, coefficients_single(work.schur), work.schur[:p, :p]
        values[i], sigmas[i], settled[i] = point.numbers[0], point.numbers[1], True
