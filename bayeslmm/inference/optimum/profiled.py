"""The profiled likelihood as a function of the kernel's factors, in compiled loops where it can be."""

from collections.abc import Sequence

import numba
import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.inference.optimum.search import Point
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import covariance_gradients, evaluate, factor_gradients
from bayeslmm.likelihood.single_term import (
    coefficients_single,
    covariance_slope_single,
    objective_single,
    profiled_single,
    reduce_single,
    root_single,
    squares_single,
)
from bayeslmm.types import Array, Criterion

NARROW = 8  # fixed columns up to which the compiled loops are faster than BLAS, however many levels there are,
LARGEST = 100.0  # entry of a factor, columns scaled, beyond which sums in sequence lose digits that blocked ones keep
NEARLY_COLLINEAR = (
    1e-8  # of a fixed column, not shared with others and random effects, that sums in sequence still know
)
SMALL = 20_000  # and the product of fixed columns and levels up to which they are


class Likelihood:
    """The profiled objective of a kernel as a function of its factors."""

    def __init__(self, kernel: Kernel, method: Criterion, sigma: float | None) -> None:
        self.kernel = kernel
        self.method = method
        self.sigma = sigma
        self.shapes: Sequence[TermShape] = kernel.shapes

    def point(self, lambdas: Sequence[Array]) -> Point:
        """Return value and gradient."""
        found = evaluate(self.kernel.products, lambdas, self.method, self.sigma, gradient=True)
        slopes = factor_gradients(self.kernel.products, lambdas, self.method, self.sigma, found)
        return Point(found.value, slopes, found.excess, found.inverse_sums, found.sigma)

    def value(self, lambdas: Sequence[Array]) -> float:
        """Return the value alone."""
        return evaluate(self.kernel.products, lambdas, self.method, self.sigma).value

    def covariance_slopes(self, lambdas: Sequence[Array]) -> Sequence[Array]:
        """Return the gradient with respect to each lambda lambda^T."""
        return covariance_gradients(self.kernel.products, lambdas, self.method, self.sigma)


class CompiledLikelihood(Likelihood):
    """The profiled objective of a kernel with one random term and nothing else, each evaluation one compiled loop."""

    def point(self, lambdas: Sequence[Array]) -> Point:
        """Return value and gradient."""
        factor = lambdas[0]
        products = self.kernel.products
        value, sigma, excess, slope, squares, least = single_point(*self._arrays(factor))
        if not np.isfinite(value) or least < NEARLY_COLLINEAR:
            return super().point(lambdas)  # which raises what is wrong, or keeps the digits
        levels = products.layout.shapes[0].n_levels
        inverse_sum = levels * np.eye(len(factor)) - excess - squares / sigma**2
        return Point(value - products.log_weights, [slope], [excess], [inverse_sum], sigma)

    def value(self, lambdas: Sequence[Array]) -> float:
        """Return the value alone."""
        value, least = single_value(*self._arrays(lambdas[0]))
        if not np.isfinite(value) or least < NEARLY_COLLINEAR:
            return super().value(lambdas)
        return float(value - self.kernel.products.log_weights)

    def covariance_slopes(self, lambdas: Sequence[Array]) -> Sequence[Array]:
        """Return the gradient with respect to lambda lambda^T."""
        slope, least = single_covariance_slope(*self._arrays(lambdas[0]))
        if not np.isfinite(slope).all() or least < NEARLY_COLLINEAR:
            return super().covariance_slopes(lambdas)
        return [slope]

    def _arrays(self, factor: Array) -> tuple[Array, Array, Array, Array, int, bool, float]:
        products = self.kernel.products
        sigma = np.nan if self.sigma is None else self.sigma
        return (
            products.nest_z[0], products.nest_xy[0], products.xy, factor, products.n, self.method == "reml", sigma
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def single_point(
    z: Array, xy: Array, total: Array, factor: Array, n: int, reml: bool, sigma: float
) -> tuple[float, float, Array, Array, Array, float]:
    """Return what :func:`profiled_single` does, the sum of ``u_j u_j'``, and the least share of X that is its own.

    The objective is NaN where the factor is too large for sums in sequence.
    """
    nothing = np.zeros(factor.shape)
    if not np.abs(factor).max() <= LARGEST:
        return np.nan, np.nan, nothing, nothing, nothing, 0.0
    low, rows, schur = _empty(xy)
    value, scale, excess, slope = profiled_single(z, xy, total, factor, n, reml, sigma, low, rows, schur)
    if not np.isfinite(value):
        return value, scale, excess, slope, excess, 0.0
    squares = squares_single(low, rows, coefficients_single(schur))
    return value, scale, excess, slope, squares, _least_share(schur, total)


@numba.njit(cache=True, nogil=True)
def single_value(
    z: Array, xy: Array, total: Array, factor: Array, n: int, reml: bool, sigma: float
) -> tuple[float, float]:
    """Return the objective alone, and the least share of X that is its own; NaN as in :func:`single_point`."""
    if not np.abs(factor).max() <= LARGEST:
        return np.nan, 0.0
    low, rows, schur = _empty(xy)
    log_det = reduce_single(z, xy, total, factor, low, rows, schur)
    if not np.isfinite(log_det):
        return np.nan, 0.0
    return objective_single(log_det, schur, n, reml, sigma)[0], _least_share(schur, total)


@numba.njit(cache=True, nogil=True)
def single_covariance_slope(
    z: Array, xy: Array, total: Array, factor: Array, n: int, reml: bool, sigma: float
) -> tuple[Array, float]:
    """Return what :func:`covariance_slope_single` does, and the least share of X that is its own.

    NaN as in :func:`single_point`.
    """
    size = factor.shape[0]
    if not np.abs(factor).max() <= LARGEST:
        return np.full((size, size), np.nan), 0.0
    low, rows, schur = _empty(xy)
    log_det = reduce_single(z, xy, total, factor, low, rows, schur)
    if not np.isfinite(log_det):
        return np.full((size, size), np.nan), 0.0
    _, scale = objective_single(log_det, schur, n, reml, sigma)
    beta, root = coefficients_single(schur), root_single(schur, reml)
    return covariance_slope_single(z, xy, factor, low, rows, beta, root, scale), _least_share(schur, total)


@numba.njit(cache=True, nogil=True)
def _empty(xy: Array) -> tuple[Array, Array, Array]:
    levels, size, order = xy.shape
    return np.zeros((levels, size, size)), np.zeros((levels, size, order)), np.zeros((order, order))


@numba.njit(cache=True, nogil=True)
def _least_share(schur: Array, total: Array) -> float:
    least = 1.0
    for a in range(len(total) - 1):
        least = min(least, schur[a, a] ** 2 / total[a, a])
    return least


def likelihood_of(kernel: Kernel, method: Criterion, sigma: float | None) -> Likelihood:
    """Return the objective of a kernel, compiled where it can be."""
    return (CompiledLikelihood if is_compiled(kernel) else Likelihood)(kernel, method, sigma)


def is_compiled(kernel: Kernel) -> bool:
    """Whether a kernel has one random term and so few fixed columns that compiled loops are faster than BLAS."""
    products, layout = kernel.products, kernel.products.layout
    single = len(layout.nest) == 1 and not layout.trailing
    return single and (products.n_fixed <= NARROW or products.n_fixed * layout.shapes[0].n_levels <= SMALL)
