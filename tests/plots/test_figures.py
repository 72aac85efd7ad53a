import sys

import numpy as np
import pandas as pd
import pytest

from bayeslmm.plots.canvas import density, shorten
from bayeslmm.plots.caterpillar import caterpillar_figure
from bayeslmm.plots.history import history_figure
from bayeslmm.plots.intervals import interval_figure
from bayeslmm.plots.pairs import pairs_figure
from bayeslmm.plots.predictive import predictive_figure
from bayeslmm.plots.residuals import residual_figure
from bayeslmm.plots.trace import trace_figure

RNG = np.random.default_rng(0)
DRAWS = RNG.standard_normal((3, 120, 4))
NAMES = [
    "Intercept",
    "a rather long name of an interaction[T.level]:another[T.level]",
    "sd_g[x]",
    "sigma",
]


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def drawn(figure):
    """Draw it: warnings about layouts that do not fit are errors in these tests."""
    figure.canvas.draw()
    return figure


def test_no_global_state():
    drawn(trace_figure(DRAWS, NAMES))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_figure_knows_its_picture_without_pyplot():
    figure = residual_figure(DRAWS[0, :, 0], DRAWS[0, :, 1])
    picture = figure._repr_png_()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    with pytest.raises(AttributeError, match=r"figure\.savefig\(path\) writes it"):
        figure.show()


def test_trace_draws_every_chain_and_marks_divergences():
    diverging = np.zeros((3, 120), dtype=bool)
    diverging[1, 50] = True
    figure = drawn(trace_figure(DRAWS, NAMES, diverging))
    axes = np.reshape(figure.axes, (4, 2))
    np.testing.assert_array_equal(axes[2, 1].lines[1].get_ydata(), DRAWS[1, :, 2])
    assert list(axes[0, 1].lines[-1].get_xdata()) == [50]
    assert "sd_g[x]" in texts(figure)


def test_trace_says_what_it_leaves_out():
    many = RNG.standard_normal((1, 30, 40))
    figure = drawn(trace_figure(many, [f"x{k}" for k in range(40)]))
    assert "The first 24 of 40 parameters" in texts(figure)


def test_constant_and_non_finite_draws_can_be_drawn():
    draws = DRAWS.copy()
    draws[:, :, 0] = 1.0
    draws[0, 3, 1] = np.nan
    drawn(trace_figure(draws, NAMES))
    drawn(pairs_figure(draws, NAMES))


def test_intervals_have_panels_by_kind():
    rows = ["Intercept", "x", "sd_g[x]", "cor_g[Intercept, x]", "sigma"]
    frame = pd.DataFrame({"estimate": 1.0, "lower": 0.5, "upper": 2.0}, index=rows)
    bare = frame.assign(lower=np.nan, upper=np.nan)
    figure = drawn(interval_figure({"nuts": frame, "reml": bare}, 0.9))
    found = texts(figure)
    for text in (
        "Intercept",
        "Fixed effects",
        "Standard deviations",
        "Correlations",
        "nuts",
        "reml",
        "90% intervals",
    ):
        assert text in found, text


def test_caterpillar_orders_levels():
    effects = pd.DataFrame({"Intercept": [3.0, 1.0, 2.0], "x": [0.0, 1.0, 2.0]}, index=pd.Index([7, 8, 9], name="g"))
    figure = drawn(caterpillar_figure(effects, effects * 0 + 0.1, "mode ± 2 sd"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["8", "9", "7"]
    np.testing.assert_array_equal(figure.axes[1].lines[-1].get_xdata(), [1.0, 2.0, 0.0])


def test_caterpillar_of_thousands_has_no_names():
    effects = pd.DataFrame({"Intercept": RNG.standard_normal(3000)})
    figure = drawn(caterpillar_figure(effects, effects.abs(), "mode ± 2 sd"))
    assert "level: 3000 levels" in texts(figure)


def test_history():
    frame = pd.DataFrame({"objective": [5.0, 3.0, 2.0], "theta_1": [1.0, 0.5, 0.4]}, index=[1, 2, 3])
    figure = drawn(history_figure(frame))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [3.0, 1.0, 1e-10])
    assert "θ1" in texts(figure)
    drawn(history_figure(frame[["objective"]]))


def test_pairs():
    figure = drawn(pairs_figure(DRAWS, NAMES, np.ones((3, 120), dtype=bool)))
    assert sum(axis.get_visible() for axis in figure.axes) == 10
    nine = RNG.standard_normal((1, 20, 9))
    assert "The first 7 of 9 parameters" in texts(drawn(pairs_figure(nine, [f"x{k}" for k in range(9)])))


@pytest.mark.parametrize("n", [50, 6000])
def test_residuals(n):
    figure = drawn(residual_figure(RNG.standard_normal(n), RNG.standard_normal(n)))
    assert [axis.get_xlabel() for axis in figure.axes] == ["fitted", "normal quantile"]


def test_predictive():
    figure = drawn(predictive_figure(RNG.standard_normal(80), RNG.standard_normal((20, 80)), "weight"))
    assert {"weight", "observed", "20 simulated from the posterior"} <= set(texts(figure))


def test_density_of_normal_draws():
    """Against the normal density itself; 100,000 draws and the bandwidth leave errors near 0.01."""
    grid, height = density(np.random.default_rng(1).standard_normal(100_000))
    np.testing.assert_allclose(height, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), atol=0.015)
    assert np.sum(height) * (grid[1] - grid[0]) == pytest.approx(1.0)


def test_shortened_labels():
    assert shorten("short") == "short"
    long = shorten("a" * 30 + "b" * 30)
    assert len(long) == 34
    assert long.startswith("aaa")
    assert long.endswith("bbb")
