r"""The blocked Cholesky factor at many values of the covariance factors at once, on any device.

Models with crossed random effects, where one term leads and all others form the dense trailing matrix. Of the leading
term's level j let :math:`z_j` be the products with itself and :math:`C_j` those with the m trailing effects, columns of
X and y; let M be the products of those with themselves. With
:math:`\Lambda = \operatorname{diag}(\lambda_k, \ldots, I)` over the trailing effects, X and y,

.. math::

   K_j^{-1} &= \operatorname{chol}(\lambda_0^\top z_j\lambda_0 + I), \qquad V_j = K_j\lambda_0^\top, \\
   L L^\top &= \Lambda^\top\Bigl(M - \sum_j (V_jC_j)^\top V_jC_j\Bigr)\Lambda + \operatorname{diag}(I_q, 0),

so that only :math:`V_j` and the final scaling differ from point to point: :math:`C_j` is spread out for a slab of
levels and serves all points of a batch. This is the factor of `bayeslmm.likelihood.factor`, its rows
:math:`W_j = V_jC_j\Lambda` never kept. With N the inverse of L over the trailing effects (and X), what the gradient
needs is

.. math::

   \sum_j C_{jj} = \sum_{i,j} N_{i,j}^\top N_{i,j} \;\text{(trailing)}, \qquad
   \sum_j K_j^\top\bigl(I + W_jN^\top N W_j^\top\bigr)K_j \;\text{(leading)},

and the coefficients solve, with :math:`z \sim N(0, I)` for draws and z = 0 for modes,

.. math::

   L_{TT}^\top u_T = \sigma z_T - L_{\cdot T}^\top (\beta, -1)^\top, \qquad
   u_j = K_j^\top\bigl(\sigma z_j - V_jC_j\,(\Lambda u_T, \beta, -1)^\top\bigr).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.errors import ModelError
from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.device import Device, DeviceArray
from bayeslmm.likelihood.factor import scaled_entries, scaled_trailing
from bayeslmm.likelihood.pattern import trailing_offsets
from bayeslmm.likelihood.small_blocks import invert_cholesky, multiply
from bayeslmm.types import Array

SLAB_ROWS = 4096  # rows of the leading term that are spread out at once
COPIES = 7  # of the trailing matrix that one point takes at the peak of its gradient
SHARE = 0.8  # of the free memory that batches may take


class BatchedProducts:
    """Cross-products on a device, to be factored at many points at once.

    Parameters
    ----------
    products
        Cross-products of a model with trailing effects.
    device
        Where they are kept.

    Attributes
    ----------
    products, device
        As given.
    most_points
        Points that the device's free memory holds at once.

    Raises
    ------
    ModelError
        If it does not hold one.
    """

    def __init__(self, products: CrossProducts, device: Device) -> None:
        self.products, self.device = products, device
        identities = [np.eye(shape.n_columns) for shape in products.layout.shapes]
        self._check_room(products.order**2)
        upper = scaled_trailing(products, identities)
        rows = np.arange(products.n_trailing)
        upper[rows, rows] -= 1.0
        self._trailing = device.to_device(np.triu(upper) + np.triu(upper, 1).T)
        self._z = device.to_device(products.nest_z[0])
        self._xy = device.to_device(products.nest_xy[0])
        self._entries = device.to_device(scaled_entries(products, identities))
        counts = np.diff(products.entry_starts)
        self._entry_levels = device.to_device(np.repeat(np.arange(len(counts)), counts))
        self._entry_columns = device.to_device(products.entry_columns.astype(np.int64))
        self.offsets = trailing_offsets(products.layout)
        self.most_points = self._check_room(self._numbers_of_point())

    @property
    def lead(self) -> int:
        """Formula position of the leading term."""
        return self.products.layout.nest[0]

    def slabs(self) -> list[slice]:
        """Return the leading term's levels in slabs of at most `SLAB_ROWS` rows."""
        shape = self.products.layout.shapes[self.lead]
        step = max(1, SLAB_ROWS // shape.n_columns)
        return [slice(a, min(a + step, shape.n_levels)) for a in range(0, shape.n_levels, step)]

    def spread(self, levels: slice) -> DeviceArray:
        """Return the products of some levels with trailing effects, X and y, dense, shape (l, S_0, m)."""
        xp, width = self.device.xp, self.products.order
        size, count = self._z.shape[1], levels.stop - levels.start
        first, last = (int(self.products.entry_starts[j]) for j in (levels.start, levels.stop))
        flat = xp.zeros(count * size * width)
        places = (self._entry_levels[first:last] - levels.start) * (size * width) + self._entry_columns[first:last]
        for s in range(size):
            flat[places + s * width] = self._entries[s, first:last]
        slab = flat.reshape(count, size, width)
        slab[:, :, self.products.n_trailing :] = self._xy[levels]
        return slab

    def scale(self, x: DeviceArray, lambdas: Sequence[DeviceArray], *, transposed: bool = False) -> None:
        """Multiply the rows of trailing effects of x (b, q or more, k) by Lambda, or its transpose, in place."""
        for k, start in self.offsets.items():
            shape = self.products.layout.shapes[k]
            rows = slice(start, start + shape.n_effects)
            block = x[:, rows].reshape(len(x), shape.n_levels, shape.n_columns, x.shape[2])
            left = lambdas[k].transpose(0, 2, 1) if transposed else lambdas[k]
            x[:, rows] = multiply(self.device.xp, left[:, None], block).reshape(len(x), shape.n_effects, x.shape[2])

    def factorise(self, lambdas: Sequence[Array]) -> "BatchedFactor":
        """Factor at b points.

        Parameters
        ----------
        lambdas
            The kernel's lambda of each term at the points, formula order, shape (b, S, S).

        Returns
        -------
        BatchedFactor
            With `good` false where a pivot is not positive.
        """
        xp, products = self.device.xp, self.products
        q, order = products.n_trailing, products.order
        moved = [self.device.to_device(factor) for factor in lambdas]
        lead = moved[self.lead][:, None]
        turned = lead.transpose(0, 1, 3, 2)
        scaled = multiply(xp, multiply(xp, turned, self._z[None]), lead) + xp.eye(lead.shape[2])
        inverse, log_det = invert_cholesky(xp, scaled)
        roots = multiply(xp, inverse, turned)
        whole = xp.empty((len(lead), order, order))
        whole[:] = self._trailing
        for levels in self.slabs():
            rows = multiply(xp, roots[:, levels], self.spread(levels)[None]).reshape(len(lead), -1, order)
            whole -= xp.matmul(rows.transpose(0, 2, 1), rows)
        self.scale(whole, moved, transposed=True)
        self.scale(whole.transpose(0, 2, 1), moved, transposed=True)
        _diagonals(whole)[:, :q] += 1.0
        trailing, good = self.device.cholesky(whole)
        log_det = self.device.to_host(log_det + 2.0 * xp.log(_diagonals(trailing)[:, :q]).sum(axis=1))
        corner = self.device.to_host(trailing[:, q:, q:])
        good = good & np.isfinite(log_det) & np.isfinite(corner).all(axis=(1, 2))
        return BatchedFactor(self, tuple(lambdas), tuple(moved), inverse, roots, trailing, log_det, corner, good)

    def _numbers_of_point(self) -> int:
        """Return how many numbers the gradient at one point takes at its peak."""
        size, order = self._z.shape[1], self.products.order
        rows = max((levels.stop - levels.start) * size for levels in self.slabs())
        return COPIES * order**2 + 4 * rows * order + 4 * self._z.size

    def _check_room(self, numbers: int) -> int:
        """Return how many times so many numbers the device holds.

        Raises
        ------
        ModelError
            If it does not hold them once.
        """
        free = self.device.free_bytes()
        count = int(SHARE * free) // (8 * numbers)
        if count == 0:
            raise ModelError(
                f"The crossed random effects need a dense matrix of order {self.products.order:,}, for which device="
                f"{self.device.name!r} has no room: {8 * numbers / 2**30:.1f} GiB with what is computed from it, "
                f"{free / 2**30:.1f} GiB are free. Use device='cpu', or solver='iterative'."
            )
        return count


@dataclass(frozen=True, slots=True)
class BatchedFactor:
    r"""The factor at b points; what is not said to be on this machine is on the device.

    Attributes
    ----------
    batch
        The cross-products.
    lambdas
        The kernel's lambda of each term, formula order, shape (b, S, S), on this machine.
    moved
        The same on the device.
    inverse, roots
        :math:`K_j` and :math:`V_j` of the leading term's levels, shape (b, J, S_0, S_0).
    trailing
        Lower Cholesky factors of the trailing matrix (trailing effects, X, y), shape (b, m, m).
    log_det
        :math:`\log|\Omega|`, shape (b,), on this machine.
    corner
        The trailing factor at X and y, shape (b, p + 1, p + 1), on this machine.
    good
        Where the factor could be made, shape (b,), on this machine.
    """

    batch: BatchedProducts
    lambdas: tuple[Array, ...]
    moved: tuple[DeviceArray, ...]
    inverse: DeviceArray
    roots: DeviceArray
    trailing: DeviceArray
    log_det: Array
    corner: Array
    good: Array

    def inverse_sums(self, R_X: Array | None) -> list[Array]:
        """Return the sums over levels of the diagonal blocks of the inverse, (b, S, S) per term, on this machine.

        Parameters
        ----------
        R_X
            Lower Cholesky factors of the precision of beta times sigma², shape (b, p, p); None takes beta as known.
        """
        batch, device = self.batch, self.batch.device
        xp, products = device.xp, batch.products
        q, shapes = products.n_trailing, products.layout.shapes
        order = q if R_X is None else q + products.n_fixed
        lower = self.trailing[:, :order, :order].copy()
        if R_X is not None:
            lower[:, q:, q:] = device.to_device(R_X)
        unit = xp.empty_like(lower)
        unit[:] = xp.eye(order)
        solved = device.solve_lower(lower, unit, transposed=False)
        found: list[DeviceArray] = [None] * len(shapes)
        for k, start in batch.offsets.items():
            columns = solved[:, :, start : start + shapes[k].n_effects]
            found[k] = _squares(xp, columns.reshape(len(solved), -1, shapes[k].n_columns))
        found[batch.lead] = self._lead_sums(solved.transpose(0, 2, 1).copy())
        return [device.to_host(sums) for sums in found]

    def _lead_sums(self, turned: DeviceArray) -> DeviceArray:
        """Return the leading term's sum, ``N^T`` (b, o, o) of the trailing effects (and X) given; it is overwritten."""
        batch, xp = self.batch, self.batch.device.xp
        size, order = self.inverse.shape[2], turned.shape[1]
        batch.scale(turned, self.moved)
        total = _squares(xp, self.inverse.reshape(len(turned), -1, size))
        both = multiply(xp, self.inverse.transpose(0, 1, 3, 2), self.roots)  # K^T V
        for levels in batch.slabs():
            slab = batch.spread(levels)[:, :, :order].reshape(-1, order)
            rows = xp.matmul(slab, turned).reshape(len(turned), -1, size, order)
            rows = multiply(xp, both[:, levels], rows)
            total += _squares(xp, rows.transpose(0, 1, 3, 2).reshape(len(turned), -1, size))
        return total

    def effect_squares(self, beta: Array) -> list[Array]:
        r"""Return :math:`\sum_j u_j u_j^\top` at the modes given beta (b, p), (b, S, S) per term, on this machine."""
        batch = self.batch
        modes = self._solve(slice(None), beta[:, :, None], None)
        return [
            batch.device.to_host(_squares(batch.device.xp, u.reshape(len(beta), -1, shape.n_columns)))
            for u, shape in zip(modes, batch.products.layout.shapes, strict=True)
        ]

    def draw(
        self, place: int, beta: Array, noise: Sequence[Array], transforms: Sequence[Array], keep: Sequence[bool]
    ) -> tuple[Array, ...]:
        """Draw random effects at one of the points.

        Parameters
        ----------
        place
            The point.
        beta
            The kernel's coefficients, one column per draw, shape (p, c).
        noise
            Per term, formula order, sigma times standard normals, shape (J, S, c).
        transforms
            Per term, what makes the user's effects of u, shape (S, S).
        keep
            Per term, whether its effects are wanted.

        Returns
        -------
        Effects, one (c, J, S) per term, on this machine; (c, 0, S) where they are not wanted.
        """
        device, count = self.batch.device, beta.shape[1]
        solved = self._solve(slice(place, place + 1), beta[None], [z[None] for z in noise])
        found = []
        for u, transform, kept in zip(solved, transforms, keep, strict=True):
            if not kept:
                found.append(np.empty((count, 0, len(transform))))
                continue
            effects = multiply(device.xp, device.to_device(transform)[None, None], u)[0]
            found.append(device.to_host(effects.transpose(2, 0, 1).copy()))
        return tuple(found)

    def _solve(self, places: slice, beta: Array, noise: Sequence[Array] | None) -> list[DeviceArray]:
        """Return u given beta (b, p, c) at some points, (b, J, S, c) per term, formula order."""
        batch, device = self.batch, self.batch.device
        xp, shapes = device.xp, batch.products.layout.shapes
        q, (b, _, c) = batch.products.n_trailing, beta.shape
        known = device.to_device(np.concatenate([beta, np.full((b, 1, c), -1.0)], axis=1))
        lower = self.trailing[places]
        right = -xp.matmul(lower[:, q:, :q].transpose(0, 2, 1), known)
        if noise is not None:
            stacked = [noise[k].reshape(b, shapes[k].n_effects, c) for k in batch.offsets]
            right += device.to_device(np.concatenate(stacked, axis=1))
        effects = device.solve_lower(lower[:, :q, :q], right, transposed=True)
        solved: list[DeviceArray] = [None] * len(shapes)
        for k, start in batch.offsets.items():
            own = effects[:, start : start + shapes[k].n_effects]
            solved[k] = own.reshape(b, shapes[k].n_levels, shapes[k].n_columns, c)
        scaled = xp.concatenate([effects, known], axis=1)
        batch.scale(scaled, [factor[places] for factor in self.moved])
        lead = xp.empty((b, shapes[batch.lead].n_levels, shapes[batch.lead].n_columns, c))
        for levels in batch.slabs():
            slab = batch.spread(levels)
            seen = xp.matmul(slab.reshape(-1, slab.shape[2]), scaled).reshape(b, -1, slab.shape[1], c)
            lead[:, levels] = -multiply(xp, self.roots[places, levels], seen)
        if noise is not None:
            lead += device.to_device(noise[batch.lead])
        solved[batch.lead] = multiply(xp, self.inverse[places].transpose(0, 1, 3, 2), lead)
        return solved


@dataclass(frozen=True, slots=True)
class PointOfBatch:
    """What is known of the coefficients at one point of a batch; see `bayeslmm.likelihood.normal_prior.Eliminated`.

    Attributes
    ----------
    batch
        The factor at all points.
    place
        Which of them.
    """

    batch: BatchedFactor
    place: int

    @property
    def products(self) -> CrossProducts:
        """The cross-products."""
        return self.batch.batch.products

    @property
    def order(self) -> int:
        """Order of the largest matrix that this machine's LAPACK sees."""
        return self.products.n_fixed

    @property
    def log_det(self) -> float:
        """log|Omega|."""
        return float(self.batch.log_det[self.place])

    @property
    def r_squared(self) -> float:
        """The penalised residual sum of squares at its minimum."""
        return float(self.batch.corner[self.place, -1, -1] ** 2)

    @property
    def beta(self) -> Array:
        """Generalised least-squares estimate, shape (p,)."""
        corner = self.batch.corner[self.place]
        if len(corner) == 1:
            return np.zeros(0)
        return np.asarray(solve_triangular(corner[:-1, :-1], corner[-1, :-1], lower=True, trans=1))

    @property
    def R_X(self) -> Array:
        """Lower Cholesky factor of the cross-products of X with Z eliminated, shape (p, p)."""
        return np.tril(self.batch.corner[self.place, :-1, :-1])

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|²."""
        return 2.0 * float(np.sum(np.log(np.diag(self.batch.corner[self.place])[:-1])))

    @property
    def lambdas(self) -> list[Array]:
        """The kernel's lambda (S, S) of each term."""
        return [factors[self.place] for factors in self.batch.lambdas]

    def draw(
        self, beta: Array, noise: Sequence[Array], transforms: Sequence[Array], keep: Sequence[bool]
    ) -> tuple[Array, ...]:
        """Draw random effects; the arguments are those of `BatchedFactor.draw`."""
        return self.batch.draw(self.place, beta, noise, transforms, keep)


def _diagonals(matrices: DeviceArray) -> DeviceArray:
    """Return a view of the diagonals (b, m) of contiguous matrices (b, m, m)."""
    order = matrices.shape[1]
    return matrices.reshape(len(matrices), order * order)[:, :: order + 1]


def _squares(xp: Any, rows: DeviceArray) -> DeviceArray:
    """Return ``rows^T rows`` (b, S, S) of rows (b, k, S)."""
    return xp.matmul(rows.transpose(0, 2, 1), rows)
