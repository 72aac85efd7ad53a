r"""What draws taken from weighted points are worth, parameter by parameter.

Draws made at one point share its luck. With n draws f_i, deviations :math:`d_i = f_i - \bar f` and the draws at point p
as a cluster,

.. math:: \operatorname{Var}(\bar f) \approx \frac{1}{n^2} \sum_p \Bigl(\sum_{i \in p} d_i\Bigr)^2, \qquad
          n_f = \frac{n \sum_i d_i^2}{\sum_p \bigl(\sum_{i \in p} d_i\bigr)^2},

since the number of draws at a point is n times its weight: for a function of the point alone this is
:math:`\sum_p w_p d_p^2 / \sum_p w_p^2 d_p^2` (Owen, 2013, Monte Carlo theory, methods and examples, section 9.2). It is
below Kish's :math:`1 / \sum_p w_p^2` where the heavy points are also those far out, and above it for coefficients,
most of whose variance lies within points.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.draws import Draws
from bayeslmm.results.diagnostics import TAILS, Diagnostics, diagnose, normalised_ranks
from bayeslmm.types import Array

POINT = "point"  # the statistic that says at which point a draw was made
MUCH_LESS = 0.5  # of the effective size of all weights, below which a parameter's own is worth a line


def cluster_sizes(values: Array, point: NDArray[Any]) -> Array:
    """Return the independent draws that the draws of every column are worth for its mean.

    Parameters
    ----------
    values
        Draws, shape (n, K).
    point
        The point of each, shape (n,).

    Returns
    -------
    ndarray
        Shape (K,); infinity where the points' shares of the deviations cancel, NaN for a column that does not vary.
    """
    order = np.argsort(point, kind="stable")
    starts = np.flatnonzero(np.diff(point[order], prepend=-1))
    deviations = (values - values.mean(axis=0))[order]
    sums = np.add.reduceat(deviations, starts, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return len(values) * np.sum(deviations**2, axis=0) / np.sum(sums**2, axis=0)


def diagnose_draws(values: NDArray[np.floating], draws: Draws) -> Diagnostics:
    """Diagnose parameters of draws; of weighted points, effective sizes are at most what the points give.

    Parameters
    ----------
    values
        Shape (chains, draws, ...); the trailing dimensions are flattened to K parameters.
    draws
        The draws they are of.
    """
    found = diagnose(values)
    point = draws.stats.get(POINT)
    if draws.method != "importance" or point is None:
        return found
    gain = points_gain(draws)
    flat = values.reshape(values.shape[0] * values.shape[1], -1).astype(float)
    places = np.flatnonzero(np.isfinite(found.ess_bulk))
    bulk, tail = found.ess_bulk.copy(), found.ess_tail.copy()
    flat, point = flat[:, places], np.asarray(point).ravel()
    bulk[places] = np.fmin(bulk[places], gain * cluster_sizes(normalised_ranks(flat.T[:, None])[:, 0].T, point))
    for quantile in np.quantile(flat, TAILS, axis=0):
        tail[places] = np.fmin(tail[places], gain * cluster_sizes((flat <= quantile).astype(float), point))
    return Diagnostics(found.rhat, bulk, tail)


def points_gain(draws: Draws) -> float:
    """Return by what sets of points scrambled apart were found to be better than independent ones, at least one."""
    size, kish = (draws.info.get(name) for name in ("effective_size", "kish_size"))
    return 1.0 if size is None or not kish else max(1.0, float(size) / float(kish))


def worst_size(names: Sequence[str], *found: Diagnostics) -> dict[str, Any]:
    """Return the smallest effective size and the name of its parameter; nothing where none is defined."""
    sizes = np.concatenate([diagnostics.ess_bulk for diagnostics in found])
    if np.isnan(sizes).all():
        return {}
    k = int(np.nanargmin(sizes))
    return {"effective_size_worst": float(sizes[k]), "worst_parameter": names[k]}


def size_fact(draws: Draws, worst: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a line on what weighted draws are worth where that is, for some parameter, much less than their weights.

    Parameters
    ----------
    draws
        The draws.
    worst
        What `worst_size` returned.
    """
    size = min(draws.info.get("effective_size", np.inf), draws.n_chains * draws.n_draws)
    if not worst or worst["effective_size_worst"] > MUCH_LESS * size:
        return []
    told = f"{size:.0f} by the weights, {worst['effective_size_worst']:.0f} of {worst['worst_parameter']}"
    return [("Effective size", told)]
