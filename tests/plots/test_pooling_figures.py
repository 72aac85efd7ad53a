"""Shrinkage, ranks and energy."""

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.plots.energy import energy_figure
from bayeslmm.plots.rank import rank_figure
from bayeslmm.results.shrinkage import pooling


@pytest.fixture(scope="module")
def sleep():
    return blm.lmm("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))


def test_no_pooling_is_least_squares_of_each_group(sleep):
    separate, pooled, common = pooling(sleep, "Subject")
    data = blm.load_dataset("sleepstudy")
    for subject in (308, 350):
        own = data[data["Subject"] == subject]
        slope, intercept = np.polyfit(own["Days"], own["Reaction"], 1)
        np.testing.assert_allclose(separate.loc[subject], [intercept, slope], rtol=1e-8)
    slope, intercept = np.polyfit(data["Days"], data["Reaction"], 1)
    np.testing.assert_allclose(common, [intercept, slope], rtol=1e-8)
    np.testing.assert_allclose(pooled["Days"], sleep.fixef()["Days"] + sleep.ranef()["Subject"]["Days"])
    spread = separate.std() / pooled.std()
    assert (spread > 1).all()


def test_groups_with_too_few_rows_have_no_estimate_of_their_own():
    data = blm.load_dataset("sleepstudy").iloc[:31]
    separate, pooled, _ = pooling(blm.lmm("Reaction ~ Days + (Days | Subject)", data), "Subject")
    assert separate.iloc[-1].isna().all() and pooled.notna().all(axis=None)


def test_pictures_are_drawn(sleep, tmp_path):
    sleep.plot("shrinkage").savefig(tmp_path / "two.png")
    one = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    one.plot("shrinkage", group="Batch").savefig(tmp_path / "one.png")
    with pytest.raises(blm.OptionError, match="no random term 'day'"):
        sleep.plot("shrinkage", group="day")
    rng = np.random.default_rng(1)
    rank_figure(rng.normal(size=(4, 200, 5)), list("abcde")).savefig(tmp_path / "rank.png")
    energy_figure(rng.normal(size=(4, 200))).savefig(tmp_path / "energy.png")
