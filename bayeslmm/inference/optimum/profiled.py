"""The profiled likelihood as a function of the kernel's factors, and the search for its maximum."""

import math
from collections.abc import Sequence

import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.inference.nuts.starting import starting_factors
from bayeslmm.inference.optimum.search import Minimum, Point, Record, minimise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import covariance_gradients, evaluate, factor_gradients
from bayeslmm.likelihood.single_term import covariance_slope_single, evaluate_single
from bayeslmm.types import Array, Criterion

NARROW = 8  # fixed columns up to which the compiled loops are faster than BLAS, however many levels there are,
SMALL = 20_000  # and the product of fixed columns and levels up to which they are
FEW_EFFECTS = 4_000_000  # product of all effects and the squared order of the rest up to which several terms are few


class DigitsLostError(ArithmeticError):
    """Loops in sequence lose digits that BLAS keeps."""


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


class SingleLikelihood:
    """What `Likelihood` is, for a kernel with a single random term whose levels are eliminated in compiled loops."""

    def __init__(self, kernel: Kernel, method: Criterion, sigma: float | None) -> None:
        products, p = kernel.products, kernel.products.n_fixed
        self.shapes: Sequence[TermShape] = kernel.shapes
        self.log_weights = products.log_weights
        self.data = products.nest_z[0], products.nest_xy[0]
        self.criterion = (
            products.xy, products.n, method == "reml", np.nan if sigma is None else float(sigma),
        )  # fmt: skip
        self.eliminated = np.empty_like(self.data[0]), np.empty_like(self.data[1])
        self.fixed = np.empty(p), np.empty((p, p))
        self.schur = np.empty((p + 1, p + 1))

    def point(self, lambdas: Sequence[Array]) -> Point:
        """Return value and gradient."""
        factor = np.ascontiguousarray(lambdas[0])
        inverse, excess, slope = np.empty(factor.shape), np.empty(factor.shape), np.empty(factor.shape)
        value, sigma = self._evaluate(factor, True, inverse, excess, slope)
        if math.isnan(slope.item(0)):
            slope = 2.0 * self._covariance_slope(factor, sigma) @ factor
        return Point(value, [slope], [excess], [inverse], sigma)

    def value(self, lambdas: Sequence[Array]) -> float:
        """Return the value alone."""
        factor = np.ascontiguousarray(lambdas[0])
        return self._evaluate(factor, False, factor, factor, factor)[0]

    def covariance_slopes(self, lambdas: Sequence[Array]) -> Sequence[Array]:
        """Return the gradient with respect to lambda lambda^T."""
        factor = np.ascontiguousarray(lambdas[0])
        return [self._covariance_slope(factor, self._evaluate(factor, False, factor, factor, factor)[1])]

    def _evaluate(
        self, factor: Array, gradient: bool, inverse: Array, excess: Array, slope: Array
    ) -> tuple[float, float]:
        value, sigma = evaluate_single(
            *self.data, *self.criterion, factor, *self.eliminated, self.schur, *self.fixed, gradient, inverse, excess,
            slope,
        )  # fmt: skip
        if math.isnan(value):
            raise DigitsLostError
        return value - self.log_weights, sigma

    def _covariance_slope(self, factor: Array, sigma: float) -> Array:
        return covariance_slope_single(*self.data, factor, *self.eliminated, *self.fixed, sigma)


def minimise_likelihood(kernel: Kernel, method: Criterion, sigma: float | None, record: Record) -> Minimum:
    """Maximise the profiled likelihood of a kernel from its own start, and keep every evaluation in `record`."""
    start = starting_factors(kernel.products, sigma)
    if is_single(kernel):
        try:
            return minimise(SingleLikelihood(kernel, method, sigma), start, record)
        except DigitsLostError:
            record.clear()
    return minimise(Likelihood(kernel, method, sigma), start, record)


def is_single(kernel: Kernel) -> bool:
    """Whether a kernel has one random term and so few fixed columns that compiled loops are faster than BLAS."""
    products, layout = kernel.products, kernel.products.layout
    single = len(layout.nest) == 1 and not layout.trailing
    return single and (products.n_fixed <= NARROW or products.n_fixed * layout.shapes[0].n_levels <= SMALL)


def is_small(kernel: Kernel) -> bool:
    """Whether a kernel has several random terms and so few effects that compiled loops are faster than LAPACK."""
    products, layout = kernel.products, kernel.products.layout
    if len(layout.shapes) < 2 or products.sparse is not None:
        return False
    effects = sum(shape.n_effects for shape in layout.shapes)
    rest = effects - layout.shapes[layout.nest[0]].n_effects + products.n_fixed + 1
    return effects * rest**2 <= FEW_EFFECTS
