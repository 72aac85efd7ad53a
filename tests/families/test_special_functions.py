"""The compiled special functions against scipy.special and against limits."""

import numpy as np
import pytest
from scipy import special

from bayeslmm.families.special import log_normal_cdf, rising, scaled_polygammas

DIGITS = 5e-12  # relative: where scipy's polygamma itself is a sum of alternating terms


@pytest.mark.parametrize("x", [1e-100, 1e-3, 0.3, 1.0, 1.4616, 5.0, 13.99, 14.0, 50.0, 1e6])
def test_polygammas(x):
    first, second, third = scaled_polygammas(x)
    assert first == pytest.approx(x * special.digamma(x), rel=DIGITS, abs=1e-12)
    assert second == pytest.approx(x**2 * special.polygamma(1, x), rel=DIGITS)
    # x^3 underflows at 1e-100, where the function is -2/x^3
    assert third == pytest.approx(x**3 * special.polygamma(2, x) if x > 1e-90 else -2.0, rel=DIGITS)


@pytest.mark.parametrize("x", [-1e8, -300.0, -37.0, -5.0, -2.0001, -1.9999, 0.0, 1.0, 8.0, 38.0])
def test_normal_tail(x):
    value, ratio, second, _ = log_normal_cdf(x)
    assert value == pytest.approx(special.log_ndtr(x), rel=1e-14, abs=1e-300)
    expected = np.log(-x) if x == -1e8 else -0.5 * x**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(x)
    assert np.log(ratio) == pytest.approx(expected, abs=1e-9)
    if x > -40:  # beyond, the plain difference has no digits left
        assert second == pytest.approx(-ratio * (ratio + x), rel=1e-10)


@pytest.mark.parametrize("x", [-50.0, -1e4, -1e8])
def test_third_derivative_in_the_lower_tail(x):
    """log Phi(x) = -x^2/2 - log|x| - log sqrt(2 pi) - 1/x^2 + 5/(2 x^4) - ..., differentiated term by term."""
    series = -2 / x**3 + 24 / x**5 - 300 / x**7
    assert log_normal_cdf(x)[3] == pytest.approx(series, rel=1e-4 if x > -100 else 1e-10)


@pytest.mark.parametrize("y", [0.0, 1.0, 5.0, 40.0, 41.0, 5000.0])
@pytest.mark.parametrize("k", [1e-6, 0.5, 9.9, 14.1, 300.0])
def test_rising_factorial(y, k):
    value, slope = rising(y, k)
    size = special.gammaln(y + k) + 1  # what the plain difference loses its digits to
    assert value == pytest.approx(special.gammaln(y + k) - special.gammaln(k) - y * np.log(k), abs=1e-13 * size)
    expected = k * (special.digamma(y + k) - special.digamma(k)) - y
    assert slope == pytest.approx(expected, rel=1e-10, abs=1e-12 * (1 + y + k))


def test_rising_factorial_has_poissons_limit():
    """For large k it is y (y - 1)/(2 k), where the plain difference of gammas is noise."""
    for y in (7.0, 300.0):
        value, slope = rising(y, 1e12)
        assert value == pytest.approx(y * (y - 1) / 2e12, rel=1e-3, abs=1e-13)
        assert slope == pytest.approx(-y * (y - 1) / 2e12, rel=1e-3, abs=1e-13)
