"""The profiled likelihood as a function of the kernel's factors, and the search for its maximum."""

from collections.abc import Sequence

import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.inference.nuts.starting import starting_factors
from bayeslmm.inference.optimum.compiled_point import empty_point
from bayeslmm.inference.optimum.compiled_search import search_factor
from bayeslmm.inference.optimum.compiled_terms import Effects, Terms, room
from bayeslmm.inference.optimum.search import (
    ACCEPTED_GRADIENT,
    Minimum,
    Point,
    Record,
    is_singular,
    minimise,
    tolerance_of,
)
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import covariance_gradients, evaluate, factor_gradients
from bayeslmm.likelihood.several_terms import dense_crossproducts
from bayeslmm.types import Array, Criterion

NARROW = 8  # fixed columns up to which the compiled loops are faster than BLAS, however many levels there are,
SMALL = 20_000  # and the product of fixed columns and levels up to which they are
FEW_EFFECTS = 4_000_000  # product of all effects and the squared order of the rest up to which several terms are few
MOST_EVALUATIONS = 1_000  # of a compiled search, for which there is room


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


def minimise_likelihood(kernel: Kernel, method: Criterion, sigma: float | None, record: Record) -> Minimum:
    """Maximise the profiled likelihood of a kernel from its own start, and keep every evaluation in `record`."""
    start = starting_factors(kernel.products, sigma)
    found = _minimise_single(kernel, method, sigma, start[0], record) if is_single(kernel) else None
    return minimise(Likelihood(kernel, method, sigma), start, record) if found is None else found


def is_single(kernel: Kernel) -> bool:
    """Whether a kernel has one random term and so few fixed columns that compiled loops are faster than BLAS."""
    products, layout = kernel.products, kernel.products.layout
    single = len(layout.nest) == 1 and not layout.trailing
    return single and (products.n_fixed <= NARROW or products.n_fixed * layout.shapes[0].n_levels <= SMALL)


def single_term(kernel: Kernel, method: Criterion, sigma: float | None) -> Terms:
    """Return the arrays of a kernel with a single random term."""
    products, shape = kernel.products, kernel.shapes[0]
    places = np.array([(0, shape.n_columns, shape.n_levels)], dtype=np.int64)
    return Terms(
        products.nest_z[0], products.nest_xy[0], products.xy, places, products.n, method == "reml",
        np.nan if sigma is None else float(sigma), effects_of([shape]),
    )  # fmt: skip


def is_small(kernel: Kernel) -> bool:
    """Whether a kernel has several random terms and so few effects that compiled loops are faster than LAPACK."""
    products, layout = kernel.products, kernel.products.layout
    if len(layout.shapes) < 2 or products.sparse is not None:
        return False
    effects = sum(shape.n_effects for shape in layout.shapes)
    rest = effects - layout.shapes[layout.nest[0]].n_effects + products.n_fixed + 1
    return effects * rest**2 <= FEW_EFFECTS


def several_terms(kernel: Kernel, method: Criterion, sigma: float | None) -> Terms:
    """Return the arrays of a kernel with several random terms."""
    products, shapes = kernel.products, kernel.shapes
    order = [*products.layout.nest, *products.layout.trailing]
    firsts = np.cumsum([0, *(shape.n_columns for shape in shapes)])
    places = np.array([(firsts[k], shapes[k].n_columns, shapes[k].n_levels) for k in order], dtype=np.int64)
    return Terms(
        *dense_crossproducts(products), places, products.n, method == "reml",
        np.nan if sigma is None else float(sigma), effects_of(shapes),
    )  # fmt: skip


def effects_of(shapes: Sequence[TermShape]) -> Effects:
    """Return what the search knows of the effects of terms."""
    sizes = [shape.n_columns for shape in shapes]
    return Effects(
        np.repeat(np.arange(len(shapes), dtype=np.int64), sizes),
        np.repeat([float(shape.n_levels) for shape in shapes], sizes),
        np.repeat([shape.n_theta > shape.n_columns for shape in shapes], sizes),
    )


def _minimise_single(
    kernel: Kernel, method: Criterion, sigma: float | None, start: Array, record: Record
) -> Minimum | None:
    """Search in compiled loops; None where they lose digits that BLAS keeps, or the search is too long for them."""
    term = single_term(kernel, method, sigma)
    work, point = room(term, MOST_EVALUATIONS), empty_point(len(start))
    point.factor[:] = start
    norm, held = search_factor(term, point, tolerance_of(kernel.shapes), work)
    count, lost = work.tally
    if lost:
        return None
    weights = kernel.products.log_weights
    for evaluated, found in zip(work.factors[:count], work.values[:count].tolist(), strict=True):
        record.add((evaluated,), found - weights)
    value, scale = point.numbers.tolist()
    factor, converged = point.factor, bool(held and norm <= ACCEPTED_GRADIENT)
    return Minimum((factor,), value - weights, norm, is_singular([factor]), converged, scale)
