r"""Maps that keep random effects about independent of their own covariance, however much the data say.

The spherical effects u of a level, with the root F (S, S) of their covariance, have the conditional precision
:math:`P = I + F^\top GF` where the level's rows carry the curvature G. With B lower triangular, :math:`B^\top B = P`,

.. math:: u = B^{-1}\bigl(\hat B a + B^{-\top}F^\top h\bigr),

so that a normal density in u with that precision is one in a with the precision :math:`\hat B^\top\hat B` it has at
the centre. :math:`h = \ell' + G\hat F\hat u`, the score of the level's rows and what curvature adds, makes
:math:`P^{-1}F^\top h` the conditional mode, :math:`\hat u` at the centre. Where the data say little, B is nearly I and
u moves as if not centred; where they say much, F being triangular, too, B is nearly :math:`UF` with
:math:`U^\top U = G`, and Fu does not depend on F at all: effects and coefficients that only their sum determines stay
on that sum. The map's Jacobian is :math:`\prod\hat B_{ss}/B_{ss}`.

Reference: Papaspiliopoulos, Roberts and Sköld (2007), Statistical Science 22, on partial non-centring.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class EffectMap:
    """What the map of one term's effects needs of the centre.

    Attributes
    ----------
    curvatures
        G, (J, S, S).
    pulls
        h, (J, S).
    roots
        B at the centre, (J, S, S).
    """

    curvatures: Array
    pulls: Array
    roots: Array


@dataclass(frozen=True, slots=True)
class PlacedMap:
    r"""The map at one F.

    Attributes
    ----------
    roots
        B, (J, S, S).
    modes
        :math:`B^{-\top}F^\top h`, (J, S).
    """

    roots: Array
    modes: Array


def centre_map(curvatures: Array, scores: Array, factor: Array, u: Array) -> EffectMap:
    """Return the map that is centred at effects u (J, S) with the root F of their covariance, (S, S).

    Scores are the derivatives of the log likelihood by Fu there, (J, S).
    """
    pulls = scores + np.einsum("jst,jt->js", curvatures, u @ factor.T)
    return EffectMap(curvatures, pulls, lower_roots(curvatures, factor))


def lower_roots(curvatures: Array, factor: Array) -> Array:
    """Return the lower triangular B with B'B = I + F'GF, (J, S, S)."""
    precisions = np.eye(len(factor)) + factor.T @ curvatures @ factor
    return np.swapaxes(np.linalg.cholesky(precisions[:, ::-1, ::-1])[:, ::-1, ::-1], 1, 2)


def place_map(centred: EffectMap, factor: Array) -> PlacedMap:
    """Return the map at F."""
    roots = lower_roots(centred.curvatures, factor)
    return PlacedMap(roots, _solve(np.swapaxes(roots, 1, 2), centred.pulls @ factor))


def map_effects(centred: EffectMap, placed: PlacedMap, away: Array) -> Array:
    """Return u for a, (J, S)."""
    return _solve(placed.roots, np.einsum("jst,jt->js", centred.roots, away) + placed.modes)


def log_jacobian(placed: PlacedMap) -> float:
    """Return log |du/da|, up to the constant that is the centre's."""
    return -float(np.sum(np.log(np.diagonal(placed.roots, axis1=1, axis2=2))))


def pull_effects(
    centred: EffectMap, placed: PlacedMap, factor: Array, u: Array, by_u: Array
) -> tuple[Array, Array]:  # fmt: skip
    r"""Return the derivatives by a, (J, S), and by F, (S, S), of a function with those by u and of the log Jacobian.

    With y = Bu, mode k and :math:`q = F^\top h`: :math:`\bar y = B^{-\top}\bar u`, :math:`\bar q = B^{-1}\bar y` and
    :math:`\bar B = -\bar yu^\top - k\bar q^\top - \operatorname{diag}(1/B_{ss})`. As :math:`dB =
    \Phi(B^{-\top}dP\,B^{-1})B`, :math:`\Phi` the lower half with half the diagonal, :math:`\bar P =
    B^{-1}\Phi(\bar BB^\top)B^{-\top}`.
    """
    roots = placed.roots
    by_y = _solve(np.swapaxes(roots, 1, 2), by_u)
    by_q = _solve(roots, by_y)
    by_root = -by_y[:, :, None] * u[:, None, :] - placed.modes[:, :, None] * by_q[:, None, :]
    places = np.arange(len(factor))
    by_root[:, places, places] -= 1.0 / roots[:, places, places]
    half = np.tril(by_root @ np.swapaxes(roots, 1, 2))
    half[:, places, places] *= 0.5
    inverse = np.linalg.inv(roots)
    by_precision = inverse @ half @ np.swapaxes(inverse, 1, 2)
    by_precision += np.swapaxes(by_precision, 1, 2)
    by_factor = np.einsum("jst,tr,jrq->sq", centred.curvatures, factor, by_precision, optimize=False)
    by_away = np.einsum("jst,js->jt", centred.roots, by_y)
    return by_away, by_factor + centred.pulls.T @ by_q


def _solve(matrices: Array, values: Array) -> Array:
    return np.asarray(np.linalg.solve(matrices, values[..., None])[..., 0])
