r"""The maps of `bayeslmm.posterior.effect_maps` in compiled loops, for all terms at once.

Levels stand one after another: `first_curvatures` says where each term's (S, S) matrices begin, `effects` where its
effects do. Effects c are those of the rotated root R, :math:`c = Q^\top u`, and `spreads` holds :math:`\hat BQ`.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.single_term import solve_lower, solve_upper
from bayeslmm.posterior.single_coordinates import pull_back_single, unpack_single
from bayeslmm.types import Array

Places = NDArray[np.int64]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_terms(
    x: Array, sizes: Places, levels: Places, effects: Places, coordinates: Places, correlated: Places,
    first_curvatures: Places, turns: Array, rotations: Array, curvatures: Array, pulls: Array,
    roots: Array, factors: Array, ratios: Array, partial: Array, lower: Array, maps: Array, modes: Array,
) -> float:  # fmt: skip
    """Fill roots, factors, and the maps B and modes of every level at x; return the log Jacobian up to a constant."""
    log_jacobian = 0.0
    for k in range(len(sizes)):
        size = sizes[k]
        own, parts, low = np.empty(size), np.empty((size, size)), np.empty((size, size))
        unpack_single(x[coordinates[k] :], size, correlated[k] != 0, own, parts, low)
        factor = np.zeros((size, size))
        for i in range(size):
            ratios[k, i] = own[i]
            for j in range(size):
                partial[k, i, j], lower[k, i, j] = parts[i, j], low[i, j]
                factor[i, j] = own[i] * low[i, j]
                factors[k, i, j] = factor[i, j]
        place_product(turns[k], factor, rotations[k], roots[k])
        g, first = first_curvatures[k], effects[k]
        if size == 1:
            log_jacobian += place_single(
                factor[0, 0], curvatures[g : g + levels[k]], pulls[first : first + levels[k]],
                maps[g : g + levels[k]], modes[first : first + levels[k]],
            )  # fmt: skip
            continue
        shape = (levels[k], size, size)
        bends, bs = curvatures[g : g + shape[0] * size * size].reshape(shape), maps[g : g + shape[0] * size * size]
        log_jacobian += place_levels(
            factor, bends, pulls[first : first + shape[0] * size].reshape(shape[:2]), bs.reshape(shape),
            modes[first : first + shape[0] * size].reshape(shape[:2]),
        )  # fmt: skip
    return log_jacobian


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_product(first: Array, second: Array, third: Array, out: Array) -> None:
    """Fill the corner of out with the product of three matrices, of which the second has its size."""
    for i in range(len(second)):
        for j in range(len(second)):
            out[i, j] = 0.0
            for s in range(len(second)):
                for t in range(len(second)):
                    out[i, j] += first[i, s] * second[s, t] * third[t, j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_single(f: float, curvatures: Array, pulls: Array, maps: Array, modes: Array) -> float:
    """Fill B and mode of the levels of a single column; return the log Jacobian up to a constant."""
    log_jacobian = 0.0
    for j in range(len(maps)):
        precision = 1.0 + f * f * curvatures[j]
        maps[j] = np.sqrt(precision)
        modes[j] = f * pulls[j] / maps[j]
        log_jacobian -= 0.5 * np.log(precision)
    return log_jacobian


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_levels(f: Array, curvatures: Array, pulls: Array, maps: Array, modes: Array) -> float:
    """Fill B, lower triangular with B'B = I + F'GF, and modes of J levels; return the log Jacobian up to a constant.

    Pivots of B are at least one, which rounding of large curvatures may hide.
    """
    size = len(f)
    bent = np.empty((size, size))
    log_jacobian = 0.0
    for level in range(len(maps)):
        for i in range(size):
            for j in range(size):
                bent[i, j] = 0.0
                for t in range(j, size):
                    bent[i, j] += curvatures[level, i, t] * f[t, j]
        for i in range(size - 1, -1, -1):
            for j in range(i, -1, -1):
                value = 1.0 if i == j else 0.0
                for t in range(i, size):
                    value += f[t, i] * bent[t, j]
                for s in range(i + 1, size):
                    value -= maps[level, s, i] * maps[level, s, j]
                if i == j:
                    maps[level, i, i] = np.sqrt(max(value, 1.0))
                    log_jacobian -= np.log(maps[level, i, i])
                else:
                    maps[level, i, j] = value / maps[level, i, i]
                    maps[level, j, i] = 0.0
        for s in range(size):
            modes[level, s] = 0.0
            for t in range(s, size):
                modes[level, s] += f[t, s] * pulls[level, t]
        solve_upper(maps[level], modes[level])
    return log_jacobian


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_effects(
    sizes: Places, levels: Places, effects: Places, first_curvatures: Places, rotations: Array, spreads: Array,
    maps: Array, modes: Array, c: Array,
) -> None:  # fmt: skip
    """Turn a, in the places of the effects in c, into effects."""
    for k in range(len(sizes)):
        size, g, first = sizes[k], first_curvatures[k], effects[k]
        if size == 1:
            for j in range(levels[k]):
                u1 = (modes[first + j] + spreads[g + j] * c[first + j]) / maps[g + j]
                c[first + j] = rotations[k, 0, 0] * u1
            continue
        bs = maps[g : g + levels[k] * size * size].reshape((levels[k], size, size))
        u = np.empty(size)
        for level in range(levels[k]):
            for s in range(size):
                u[s] = modes[first + s]
                for t in range(size):
                    u[s] += spreads[g + s * size + t] * c[first + t]
            solve_lower(bs[level], u)
            for s in range(size):
                c[first + s] = 0.0
                for t in range(size):
                    c[first + s] += rotations[k, t, s] * u[t]
            g, first = g + size * size, first + size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pull_terms(
    sizes: Places, levels: Places, effects: Places, coordinates: Places, correlated: Places, first_curvatures: Places,
    turns: Array, rotations: Array, curvatures: Array, pulls: Array, spreads: Array, factors: Array, ratios: Array,
    partial: Array, lower: Array, maps: Array, modes: Array, c: Array, by_b: Array, by_c: Array, by_x: Array,
) -> None:  # fmt: skip
    """Turn the derivatives by effects, in `by_c`, into those by a, and add those by the terms' coordinates to `by_x`.

    Through roots, maps and the Jacobian: `bayeslmm.posterior.effect_maps.pull_effects` has the mathematics.
    """
    for k in range(len(sizes)):
        size, g, first = sizes[k], first_curvatures[k], effects[k]
        by_root, by_factor = np.zeros((size, size)), np.zeros((size, size))
        factor, rotation = factors[k, :size, :size], rotations[k, :size, :size]
        q, r = first + levels[k] * size, g + levels[k] * size * size
        if size == 1:
            by_root[0, 0], by_factor[0, 0] = pull_single(
                factor[0, 0], rotation[0, 0], curvatures[g:r], pulls[first:q], spreads[g:r], maps[g:r], modes[first:q],
                c[first:q], by_b[first:q], by_c[first:q],
            )  # fmt: skip
        else:
            one, many = (levels[k], size), (levels[k], size, size)
            pull_levels(
                factor, rotation, curvatures[g:r].reshape(many), pulls[first:q].reshape(one),
                spreads[g:r].reshape(many), maps[g:r].reshape(many), modes[first:q].reshape(one),
                c[first:q].reshape(one), by_b[first:q].reshape(one), by_c[first:q].reshape(one), by_root, by_factor,
            )  # fmt: skip
        for i in range(size):
            for j in range(size):
                for s in range(size):
                    for t in range(size):
                        by_factor[i, j] += turns[k, s, i] * by_root[s, t] * rotation[j, t]
        pull_back_single(
            by_factor, ratios[k, :size], partial[k, :size, :size], lower[k, :size, :size], correlated[k] != 0,
            by_x[coordinates[k] :],
        )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pull_single(
    f: float, sign: float, curvatures: Array, pulls: Array, spreads: Array, maps: Array, modes: Array, c: Array,
    by_b: Array, by_c: Array,
) -> tuple[float, float]:  # fmt: skip
    """Turn `by_c` into derivatives by a; return those by the root and by F of a single column."""
    by_root, by_f = 0.0, 0.0
    for j in range(len(c)):
        by_y = sign * by_c[j] / maps[j]
        by_q = by_y / maps[j]
        by_root += by_b[j] * c[j]
        pull = -by_y * sign * c[j] - modes[j] * by_q - 1.0 / maps[j]
        by_f += pulls[j] * by_q + curvatures[j] * f * pull / maps[j]
        by_c[j] = spreads[j] * by_y
    return by_root, by_f


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pull_levels(
    f: Array, rotation: Array, curvatures: Array, pulls: Array, spreads: Array, maps: Array, modes: Array, c: Array,
    by_b: Array, by_c: Array, by_root: Array, by_factor: Array,
) -> None:  # fmt: skip
    """Turn `by_c` into derivatives by a; add those by the root and by F, of J levels."""
    size = len(f)
    half, by_precision, turned = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    u, by_y, by_q = np.empty(size), np.empty(size), np.empty(size)
    for level in range(len(c)):
        for s in range(size):
            u[s], by_y[s] = 0.0, 0.0
            for t in range(size):
                u[s] += rotation[s, t] * c[level, t]
                by_y[s] += rotation[s, t] * by_c[level, t]
                by_root[s, t] += by_b[level, s] * c[level, t]
        solve_upper(maps[level], by_y)
        by_q[:] = by_y
        solve_lower(maps[level], by_q)
        for s in range(size):
            by_c[level, s] = 0.0
            for t in range(size):
                by_c[level, s] += spreads[level, t, s] * by_y[t]
                by_factor[s, t] += pulls[level, s] * by_q[t]
        for i in range(size):
            for j in range(i + 1):
                half[i, j] = 0.0
                for s in range(j + 1):  # B is lower triangular
                    pull = -by_y[i] * u[s] - modes[level, i] * by_q[s]
                    if i == s:
                        pull -= 1.0 / maps[level, s, s]
                    half[i, j] += pull * maps[level, j, s]
                if i == j:
                    half[i, i] *= 0.5
                else:
                    half[j, i] = 0.0
        for j in range(size):  # M' B^-T by rows, turned around, then again
            for i in range(size):
                turned[j, i] = half[i, j]
            solve_lower(maps[level], turned[j])
        for i in range(size):
            for j in range(size):
                by_precision[i, j] = turned[j, i]
            solve_lower(maps[level], by_precision[i])
        for t in range(size):
            for s in range(size):
                bent = 0.0
                for r in range(t + 1):  # F is lower triangular
                    bent += f[t, r] * (by_precision[r, s] + by_precision[s, r])
                for r in range(size):
                    by_factor[r, s] += curvatures[level, r, t] * bent
