import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

ROWS = [
    "Intercept",
    "Days",
    "sd_Subject[Intercept]",
    "sd_Subject[Days]",
    "cor_Subject[Intercept, Days]",
    "sigma",
]


def test_rows_and_columns(reml, bayes):
    table = blm.compare(reml, bayes)
    assert isinstance(table, pd.DataFrame)
    assert list(table.index) == ROWS
    assert list(table.columns) == [
        ("reml", "estimate"),
        ("reml", "std_error"),
        *[("nuts", name) for name in ("mean", "sd", "lower", "upper")],
    ]
    varcorr = reml.varcorr()
    assert table.loc["Days", ("reml", "estimate")] == reml.fixef()["Days"]
    assert table.loc["sd_Subject[Days]", ("reml", "estimate")] == varcorr["sd"].iloc[1]
    assert table.loc["cor_Subject[Intercept, Days]", ("reml", "estimate")] == varcorr["correlation"].iloc[2]
    assert table.loc["sigma", ("nuts", "mean")] == pytest.approx(bayes.sigma)
    assert table.loc["Days", ("nuts", "upper")] == bayes.coef_table()["upper"]["Days"]
    assert np.isnan(table.loc["sd_Subject[Days]", ("reml", "std_error")])


def test_printing_keeps_everything(reml, bayes):
    text = str(blm.compare(reml, bayes))
    assert repr(blm.compare(reml, bayes)) == text
    assert len({len(line) for line in text.splitlines()[2:]}) == 1
    for part in (*ROWS, "estimate", "std_error", "lower", "reml", "nuts", "251.41", "6.82", "24.74", "0.066"):
        assert part in text, part
    assert "nan" not in text
    assert "<table" in blm.compare(reml, bayes)._repr_html_()


def test_several_fits_of_different_models(reml, bayes, sleepstudy):
    simple = blm.lmm("Reaction ~ 1 + (1 | Subject)", sleepstudy, "ml")
    table = blm.compare(simple, reml, bayes, bayes, names=None)
    assert list(table.index) == ROWS
    assert list(dict.fromkeys(fit for fit, _ in table.columns)) == ["ml", "reml", "nuts", "nuts 2"]
    assert np.isnan(table.loc["Days", ("ml", "estimate")])
    named = blm.compare(simple, reml, names=["without", "with"])
    assert named["with"]["estimate"]["Days"] == reml.fixef()["Days"]


def test_slices_are_ordinary_frames(reml, bayes):
    assert type(blm.compare(reml, bayes)["reml"]) is pd.DataFrame


@pytest.mark.parametrize("arguments", [(), (1,)])
def test_too_few(reml, arguments):
    with pytest.raises(blm.OptionError, match="two fits"):
        blm.compare(*[reml for _ in arguments])


def test_not_a_fit(reml, bayes):
    with pytest.raises(blm.OptionError, match="DataFrame"):
        blm.compare(reml, reml.varcorr())
    with pytest.raises(blm.OptionError, match="one name"):
        blm.compare(reml, bayes, names=["a", "a"])


def test_the_level_of_the_limits_is_said(reml, bayes):
    text = str(blm.compare(reml, bayes, level=0.9))
    assert "nuts (90% limits)" in text.splitlines()[0]
    assert "nuts (90% limits)" in blm.compare(reml, bayes, level=0.9)._repr_html_()
    assert "limits" not in str(blm.compare(reml, reml))


def test_computed_intervals_of_a_point_fit_are_shown(sleepstudy):
    fit = blm.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy)
    other = blm.lmm("Reaction ~ 1 + (1 | Subject)", sleepstudy)
    assert ("reml", "lower") not in blm.compare(fit, other).columns
    limits = fit.confint(method="profile")
    table = blm.compare(fit, other)
    assert table.loc["sd_Subject[Intercept]", ("reml", "lower")] == limits.loc["sd_Subject[Intercept]", "lower"]
    assert table.loc["Days", ("reml", "upper")] == limits.loc["Days", "upper"]
    assert "95% limits" in str(table)
