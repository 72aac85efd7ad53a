"""The Gaussian kernel in the user's columns: objective, gradient, and coefficients given theta."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular

from bayeslmm.covariance import (
    TermShape,
    count_theta,
    factors_from_theta,
    theta_from_factors,
)
from bayeslmm.design.centring import Centring, no_centring
from bayeslmm.design.held_columns import HeldColumns
from bayeslmm.errors import UnavailableError
from bayeslmm.likelihood.columns import (
    ColumnMap,
    TermArrays,
    factor_to_kernel,
    factor_to_user,
    fixed_map,
    term_map,
)
from bayeslmm.likelihood.conditional import effect_modes, fixed_modes
from bayeslmm.likelihood.crossproducts import CrossProducts, build_crossproducts
from bayeslmm.likelihood.factor import is_dense
from bayeslmm.likelihood.layout import check_memory, choose_layout
from bayeslmm.likelihood.marginal import check_criterion, evaluate, factor_gradients
from bayeslmm.likelihood.partial_sums import PartialSums
from bayeslmm.likelihood.pattern import Pattern
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.likelihood.streamed_kernel import Columns, finish
from bayeslmm.likelihood.threads import blas_threads, limits_threads
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Conditional:
    """Coefficients given theta and sigma, in the user's columns.

    Attributes
    ----------
    beta, beta_cov
        Generalised least-squares estimate, shape (p,), and its covariance, shape (p, p).
    sigma
        Residual standard deviation.
    u, b
        Conditional modes of the spherical and of the random effects, one (J, S) per term.
    b_cov
        Conditional covariance of b given theta, sigma and beta, one (J, S, S) per term.
    """

    beta: Array
    beta_cov: Array
    sigma: float
    u: tuple[Array, ...]
    b: tuple[Array, ...]
    b_cov: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Cross-products of one data set and the way between the kernel's columns and the user's.

    Build it with `Kernel.build`; every method takes theta on the user's columns.
    """

    products: CrossProducts
    fixed: ColumnMap
    maps: tuple[ColumnMap, ...]
    y_mean: float
    names: tuple[str, ...]

    @classmethod
    def build(
        cls,
        y: Array,
        X: Array | HeldColumns,
        terms: Sequence[TermArrays],
        weights: Array | None = None,
        *,
        names: Sequence[str] | None = None,
        centring: Centring | None = None,
    ) -> "Kernel":
        """Sum the cross-products.

        Parameters
        ----------
        y
            Response less offset, shape (n,).
        X
            Fixed columns of full rank, shape (n, p).
        terms
            Random terms: codes (n,), columns (n, S), n_levels, covariance, centring.
        weights
            Positive prior weights, shape (n,); None means ones.
        names
            Names of the terms for messages.
        centring
            The constant among the columns of X and their means, where they are known.
        """
        y = np.asarray(y, dtype=float)
        X = X if isinstance(X, HeldColumns) else np.asarray(X, dtype=float)
        shapes = [TermShape(t.n_levels, t.columns.shape[1], t.covariance) for t in terms]
        names = tuple(names) if names is not None else tuple(getattr(t, "name", str(k)) for k, t in enumerate(terms))
        layout = choose_layout([t.codes for t in terms], shapes)
        fixed = fixed_map(X, weights, centring) if X.shape[1] else ColumnMap(no_centring(0), np.ones(0))
        maps = tuple(term_map(t, weights) for t in terms)
        y_mean = float(np.average(y, weights=weights)) if fixed.centring.spans_constant else 0.0
        with blas_threads(0):
            pattern = Pattern([t.codes for t in terms], layout)
            products = build_crossproducts(y, X, terms, weights, pattern, fixed, maps, y_mean)
        return cls(products, fixed, maps, y_mean, names)

    def check_memory(self) -> None:
        """Refuse a factor that cannot be held.

        Raises
        ------
        ModelError
            If the crossed random effects need more memory than there is.
        """
        if self.products.sparse is None:
            check_memory(self.products.layout, self.names, self.p)

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.products.n

    @property
    def p(self) -> int:
        """Number of fixed columns."""
        return self.products.n_fixed

    @property
    def order(self) -> int:
        """Order of the dense trailing matrix."""
        return self.products.order

    @property
    def shapes(self) -> tuple[TermShape, ...]:
        """(J, S, covariance structure) of each term."""
        return self.products.layout.shapes

    @property
    def n_theta(self) -> int:
        """Length of theta."""
        return count_theta(self.shapes)

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The blocks that the factor uses, one entry per block of columns, in the order of elimination."""
        return describe_blocks(self)

    def lambdas(self, theta: ArrayLike) -> list[Array]:
        """Return the kernel's relative covariance factors for the user's theta."""
        return self.kernel_factors(factors_from_theta(theta, self.shapes))

    def kernel_factors(self, factors: Sequence[Array]) -> list[Array]:
        """Return the kernel's lambda for any factors of the user's relative covariances."""
        return [factor_to_kernel(f, m, s) for f, m, s in zip(factors, self.maps, self.shapes, strict=True)]

    def user_factors(self, lambdas: Sequence[Array]) -> list[Array]:
        """Return the user's lambda for the kernel's."""
        return [factor_to_user(f, m, s) for f, m, s in zip(lambdas, self.maps, self.shapes, strict=True)]

    def theta(self, lambdas: Sequence[Array]) -> Array:
        """Return the user's theta for the kernel's factors."""
        return theta_from_factors(self.user_factors(lambdas), self.shapes)

    def thetas(self, points: Sequence[Sequence[Array]]) -> Array:
        """Return the user's theta for the kernel's factors at m points, shape (m, n_theta)."""
        rows = [np.zeros((len(points), 0))]
        for k, (columns, shape) in enumerate(zip(self.maps, self.shapes, strict=True)):
            factors = factor_to_user(np.array([lambdas[k] for lambdas in points]), columns, shape)
            rows.append(factors[(slice(None), *shape.free_entries)])
        return np.concatenate(rows, axis=1)

    def shift(self, method: str) -> float:
        """Return what to add to the kernel's objective to have it in the user's columns."""
        return -2.0 * self.fixed.log_det if method == "reml" else 0.0

    @limits_threads
    def objective(self, theta: ArrayLike, method: str = "reml", sigma: float | None = None) -> float:
        """Return minus twice the (restricted) log-likelihood at theta, profiled over beta and, unless given, sigma."""
        criterion = check_criterion(method)
        return evaluate(self.products, self.lambdas(theta), criterion, sigma).value + self.shift(method)

    @limits_threads
    def gradient(self, theta: ArrayLike, method: str = "reml", sigma: float | None = None) -> Array:
        """Return the gradient of `objective` with respect to theta, shape (n_theta,)."""
        criterion = check_criterion(method)
        factors = factors_from_theta(theta, self.shapes)
        slopes = factor_gradients(self.products, self.kernel_factors(factors), criterion, sigma)
        pieces = [
            _user_slope(slope, factor, columns, shape)[shape.free_entries]
            for slope, factor, columns, shape in zip(slopes, factors, self.maps, self.shapes, strict=True)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    @limits_threads
    def conditional(self, theta: ArrayLike, method: str = "reml", sigma: float | None = None) -> Conditional:
        """Return coefficients, random effects and their variances given theta (and sigma)."""
        criterion = check_criterion(method)
        factors = factors_from_theta(theta, self.shapes)
        lambdas = self.kernel_factors(factors)
        evaluation = evaluate(self.products, lambdas, criterion, sigma)
        factor, sigma = evaluation.factor, evaluation.sigma
        beta = fixed_modes(factor)
        root = self.fixed.matrix @ solve_triangular(factor.R_X, np.eye(self.p), lower=True, trans=1)
        effects = effect_modes(factor, beta)
        transforms = [m.matrix @ f for m, f in zip(self.maps, lambdas, strict=True)]
        variances = inverse_blocks(factor).blocks
        b = tuple(u @ t.T for u, t in zip(effects, transforms, strict=True))
        return Conditional(
            beta=self.fixed.matrix @ beta + self.fixed.centring.constant * self.y_mean,
            beta_cov=sigma**2 * root @ root.T,
            sigma=sigma,
            u=self.user_spherical(effects, theta),
            b=b,
            b_cov=tuple(sigma**2 * (t @ c @ t.T) for c, t in zip(variances, transforms, strict=True)),
        )

    def user_spherical(self, effects: Sequence[Array], theta: ArrayLike) -> tuple[Array, ...]:
        """Return the spherical effects (J, S) that belong to the user's theta for those of the kernel's factors."""
        factors = factors_from_theta(theta, self.shapes)
        return tuple(_user_u(u, f, m, s) for u, f, m, s in zip(effects, factors, self.maps, self.shapes, strict=True))


class DesignArrays(Protocol):
    """What the kernel needs of a design."""

    @property
    def y(self) -> Array: ...  # noqa: D102
    @property
    def X(self) -> Array: ...  # noqa: D102
    @property
    def terms(self) -> Sequence[TermArrays]: ...  # noqa: D102
    @property
    def weights(self) -> Array | None: ...  # noqa: D102
    @property
    def offset(self) -> Array | None: ...  # noqa: D102


def build_kernel(design: DesignArrays, *, factored: bool = True) -> Kernel:
    """Return the kernel of a design, the offset taken off the response.

    Parameters
    ----------
    design
        The data; of collinear columns, the independent ones are taken.
    factored
        Whether it is to be factored.

    Raises
    ------
    ModelError
        If its factor needs more memory than there is.
    UnavailableError
        If the design's response was read by a family other than the normal.
    """
    if getattr(design, "outcome", None) is not None:
        raise UnavailableError(
            "This is for normal responses, whose cross-products the family of this one does not have. Compare "
            "generalized fits with bayeslmm.anova, or take intervals from fit.profile() or fit.bootstrap()."
        )
    if (independent := getattr(design, "independent", None)) is not None:
        design = independent
    if (summed := getattr(design, "sums", None)) is not None:
        kernel = kernel_of_sums(design, summed.sums)
        if factored:
            kernel.check_memory()
        return kernel
    y = design.y if design.offset is None else design.y - design.offset
    centring = getattr(design, "centring", None)
    columns = getattr(design, "fixed_columns", None)
    kernel = Kernel.build(y, design.X if columns is None else columns, design.terms, design.weights, centring=centring)
    if factored:
        kernel.check_memory()
    return kernel


def kernel_of_sums(design: Any, sums: PartialSums) -> Kernel:
    """Return the kernel of a design whose rows were summed in batches."""
    names = tuple(term.name for term in design.terms)
    columns = Columns(design.recipe.kept, design.centring, tuple(term.centring for term in design.terms))
    with blas_threads(0):
        found = finish(sums, columns, [term.covariance for term in design.terms])
    return Kernel(found.products, found.fixed, found.maps, found.y_mean, names)


def _user_slope(slope: Array, factor: Array, columns: ColumnMap, shape: TermShape) -> Array:
    """Turn the gradient by the kernel's lambda, ``2 G~ lambda~``, into the user's, ``2 T^-T G~ lambda~ Q^T``."""
    return columns.inverse.T @ slope @ shape.structure.rotation(columns.inverse @ factor).T


def _user_u(u: Array, factor: Array, columns: ColumnMap, shape: TermShape) -> Array:
    """Return u for the user's lambda, (J, S): ``T lambda~ u~ = lambda Q u~``."""
    return u @ shape.structure.rotation(columns.inverse @ factor).T


