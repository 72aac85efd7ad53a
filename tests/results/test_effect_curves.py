"""What the picture of an effect shows, against predictions."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.results.effect_curves import effect_curves

matplotlib.use("agg")


@pytest.fixture(scope="module")
def sleep():
    return blm.lmm("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def rats():
    return blm.lmm("weight ~ litsize * treatment + sex + (1 | litter)", blm.load_dataset("ratpup"))


def curves(fit, variable, by=None, group=None, points=True, level=0.9):
    return effect_curves(fit, variable, by, group, points, level)


def test_curves_of_groups_are_their_predictions(sleep):
    found = curves(sleep, "Days")
    subjects = list(dict.fromkeys(sleep.design.data["Subject"]))
    assert found.groups["group"].nunique() == len(subjects)
    for number in (0, 7):
        own = found.groups[found.groups["group"] == number]
        rows = pd.DataFrame({"Days": own["x"], "Subject": subjects[number]})
        np.testing.assert_allclose(own["mean"], sleep.predict(rows), rtol=1e-9)


def test_the_band_is_that_of_the_means(rats):
    found = curves(rats, "litsize", "treatment").means
    at = np.linspace(rats.design.data["litsize"].min(), rats.design.data["litsize"].max(), 60)
    table = rats.means("litsize | treatment", at={"litsize": at}).table(0.9)
    for column in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(found[column], table[column])


def test_a_litter_has_the_colour_of_its_treatment(rats):
    found = curves(rats, "litsize", "treatment")
    litters = rats.design.data.drop_duplicates(["litter", "treatment"])
    assert (
        found.groups.drop_duplicates("group")["by"].value_counts().to_dict()
        == litters["treatment"].value_counts().to_dict()
    )


def test_counts_are_shown_on_their_own_scale():
    ticks = blm.load_dataset("grouseticks")
    fit = blm.Model("TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD)", ticks, family="poisson").fit("ml")
    found = curves(fit, "HEIGHT", "YEAR", points=True)
    at = found.means["x"].unique()
    rows = pd.DataFrame({"HEIGHT": at, "YEAR": pd.Categorical([96] * len(at), ticks["YEAR"].cat.categories)})
    rows["BROOD"] = ticks["BROOD"].iloc[0]
    expected = fit.predict(rows, random="none")
    np.testing.assert_allclose(found.means[found.means["by"] == 96]["estimate"], expected, rtol=1e-8)
    assert found.points["y"].max() == ticks["TICKS"].max()
    year = found.groups[found.groups["by"] == ticks["YEAR"].iloc[0]]
    first = year[year["group"] == 0]
    rows = rows.assign(YEAR=ticks["YEAR"].iloc[0])
    np.testing.assert_allclose(first["mean"], fit.predict(rows), rtol=1e-8)


def test_a_posterior_without_kept_effects_and_a_number_by_another():
    model = blm.Model("weight ~ litsize * pup_id + (1 | litter)", blm.load_dataset("ratpup"))
    fit = model.fit("importance", draws=200, seed=1, store=(), progressbar=False)
    found = curves(fit, "litsize", "pup_id")
    assert found.groups.empty
    assert found.means["by"].nunique() == 3
    assert set(found.points["by"]) == set(found.means["by"])
    fit.plot("effects", "litsize", by="pup_id")


def test_drawn_into_axes_that_are_given(sleep, rats):
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 2)
    assert sleep.plot("effects", "Days", ax=axes[0]) is axes[0].get_figure()
    rats.plot("effects", "treatment", by="sex", ax=axes[1])
    assert axes[0].get_xlabel() == "Days"
    assert [tick.get_text() for tick in axes[1].get_xticklabels()] == ["Control", "High", "Low"]
    assert len(sleep.plot("effects", "Days", group="", points=False).axes[0].lines) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a predictor"),
        ({"variable": "Subject"}, "no predictor 'Subject'"),
        ({"variable": "Days", "by": "Days"}, "name another predictor"),
        ({"variable": "Days", "group": "litter"}, "'litter' is no grouping factor"),
        ({"variable": "Days", "colour": "red"}, "no option 'colour'"),
    ],
)
def test_refused(sleep, options, message):
    with pytest.raises(blm.BayeslmmError, match=message):
        sleep.plot("effects", **options)
