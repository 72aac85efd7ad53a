"""A term's covariance factor from its coordinates."""

import numpy as np

from bayeslmm.covariance.coordinates import unpack


def test_a_correlation_near_one_overflows_nothing():
    """cosh(800) is not a number a computer holds; the factor's diagonal is zero there."""
    with np.errstate(over="raise"):
        point = unpack(np.array([0.0, 0.0, 800.0]), 2, partial_correlations=True)
    np.testing.assert_array_equal(point.lower, [[1.0, 0.0], [1.0, 0.0]])


def test_correlation_is_the_hyperbolic_tangent():
    z = np.array([-18.0, -0.7, 0.0, 2.0])
    coordinates = np.stack([np.zeros(4), np.zeros(4), z], axis=-1)
    lower = unpack(coordinates, 2, partial_correlations=True).lower
    np.testing.assert_allclose(lower[:, 1, 0], np.tanh(z), rtol=1e-14)
    np.testing.assert_allclose(lower[:, 1, 1], 1 / np.cosh(z), rtol=1e-14)
