"""The maps of random effects against dense matrices, level by level, and against closed forms at both ends."""

import numpy as np
import pytest

from bayeslmm.posterior.effect_maps import centre_map, log_jacobian, lower_roots, map_effects, place_map, pull_effects

STEP = 1e-6
DIFFERENCES = 1e-6  # relative, of derivatives by central differences


def one_term(size, weight=3.0, levels=4, seed=1):
    """Curvatures, scores, the root at the centre and the effects that are the conditional mode there."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(levels, 5, size))
    curvatures = weight * np.swapaxes(columns, 1, 2) @ columns
    factor = np.tril(0.3 * rng.normal(size=(size, size))) + np.eye(size)
    scores = rng.normal(size=(levels, size))
    return curvatures, scores, factor, scores @ factor, rng


@pytest.mark.parametrize("size", [1, 2, 3])
def test_maps_are_those_of_the_normal_density(size):
    """At the centre a moves u by itself; elsewhere the mode and the covariance are those of the precision P."""
    curvatures, scores, factor, u, rng = one_term(size)
    centred = centre_map(curvatures, scores, factor, u)
    away = rng.normal(size=u.shape)
    np.testing.assert_allclose(map_effects(centred, place_map(centred, factor), away), u + away, atol=1e-12)
    other = factor + np.tril(0.4 * rng.normal(size=(size, size)))
    placed = place_map(centred, other)
    np.testing.assert_array_equal(placed.roots, np.tril(placed.roots))
    mode = map_effects(centred, placed, np.zeros_like(u))
    units = [map_effects(centred, placed, np.tile(e, (len(u), 1))) - mode for e in np.eye(size)]
    for j, g in enumerate(curvatures):
        precision, before = np.eye(size) + other.T @ g @ other, np.eye(size) + factor.T @ g @ factor
        pull = scores[j] + g @ factor @ u[j]
        np.testing.assert_allclose(mode[j], np.linalg.solve(precision, other.T @ pull), atol=1e-12)
        slope = np.array([unit[j] for unit in units]).T
        np.testing.assert_allclose(slope @ np.linalg.inv(before) @ slope.T, np.linalg.inv(precision), atol=1e-12)
    determinants = [np.linalg.slogdet(np.array([unit[j] for unit in units]))[1] for j in range(len(u))]
    expected = log_jacobian(placed) - log_jacobian(place_map(centred, factor))
    assert sum(determinants) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_derivatives(size):
    curvatures, scores, factor, u, rng = one_term(size)
    centred = centre_map(curvatures, scores, factor, u)
    other, away = factor + np.tril(0.4 * rng.normal(size=(size, size))), rng.normal(size=u.shape)
    by_u = rng.normal(size=u.shape)

    def value(there, a):
        placed = place_map(centred, there)
        return np.sum(by_u * map_effects(centred, placed, a)) + log_jacobian(placed)

    placed = place_map(centred, other)
    by_away, by_factor = pull_effects(centred, placed, other, map_effects(centred, placed, away), by_u)
    for i, j in zip(*np.tril_indices(size), strict=True):
        move = np.zeros((size, size))
        move[i, j] = STEP
        slope = (value(other + move, away) - value(other - move, away)) / (2 * STEP)
        assert by_factor[i, j] == pytest.approx(slope, rel=DIFFERENCES, abs=DIFFERENCES * np.abs(by_factor).max())
    move = rng.normal(size=u.shape)
    slope = (value(other, away + STEP * move) - value(other, away - STEP * move)) / (2 * STEP)
    assert np.sum(by_away * move) == pytest.approx(slope, rel=DIFFERENCES)


def test_effects_that_the_data_determine_do_not_move_with_their_covariance():
    """b = Fu stays where it is as F changes; without data u does."""
    for weight, scaled in ((1e10, True), (1e-10, False)):
        curvatures, scores, factor, u, rng = one_term(2, weight)
        centred = centre_map(curvatures, scores, factor, u)
        away, other = rng.normal(size=u.shape), np.array([[2.0, 0.0], [-1.3, 0.4]])
        found = map_effects(centred, place_map(centred, other), away)
        if scaled:
            np.testing.assert_allclose(found @ other.T, (u + away) @ factor.T, rtol=1e-6, atol=1e-8)
        else:
            np.testing.assert_allclose(found, away + scores @ other, atol=1e-8)


def test_roots_of_large_precisions_are_finite():
    curvatures, _, factor, _, _ = one_term(2, 1e12)
    roots = lower_roots(curvatures, 1e3 * factor)
    np.testing.assert_allclose(
        np.swapaxes(roots, 1, 2) @ roots, np.eye(2) + 1e6 * factor.T @ curvatures @ factor, rtol=1e-10
    )
