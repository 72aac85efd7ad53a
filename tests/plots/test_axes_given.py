"""Pictures of one panel draw into axes they are given, and leave the rest of that figure alone."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import bayeslmm as blm
from bayeslmm.plots.elbo import elbo_figure
from bayeslmm.plots.energy import energy_figure


@pytest.fixture(scope="module")
def rats():
    model = blm.Model("weight ~ litsize + treatment * sex + (1 | litter)", blm.load_dataset("ratpup"))
    return model.fit("importance", draws=200, seed=1)


@pytest.fixture
def pair():
    figure = Figure()
    return figure.subplots(1, 2)


DRAWN = {
    "means": lambda fit, ax: fit.means("treatment").plot(ax=ax),
    "curve": lambda fit, ax: fit.means("litsize * sex", at={"litsize": range(6, 13)}).plot(ax=ax),
    "contrasts": lambda fit, ax: fit.means("treatment").contrast().plot(ax=ax),
    "comparisons": lambda fit, ax: fit.comparisons("treatment").plot(ax=ax),
    "shrinkage": lambda fit, ax: fit.plot("shrinkage", ax=ax),
    "effects": lambda fit, ax: fit.plot("effects", "litsize", by="sex", ax=ax),
    "ppc": lambda fit, ax: fit.plot("ppc", n_draws=5, seed=1, ax=ax),
    "statistic": lambda fit, ax: fit.ppc("sd", seed=1).plot(ax=ax),
    "levels": lambda fit, ax: fit.ppc("group means", seed=1).plot(ax=ax),
    "density": lambda fit, ax: fit.ppc("density", seed=1).plot(ax=ax),
    "energy": lambda fit, ax: energy_figure(np.random.default_rng(1).normal(size=(2, 50)), ax),
    "elbo": lambda fit, ax: elbo_figure(-1.0 / np.arange(1, 200.0), ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_axes_given_are_drawn_into(rats, pair, name):
    left, right = pair
    figure = DRAWN[name](rats, left)
    assert figure is left.get_figure()
    assert left.has_data()
    assert not right.has_data()
    assert not figure.legends  # a legend belongs to the axes, beside which others may stand
    figure.savefig("/dev/null", format="png")


def test_panels_need_a_figure_of_their_own(rats, pair):
    with pytest.raises(blm.OptionError, match="2 panels"):
        rats.means("treatment | sex").plot(ax=pair[0])
    with pytest.raises(blm.OptionError, match="not str"):
        rats.means("treatment").plot(ax="left")


def _overlaps(figure):
    """Return how many labels of ticks, titles and legends cover one another, as drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    found = 0
    for axis in figure.axes:
        for labels in (axis.get_yticklabels(), axis.get_xticklabels()):
            shown = [label for label in labels if label.get_text() and label.get_visible()]
            assert not any(label.get_rotation() % 90 for label in shown)  # whose boxes would say nothing
            boxes = [label.get_window_extent() for label in shown]
            found += sum(a.overlaps(b) for a, b in pairwise(boxes))
    return found


def test_thirty_levels_with_long_names_do_not_overlap():
    rng = np.random.default_rng(4)
    names = [f"a rather long name of cultivar number {k} $x_{k}" for k in range(30)]
    data = pd.DataFrame({"kind": np.repeat(names, 6), "block of the field": np.tile(range(6), 30)})
    data["y"] = rng.normal(size=180) + np.repeat(rng.normal(size=30), 6)
    fit = blm.Model("y ~ kind + (1 | `block of the field`)", data).fit("reml")
    pictures = {
        "means": fit.means("kind").plot(),
        "comparisons": fit.comparisons("kind").plot(),
        "effects": fit.plot("effects", "kind"),
        "forest": fit.plot("forest"),
        "influence": fit.influence("row").plot(),
    }
    assert {name: _overlaps(figure) for name, figure in pictures.items()} == dict.fromkeys(pictures, 0)
