"""What must not change when rows, names, units or origins do."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayeslmm.covariance import factors_from_theta
from bayeslmm.datasets import load_dataset
from bayeslmm.design import build_design
from bayeslmm.formula import parse
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood import Kernel

OBJECTIVE = 1e-7  # absolute: both fits stop within 1e-9 of the minimum; f itself carries 1e-12 relative
ESTIMATES = 1e-4  # relative: theta is known to the root of that
SLEEPSTUDY = "Reaction ~ 1 + Days + (1 + Days | Subject)"
CROSSED = "y ~ 1 + x + (1 + x | a) + (1 | b)"


class Fit:
    def __init__(self, formula, data, method="reml", *, y=None, weights=None):
        self.design = build_design(parse(formula), data, weights=weights)
        self.kernel = Kernel.build(
            self.design.y if y is None else y, self.design.X, self.design.terms, self.design.weights
        )
        self.maximum = maximise(self.kernel, method)
        self.theta, self.objective, self.sigma = self.maximum.theta, self.maximum.objective, self.maximum.sigma
        self.conditional = self.kernel.conditional(self.theta, method)
        self.beta = self.conditional.beta
        self.covariances = [self.sigma**2 * f @ f.T for f in factors_from_theta(self.theta, self.kernel.shapes)]


def sleepstudy():
    return load_dataset("sleepstudy")


def crossed(seed=0, n=400):
    rng = np.random.default_rng(seed)
    a, b, x = rng.integers(0, 20, n), rng.integers(0, 15, n), rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=20)[a] + 0.7 * rng.normal(size=20)[a] * x + rng.normal(size=15)[b]
    return pd.DataFrame({"y": y + rng.normal(size=n), "x": x, "a": a, "b": b})


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize(("formula", "data"), [(SLEEPSTUDY, sleepstudy), (CROSSED, crossed)])
def test_row_order(formula, data, method):
    frame = data()
    expected = Fit(formula, frame, method)
    found = Fit(formula, frame.sample(frac=1.0, random_state=3), method)
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=ESTIMATES)
    for b, other in zip(found.conditional.b, expected.conditional.b, strict=True):
        np.testing.assert_allclose(b, other, atol=ESTIMATES * np.abs(other).max())


def test_level_names():
    frame = crossed()
    names = {level: f"level {(level * 7) % 20:02d}" for level in range(20)}
    renamed = frame.assign(a=frame["a"].map(names))
    expected, found = Fit(CROSSED, frame), Fit(CROSSED, renamed)
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    place = [list(found.design.terms[0].levels).index(names[level]) for level in expected.design.terms[0].levels]
    np.testing.assert_allclose(found.conditional.b[0][place], expected.conditional.b[0], atol=1e-4)


def test_term_order():
    frame = crossed()
    expected = Fit(CROSSED, frame)
    found = Fit("y ~ 1 + x + (1 | b) + (1 + x | a)", frame)
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(found.theta[[1, 2, 3, 0]], expected.theta, rtol=ESTIMATES)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("factor", [1e-6, -3.0, 1e6])
@pytest.mark.parametrize(("formula", "data"), [(SLEEPSTUDY, sleepstudy), (CROSSED, crossed)])
def test_scaled_response(formula, data, factor, method):
    frame = data()
    expected = Fit(formula, frame, method)
    found = Fit(formula, frame, method, y=factor * expected.design.y)
    nu = expected.kernel.n - (expected.kernel.p if method == "reml" else 0)
    shift = nu * np.log(factor**2)
    assert found.objective - shift == pytest.approx(expected.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=ESTIMATES)
    np.testing.assert_allclose(found.beta, factor * expected.beta, rtol=ESTIMATES)


@pytest.mark.parametrize("shift", [1e4, 1e8])
def test_shifted_response(shift):
    frame = sleepstudy()
    expected = Fit(SLEEPSTUDY, frame)
    found = Fit(SLEEPSTUDY, frame, y=expected.design.y + shift)
    # the response itself loses digits: at 1e8 it is known to 1e-8
    assert found.objective == pytest.approx(expected.objective, abs=max(OBJECTIVE, shift * 1e-14))
    np.testing.assert_allclose(found.theta, expected.theta, rtol=ESTIMATES)
    assert found.beta[0] - shift == pytest.approx(expected.beta[0], rel=1e-6)


@pytest.mark.parametrize("factor", [1e-5, 24.0, 1e5])
@pytest.mark.parametrize("formula", [SLEEPSTUDY, SLEEPSTUDY.replace("|", "||")])
def test_scaled_slopes(formula, factor):
    frame = sleepstudy()
    expected = Fit(formula, frame, "ml")
    found = Fit(formula, frame.assign(Days=frame["Days"] * factor), "ml")
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    assert found.beta[1] * factor == pytest.approx(expected.beta[1], rel=ESTIMATES)
    unit = np.diag([1.0, factor])
    np.testing.assert_allclose(unit @ found.covariances[0] @ unit, expected.covariances[0], rtol=5e-3, atol=0.02)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("shift", [1e4, 1e8])
@pytest.mark.parametrize(("formula", "data", "column"), [(SLEEPSTUDY, sleepstudy, "Days"), (CROSSED, crossed, "x")])
def test_shifted_slopes(formula, data, column, shift, method):
    frame = data()
    moved = frame.assign(**{column: frame[column] + shift})
    kept = frame.assign(**{column: moved[column] - shift})  # what is left of the column's digits after the shift
    expected, found = Fit(formula, kept, method), Fit(formula, moved, method)
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    assert found.beta[1] == pytest.approx(expected.beta[1], rel=ESTIMATES)
    assert found.sigma == pytest.approx(expected.sigma, rel=ESTIMATES)
    slope_variance = expected.covariances[0][1, 1]
    assert found.covariances[0][1, 1] == pytest.approx(slope_variance, rel=10 * ESTIMATES)


def test_empty_categories():
    frame = sleepstudy()
    expected = Fit(SLEEPSTUDY, frame)
    more = frame.assign(Subject=frame["Subject"].cat.add_categories([1, 2, 999]))
    found = Fit(SLEEPSTUDY, more)
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=ESTIMATES)
    assert found.design.terms[0].n_levels == 18


def test_empty_levels_in_the_codes():
    design = build_design(parse(CROSSED), crossed())
    expected = maximise(Kernel.build(design.y, design.X, design.terms))
    spread = [replace(t, codes=2 * t.codes + 1, levels=pd.RangeIndex(2 * t.n_levels + 3)) for t in design.terms]
    found = maximise(Kernel.build(design.y, design.X, spread))
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=ESTIMATES)


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_unit_of_the_weights(unit):
    frame = crossed().assign(w=np.random.default_rng(5).uniform(0.5, 2.0, 400))
    expected = Fit(CROSSED, frame, weights="w")
    found = Fit(CROSSED, frame.assign(w=frame["w"] * unit), weights="w")
    # the density of y is the same: sigma moves with the root of the unit
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
    assert found.sigma == pytest.approx(expected.sigma * np.sqrt(unit), rel=ESTIMATES)
    np.testing.assert_allclose(found.theta * np.sqrt(unit), expected.theta, rtol=ESTIMATES)


def test_integer_weights_count_rows():
    frame = crossed()
    counts = np.random.default_rng(6).integers(1, 4, len(frame))
    repeated = Fit(
        "y ~ x + (1 | a)",
        frame.loc[frame.index.repeat(counts)],
        "ml",
    )
    kernel = Fit("y ~ x + (1 | a)", frame.assign(w=counts), "ml", weights="w").kernel
    # at one theta and sigma the two differ by the normalising constants of the rows alone
    extra = (counts - 1).sum() * np.log(2 * np.pi) + np.log(counts).sum()
    for theta in (0.3, 1.2):
        assert repeated.kernel.objective([theta], "ml", 1.0) == pytest.approx(
            kernel.objective([theta], "ml", 1.0) + extra, rel=1e-12
        )
