r"""The ML deviance in the parameters that intervals are about: sds, correlations and sigma.

.. math:: d(\psi) = \log|\Omega| + n\log(2\pi\sigma^2) + r^2/\sigma^2 - \textstyle\sum\log w, \qquad
          F = \mathrm{diag}(s/\sigma)\,L(z),

with the coefficients at their optimum. A term has its S sds s, of either sign, since d is even in them and so has no
boundary at zero, then z = atanh of partial correlations (`bayeslmm.covariance.coordinates`) of its effects in the
order given; the logarithm of sigma comes last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape
from bayeslmm.covariance.coordinates import TermPoint
from bayeslmm.design.centring import no_centring
from bayeslmm.likelihood.columns import ColumnMap
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import evaluate, factor_gradients
from bayeslmm.types import Array

Order = NDArray[np.intp]

SMALLEST = 1e-4  # distance of a partial correlation from one


@dataclass(slots=True)
class Deviance:
    """The deviance of one kernel by psi, counting its evaluations.

    Attributes
    ----------
    kernel
        The data.
    sigma
        The residual standard deviation where it is known; then psi ends before it.
    orders
        For each term the order in which its effects' correlations are made: the first has correlations of its own.
    count
        Evaluations so far.
    """

    kernel: Kernel
    sigma: float | None
    orders: Sequence[Order]
    count: int = field(default=0)

    @property
    def size(self) -> int:
        """Length of psi."""
        return sum(shape.n_coordinates for shape in self.kernel.shapes) + (self.sigma is None)

    def point(self, factors: Sequence[Array], sigma: float) -> Array:
        """Return psi of relative covariance factors in the user's columns, and of sigma."""
        covariances = covariance_parameters(factors, self.kernel.shapes, self.orders, sigma)
        return np.append(covariances, [] if self.sigma is not None else [np.log(sigma)])

    def __call__(self, psi: Array) -> tuple[float, Array]:
        """Return d and its gradient at psi."""
        self.count += 1
        sigma = float(np.exp(psi[-1])) if self.sigma is None else self.sigma
        kernel, products = self.kernel, self.kernel.products
        points = term_points(psi, kernel.shapes, sigma)
        roots = user_roots(points, self.orders)
        lambdas = kernel.kernel_factors(roots)
        found = evaluate(products, lambdas, "ml", sigma, gradient=True)
        slopes = factor_gradients(products, lambdas, "ml", sigma, found)
        pieces, by_log_ratio = covariance_slopes(slopes, roots, points, self.orders, kernel.maps, kernel.shapes, sigma)
        if self.sigma is None:
            pieces.append(np.array([2.0 * products.n - 2.0 * found.factor.r_squared / sigma**2 - by_log_ratio]))
        return found.value, np.concatenate(pieces) if pieces else np.zeros(0)


def covariance_parameters(
    factors: Sequence[Array], shapes: Sequence[TermShape], orders: Sequence[Order], sigma: float
) -> Array:
    """Return sds and atanh of partial correlations of relative covariance factors in the user's columns."""
    pieces = [np.zeros(0)]
    for factor, shape, order in zip(factors, shapes, orders, strict=True):
        ordered = shape.structure.factor_of_root(factor[order])
        z = shape.structure.coordinates(ordered, SMALLEST)[shape.n_columns :]
        pieces += [sigma * np.linalg.norm(ordered, axis=1), z]
    return np.concatenate(pieces)


def term_points(psi: Array, shapes: Sequence[TermShape], sigma: float) -> list[TermPoint]:
    """Return the terms whose sds and correlations psi begins with."""
    found, start = [], 0
    for shape in shapes:
        S, end = shape.n_columns, start + shape.n_coordinates
        unit = shape.structure.point(np.concatenate([np.zeros(S), psi[start + S : end]]), S)
        found.append(replace(unit, ratios=psi[start : start + S] / sigma))
        start = end
    return found


def user_roots(points: Sequence[TermPoint], orders: Sequence[Order]) -> list[Array]:
    """Return a root of each term's relative covariance in the user's order of its effects, (S, S)."""
    return [_reordered(point.factor, order) for point, order in zip(points, orders, strict=True)]


def covariance_slopes(
    slopes: Sequence[Array],
    roots: Sequence[Array],
    points: Sequence[TermPoint],
    orders: Sequence[Order],
    maps: Sequence[ColumnMap],
    shapes: Sequence[TermShape],
    sigma: float,
) -> tuple[list[Array], float]:
    """Turn derivatives by the kernel's factors (S, S) into those by sds and z, and by log sigma with these held."""
    pieces, by_log_ratio = [], 0.0
    for slope, root, point, order, columns, shape in zip(slopes, roots, points, orders, maps, shapes, strict=True):
        turned = columns.inverse.T @ slope @ shape.structure.rotation(columns.inverse @ root).T
        by_factor = turned[order]
        pieces += [
            np.sum(by_factor * point.lower, axis=1) / sigma,
            shape.structure.pull_back(np.tril(by_factor), point)[shape.n_columns :],
        ]
        by_log_ratio += float(np.sum(by_factor * point.factor))
    return pieces, by_log_ratio


def _reordered(factor: Array, order: Order) -> Array:
    """Return a root of the covariance in the user's order from one whose rows are in another."""
    root = np.empty_like(factor)
    root[order] = factor
    return root


def user_orders(shapes: Sequence[TermShape], term: int | None = None, first: int = 0) -> list[Order]:
    """Return the user's order of every term's effects, one of them with another effect moved to the front."""
    orders = [np.arange(shape.n_columns) for shape in shapes]
    if term is not None:
        orders[term] = np.concatenate([[first], np.delete(orders[term], first)])
    return orders


def with_fixed_function(kernel: Kernel, weights: Array, value: float) -> Kernel:
    r"""Return the kernel of a model in which a linear function of the coefficients is known, for ML.

    With a the function in the kernel's columns, :math:`\beta = a c/(a^\top a) + N\gamma`, N spanning what is orthogonal
    to a: new fixed columns XN and a response less :math:`Xac/(a^\top a)`, so that the cross-products are combined anew
    and no row is read.

    Parameters
    ----------
    kernel
        The data.
    weights
        The function's weights, user's columns, shape (p,).
    value
        What it equals.
    """
    p = kernel.p
    a = kernel.fixed.matrix.T @ weights
    value = value - float(weights @ kernel.fixed.centring.constant) * kernel.y_mean
    q, _ = np.linalg.qr(np.column_stack([a, np.eye(p)]))
    turn = np.zeros((p + 1, p))
    turn[:p, : p - 1] = q[:, 1:p]
    turn[:p, -1] = -a * value / float(a @ a)
    turn[p, -1] = 1.0
    products = kernel.products
    return replace(
        kernel,
        products=replace(
            products,
            n_fixed=p - 1,
            nest_xy=tuple(np.ascontiguousarray(xy @ turn) for xy in products.nest_xy),
            trailing_xy=products.trailing_xy @ turn,
            xy=turn.T @ products.xy @ turn,
        ),
        fixed=ColumnMap(no_centring(p - 1), np.ones(p - 1)),
        y_mean=0.0,
    )
