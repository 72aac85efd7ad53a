"""Interpolation by polynomials: exact for those of its degree, constant beyond its ball."""

import numpy as np
import pytest

from bayeslmm.posterior.surface import DEGREES, Surface, n_polynomials, nodes, polynomials, radius


def places_of(dimension: int, degree: int) -> np.ndarray:
    """Nodes of a degree, each degree's going on from those of the one before."""
    places = np.zeros((0, dimension))
    for lower in range(DEGREES[0], degree + 1):
        places = np.vstack([places, nodes(dimension, lower, places if len(places) else None)])
    return places


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_polynomials_of_the_degree_are_met_exactly(dimension: int, degree: int) -> None:
    rng = np.random.default_rng(1)
    places = places_of(dimension, degree)
    assert places.shape == (n_polynomials(dimension, degree), dimension)
    assert (np.linalg.norm(places, axis=1) <= radius(dimension) + 1e-12).all()
    direction = rng.normal(size=dimension) / np.sqrt(dimension)
    centre, root = rng.normal(size=dimension), np.tril(rng.normal(size=(dimension, dimension))) + 2 * np.eye(dimension)
    surface = Surface.through(centre, root, places, degree)

    def powers(z: np.ndarray) -> np.ndarray:
        return 1.0 + (z @ direction - 0.3) ** degree

    for z in rng.normal(size=(5, dimension)):
        weights, beyond = surface.place(centre + root @ z)
        assert beyond == 0.0
        assert weights @ powers(places) == pytest.approx(powers(z), abs=1e-9)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("dimension", [2, 4, 6])
def test_nodes_make_interpolation_stable(dimension: int, degree: int) -> None:
    places = places_of(dimension, degree)
    rng = np.random.default_rng(2)
    inside = rng.normal(size=(2000, dimension))
    inside *= radius(dimension) * rng.uniform(size=(2000, 1)) / np.linalg.norm(inside, axis=1, keepdims=True)
    weights = polynomials(inside, degree) @ np.linalg.inv(polynomials(places, degree))
    # Fekete points: at most their number
    assert np.abs(weights).sum(axis=1).max() < 2 * n_polynomials(dimension, degree)


def test_beyond_the_ball_nothing_grows() -> None:
    surface = Surface.through(np.zeros(2), np.eye(2), places_of(2, 3), 3)
    edge = radius(2) * np.array([0.6, 0.8])
    at, inside = surface.place(0.999999 * edge)
    far, beyond = surface.place(3.0 * edge)
    np.testing.assert_allclose(far, at, atol=1e-4)
    assert inside == 0.0 and beyond == pytest.approx(8.0 * radius(2) ** 2)
