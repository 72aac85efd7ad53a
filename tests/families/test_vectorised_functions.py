"""Polynomials for exponentials and logarithms, against numpy."""

import numpy as np
import pytest

from bayeslmm.families.binomial import logit_rows, logit_scores
from bayeslmm.families.vectorised import exponential, log_one_plus

LAST_DIGITS = 1e-15  # relative; a few units in the last place
POINTS = np.concatenate([-np.geomspace(1e-12, 700, 400), np.geomspace(1e-12, 700, 400), [0.0, -0.3466, 0.3466]])


@pytest.mark.parametrize("x", [-700.0, -1.0, 0.0, 0.35, 700.0])
def test_single_values(x):
    assert exponential(x) == pytest.approx(np.exp(x), rel=LAST_DIGITS)


def test_relative_errors():
    found = np.array([exponential(x) for x in POINTS])
    np.testing.assert_allclose(found, np.exp(POINTS), rtol=LAST_DIGITS)
    shares = np.exp(-np.geomspace(1e-12, 700, 400))
    np.testing.assert_allclose([log_one_plus(e) for e in shares], np.log1p(shares), rtol=LAST_DIGITS)


def test_logit_scores_are_the_first_two_rows():
    eta = np.concatenate([POINTS, [1e5, -1e5]])
    size = np.full(len(eta), 3.0)
    y = np.arange(len(eta)) % 4 * 1.0
    phi, all_rows, scores = np.zeros((0, len(eta))), np.zeros((4, len(eta))), np.zeros((4, len(eta)))
    logit_rows(y, size, eta, phi, all_rows)
    logit_scores(y, size, eta, phi, scores)
    np.testing.assert_allclose(scores[:2], all_rows[:2], rtol=1e-13, atol=1e-13)
