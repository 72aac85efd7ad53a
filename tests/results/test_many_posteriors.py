"""Posteriors of many responses, against the posterior of each alone."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.results.comparison import estimates

FORMULA = "Reaction ~ Days + (Days | Subject)"
ERRORS = 5  # Monte Carlo errors that two means of independent draws may lie apart
DRAWS = 1000


@pytest.fixture(scope="module")
def responses(sleepstudy):
    rng = np.random.default_rng(3)
    y = sleepstudy["Reaction"].to_numpy()
    return pd.DataFrame({"same": y, "large": 1e4 * y, "noise": rng.normal(size=len(y)), "flat": 1.0})


@pytest.fixture(scope="module")
def table(sleepstudy, responses):
    return blm.Model(FORMULA, sleepstudy).fit_many(responses, "importance", draws=DRAWS, seed=1)


def close_to(row, fit):
    """Assert that means and limits are those of the draws of a fit."""
    for name, alone in estimates(fit).iterrows():
        error = alone["sd"] / np.sqrt(0.5 * DRAWS)  # of weighted draws, of which some are alike
        assert abs(row[name] - alone["mean"]) < ERRORS * error
        assert row[f"std_error[{name}]"] == pytest.approx(alone["sd"], rel=0.25)
        assert row[f"lower[{name}]"] < row[name] < row[f"upper[{name}]"]


@pytest.mark.parametrize("name", ["same", "large", "noise"])
def test_each_row_is_the_posterior_of_its_response(sleepstudy, responses, table, name):
    alone = blm.Model(FORMULA, sleepstudy.assign(Reaction=responses[name])).fit("importance", seed=7)
    close_to(table.loc[name], alone)
    assert table.loc[name, "status"] == "ok"
    assert table.loc[name, "log_evidence"] == pytest.approx(alone.info["log_evidence"], abs=0.1)


def test_a_constant_response_fails_alone(table):
    assert table.loc["flat", "status"] == "failed"
    assert table.loc["flat"].drop("status").isna().all()


def test_draws_depend_on_seed_and_place_only(sleepstudy, responses, table):
    model = blm.Model(FORMULA, sleepstudy)
    again = model.fit_many(responses.sample(frac=1, random_state=1), "importance", draws=DRAWS, seed=1, cores=2)
    pd.testing.assert_frame_equal(again, table)
    other = model.fit_many(responses[["same"]], "importance", draws=DRAWS, seed=2)
    assert other.loc["same", "Days"] != table.loc["same", "Days"]


def test_crossed_terms_with_offset_stated_priors_and_a_collinear_column():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": rng.integers(0, 8, 160), "h": rng.integers(0, 6, 160), "x": rng.normal(size=160)})
    data = data.assign(z=2 * data["x"], o=rng.normal(size=160))
    data["y"] = data["x"] + rng.normal(size=8)[data["g"]] + rng.normal(size=6)[data["h"]] + rng.normal(size=160)
    options = {"priors": {"sigma": "HalfNormal(2)"}, "offset": "o"}
    other = 3 + data["y"] + 0.5 * data["x"]
    formula = "y ~ x + z + (1 | g) + (1 | h)"
    row = blm.Model(formula, data, **options).fit_many(other.to_numpy()[:, None], "importance", draws=DRAWS, seed=1)
    close_to(row.iloc[0], blm.Model(formula, data.assign(y=other), **options).fit("importance", seed=4))


def test_families_have_posteriors_of_other_responses_too():
    ticks = blm.load_dataset("grouseticks")
    model = blm.Model("TICKS ~ cHEIGHT + (1 | BROOD)", ticks, family="poisson")
    other = np.random.default_rng(1).permutation(ticks["TICKS"].to_numpy())
    row = model.fit_many(pd.DataFrame({"shuffled": other}), "importance", draws=DRAWS, seed=2).loc["shuffled"]
    close_to(row, blm.Model(model.formula, ticks.assign(TICKS=other), family="poisson").fit("importance", seed=4))
    assert row["status"] == "ok"


def test_refusals(sleepstudy, responses):
    model = blm.Model(FORMULA, sleepstudy)
    with pytest.raises(blm.DataError, match="Column 'large' of Y"):
        model.fit_many(responses.assign(large=np.inf), "importance")
    with pytest.raises(blm.OptionError, match="draws"):
        model.fit_many(responses, "importance", draws=0)
    counts = blm.Model("TICKS ~ 1 + (1 | BROOD)", blm.load_dataset("grouseticks"), family="poisson")
    with pytest.raises(blm.DataError, match="Column 1 of Y is negative in 403 rows"):
        counts.fit_many(np.tile([1.0, -1.0], (403, 1)), "importance")
