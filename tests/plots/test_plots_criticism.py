"""Pictures of influence and of the coverage of intervals."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import bayeslmm as blm
from bayeslmm.plots.coverage import LEVELS, coverage_figure
from bayeslmm.plots.influence import influence_figure

matplotlib.use("agg")


def test_few_units_are_named_in_order():
    distances = pd.Series([0.2, np.nan, 0.9, 0.1], index=["b", "gone", "a_very<long>name", "c"])
    axis = influence_figure(distances, "school").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a_very<long>name", "b", "c"]
    np.testing.assert_allclose(axis.lines[0].get_xdata(), [0.9, 0.2, 0.1])


def test_of_many_units_the_largest_are_named():
    distances = pd.Series(np.linspace(0, 1, 300) ** 2, index=range(300))
    axis = influence_figure(distances, "row").axes[0]
    assert {text.get_text() for text in axis.texts} == {str(k) for k in range(292, 300)}


def test_coverage_of_a_uniform_transform_is_the_level():
    axis = coverage_figure((np.arange(1000) + 0.5) / 1000).axes[0]
    np.testing.assert_allclose(axis.lines[-1].get_ydata(), LEVELS, atol=0.002)


def test_intervals_that_are_too_narrow_lie_below():
    pit = np.concatenate([np.full(50, 0.001), np.full(50, 0.999)])
    assert np.max(coverage_figure(pit).axes[0].lines[-1].get_ydata()) == 0


def test_of_results_and_into_given_axes():
    model = blm.Model("Reaction ~ Days + (1 | Subject)", blm.load_dataset("sleepstudy"))
    axes = Figure().subplots(1, 2)
    influence = model.fit("reml").influence("Subject")
    assert influence.plot(axes[0]) is axes[0].get_figure()
    found = blm.cross_validate(model, by="group", k=3, method="reml")
    assert found.plot(axes[1]) is axes[1].get_figure()
    assert len(influence.plot().axes) == 1


@pytest.mark.parametrize("method", ["reml", "importance"])
def test_the_transform_of_a_left_out_row(method):
    """About uniform for data that the model made, and exactly the normal one of a point fit."""
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 6), "x": rng.normal(size=120)})
    data["y"] = data["x"] + rng.normal(size=20)[data["g"]] + rng.normal(size=120)
    options = {"draws": 200} if method == "importance" else {}
    frame = blm.cross_validate(blm.Model("y ~ x + (1 | g)", data), by="row", k=4, method=method, **options).pointwise
    assert frame["pit"].between(0, 1).all()
    assert frame["pit"].mean() == pytest.approx(0.5, abs=0.12)
    sd = (frame["upper"] - frame["lower"]) / (2 * norm.ppf(0.975))
    expected = norm.cdf((frame["observed"] - frame["mean"]) / sd)
    np.testing.assert_allclose(frame["pit"], expected, atol=1e-9 if method == "reml" else 0.12)