def describe_blocks(kernel: Kernel) -> list[dict[str, Any]]:
    """Describe each block of the factor: its terms, how it is held, its order and the share of it that is filled."""
    products, layout = kernel.products, kernel.products.layout
    described: list[dict[str, Any]] = []
    for place, k in enumerate(layout.nest):
        shape = layout.shapes[k]
        described.append(
            {
                "block": kernel.names[k],
                "kind": "diagonal" if shape.n_columns == 1 else "block-diagonal",
                "order": shape.n_effects,
                "density": shape.n_columns / max(shape.n_effects, 1),
                "elements": products.nest_z[place].size + products.nest_xy[place].size,
            }
        )
    if layout.trailing:
        names = " + ".join(kernel.names[k] for k in layout.trailing)
        described.append(
            {
                "block": f"{kernel.names[layout.nest[0]]} x ({names})",
                "kind": "dense" if is_dense(products) else "sparse",
                "order": products.n_trailing,
                "density": products.density,
                "elements": layout.shapes[layout.nest[0]].n_columns * len(products.entry_columns),
            }
        )
    if products.sparse is not None:
        q, filled = products.n_trailing, products.sparse.n_entries
        described.append(
            {
                "block": " + ".join(kernel.names[k] for k in layout.trailing),
                "kind": "sparse",
                "order": q,
                "density": filled / (q * (q + 1) / 2),
                "elements": filled,
            }
        )
    dense = [kernel.names[k] for k in layout.trailing] if products.sparse is None else []
    label = " + ".join([*dense, "fixed", "response"])
    described.append(
        {"block": label, "kind": "dense", "order": products.order, "density": 1.0, "elements": products.order**2}
    )
    return described
