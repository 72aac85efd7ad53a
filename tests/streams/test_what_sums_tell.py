"""Shares of variance and tests of terms live on cross-products: of a stream they are those of the frame."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as blm


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    n = 600
    g, h = rng.integers(0, 20, n), rng.integers(0, 12, n)
    frame = pd.DataFrame({"x": rng.normal(50.0, 3.0, n), "z": rng.normal(size=n), "g": g, "h": h})
    frame["f"] = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    frame["w"] = rng.uniform(0.5, 2.0, n)
    slopes = rng.normal(0.0, 0.2, 20)[g] * (frame.x - 50.0)
    frame["y"] = 0.3 * frame.x + (frame.f == "b") + slopes + rng.normal(0.0, 1.0, 12)[h] + rng.normal(size=n)
    return frame


FORMULAS = ["y ~ x + f + z + (x | g) + (1 | h)", "y ~ x * f + (1 | g)", "y ~ 0 + f + x + (1 | h)", "y ~ 1 + (1 | g)"]


@pytest.fixture(params=FORMULAS, scope="module")
def both(request, data):
    return [blm.Model(request.param, data, chunk_rows=rows).fit("reml") for rows in (None, 77)]


def test_shares_of_variance(both):
    frame, stream = both
    assert_allclose(stream.r2(), frame.r2(), rtol=1e-6)
    assert_allclose(stream.icc(), frame.icc(), rtol=1e-6)


@pytest.mark.parametrize("type", [1, 2])
def test_tests_of_terms(both, type):
    frame, stream = both
    pd.testing.assert_frame_equal(stream.anova(type), frame.anova(type), rtol=1e-4)
    pd.testing.assert_frame_equal(stream.drop1(), frame.drop1(), rtol=1e-4)


def test_type_3_without_interactions(data):
    frame, stream = (blm.Model(FORMULAS[0], data, chunk_rows=rows).fit("reml") for rows in (None, 77))
    pd.testing.assert_frame_equal(stream.anova(), frame.anova(), rtol=1e-4)
    with pytest.raises(blm.RowsError, match="type=2 or type=1"):
        blm.Model(FORMULAS[1], data, chunk_rows=77).fit("reml").anova()


def test_shares_of_a_posterior(data):
    frame, stream = (
        blm.Model("y ~ x + (1 | g)", data, chunk_rows=rows).fit("importance", draws=50, seed=1, progressbar=False)
        for rows in (None, 77)
    )
    assert_allclose(stream.r2()["mean"], frame.r2()["mean"], rtol=0.02)


def test_weighted_rows_are_refused_with_the_remedy(data):
    stream = blm.Model("y ~ x + (1 | g)", data, weights="w", chunk_rows=77).fit("reml")
    for ask in (stream.r2, stream.icc, lambda: stream.anova(1)):
        with pytest.raises(blm.RowsError, match="without the weights"):
            ask()
