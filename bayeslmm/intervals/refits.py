r"""Fits of one model to many responses, from where one of them ended.

A response moves theta a little, so each search starts at the optimum of the first fit, in coordinates of unit curvature
there, and takes a few steps. Where it comes near the boundary or does not settle, the full search of
`bayeslmm.inference.optimum.search` takes over. With a single random term, or few effects, all responses are searched in
one compiled loop from the beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.nuts.starting import starting_factors_of_responses
from bayeslmm.inference.optimum.compiled_terms import terms_of
from bayeslmm.inference.optimum.maximum import code_of
from bayeslmm.inference.optimum.profiled import Likelihood, is_single, is_small, minimise_likelihood
from bayeslmm.inference.optimum.quasi_newton import descend
from bayeslmm.inference.optimum.search import Point, Record, tolerance_of
from bayeslmm.intervals.compiled_refits import Estimates, search_responses
from bayeslmm.likelihood.conditional import fixed_modes
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.types import Array, Criterion

NEAR_BOUNDARY = 0.02  # a diagonal of lambda, columns scaled, below which the full search takes over
GAIN = 1e-8  # of the objective, where a search stops: theta is then known to 1e-4 of its standard error
DIFFERENCE = 1e-4  # of a factor, for the curvature at the start
MAXIMUM_STEPS = 30


@dataclass(frozen=True, slots=True)
class Estimate:
    """Where a fit ended.

    Attributes
    ----------
    lambdas
        The kernel's factors, (S, S) per term.
    beta
        Coefficients in the user's columns, shape (p,).
    sigma, objective
        Residual standard deviation, and minus twice the log-likelihood.
    code
        "converged", "boundary" or "failed".
    R_X
        Lower Cholesky factor of the cross-products of X with Z eliminated, kernel's columns, shape (p, p).
    """

    lambdas: tuple[Array, ...]
    beta: Array
    sigma: float
    objective: float
    code: str
    R_X: Array


class Refitter:
    """Fits kernels that differ in their response only.

    Parameters
    ----------
    kernel
        The data of the first fit.
    lambdas
        The kernel's factors at its optimum.
    method
        "ml" or "reml".
    sigma
        Residual standard deviation, where it is known.
    """

    def __init__(self, kernel: Kernel, lambdas: Sequence[Array], method: Criterion, sigma: float | None) -> None:
        self.method, self.sigma = method, sigma
        self.lambdas = [np.array(f) for f in lambdas]
        self.entries = [shape.free_entries for shape in kernel.shapes]
        self.ends = np.cumsum([len(rows) for rows, _ in self.entries])[:-1]
        self.near = (
            bool(self.lambdas)
            and not is_single(kernel)
            and all(np.abs(np.diag(f)).min(initial=np.inf) > NEAR_BOUNDARY for f in lambdas)
        )
        self.whitening = self._whitening(Likelihood(kernel, method, sigma)) if self.near else np.zeros((0, 0))

    def _moved(self, change: Array) -> list[Array]:
        moved = [f.copy() for f in self.lambdas]
        for factor, entries, piece in zip(moved, self.entries, np.split(change, self.ends), strict=True):
            factor[entries] += piece
        return moved

    def _gradient(self, slopes: Sequence[Array]) -> Array:
        return np.concatenate([s[entries] for s, entries in zip(slopes, self.entries, strict=True)])

    def _whitening(self, target: Likelihood) -> Array:
        size = sum(len(rows) for rows, _ in self.entries)
        origin = self._gradient(target.point(self.lambdas).slopes) if size else np.zeros(0)
        steps = DIFFERENCE * np.eye(size)
        rows = [(self._gradient(target.point(self._moved(h)).slopes) - origin) / DIFFERENCE for h in steps]
        curvature = np.array(rows).reshape(size, size)
        values, vectors = np.linalg.eigh((curvature + curvature.T) / 2.0)
        return np.asarray(vectors / np.sqrt(np.maximum(np.abs(values), 1e-6 * np.abs(values).max(initial=1e-300))))

    def fit(self, kernel: Kernel) -> Estimate:
        """Fit the model to a kernel of the same columns."""
        found = self._near(Likelihood(kernel, self.method, self.sigma)) if self.near else None
        if found is None:
            minimum = minimise_likelihood(kernel, self.method, self.sigma, Record())
            found = minimum.lambdas, minimum.sigma, minimum.value, code_of(minimum)
        lambdas, sigma, value, code = found
        factor = factorise(kernel.products, lambdas)
        user = kernel.fixed.matrix @ fixed_modes(factor) + kernel.fixed.centring.constant * kernel.y_mean
        return Estimate(tuple(lambdas), user, sigma, value + kernel.shift(self.method), code, factor.R_X)

    def fit_block(self, structure: KernelStructure, Y: Array) -> Estimates | None:
        """Fit responses (n, m) in compiled loops; None where they are not faster, as with many crossed effects.

        Those whose search did not settle are for :meth:`fit`.
        """
        kernel = structure.kernel
        if not (is_single(kernel) or is_small(kernel)):
            return None
        terms, responses = terms_of(kernel, self.method, self.sigma), structure.response_products(Y)
        starts = starting_factors_of_responses(kernel.products, responses, self.sigma)
        return search_responses(terms, responses, starts, tolerance_of(kernel.shapes))

    def _near(self, target: Likelihood) -> tuple[tuple[Array, ...], float, float, str] | None:
        """Search from the first fit's optimum; None where the full search has to look."""
        last: dict[bytes, tuple[list[Array], Point]] = {}

        def function(x: Array) -> tuple[float, Array]:
            moved = self._moved(self.whitening @ x)
            try:
                point = target.point(moved)
            except FittingError:
                return np.inf, np.zeros_like(x)
            last[x.tobytes()] = moved, point
            return point.value, self.whitening.T @ self._gradient(point.slopes)

        end = descend(
            function,
            np.zeros(len(self.whitening)),
            tolerance=GAIN,
            longest=lambda d: 4.0 / max(float(np.linalg.norm(d)), 1e-300),
            max_steps=MAXIMUM_STEPS,
        )
        if end.limited or end.gain > 10.0 * GAIN or end.x.tobytes() not in last:
            return None
        moved, point = last[end.x.tobytes()]
        if any(np.diag(f).min() < NEAR_BOUNDARY for f in moved):
            return None
        return tuple(moved), point.sigma, point.value, "converged"
