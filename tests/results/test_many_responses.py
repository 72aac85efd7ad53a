import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def responses(sleepstudy):
    rng = np.random.default_rng(3)
    y = sleepstudy["Reaction"].to_numpy()
    made = {
        "same": y,
        "scaled": 1e3 * y - 7.0,
        "noisy": y + 80 * rng.normal(size=180),
        "noise": rng.normal(size=180),  # no groups at all: on the boundary
        "steep": y + np.repeat(40 * rng.normal(size=18), 10) * sleepstudy["Days"].to_numpy(),
    }
    return pd.DataFrame(made, index=sleepstudy.index)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_each_row_is_the_fit_of_its_response(sleepstudy, responses, method):
    table = blm.Model(FORMULA, sleepstudy).fit_many(responses, method)
    assert list(table.index) == list(responses.columns)
    for name in responses:
        alone = blm.lmm(FORMULA, sleepstudy.assign(Reaction=responses[name]), method)
        row = table.loc[name]
        assert row["status"] == alone.status.code
        assert row["objective"] == pytest.approx(alone.objective, abs=1e-6)
        np.testing.assert_allclose(row[["Intercept", "Days"]].astype(float), alone.fixef(), rtol=1e-4)
        errors = row[["std_error[Intercept]", "std_error[Days]"]].astype(float)
        np.testing.assert_allclose(errors, alone.coef_table()["std_error"], rtol=1e-3)
        assert row["sigma"] == pytest.approx(alone.sigma, rel=1e-3)
    assert table.loc["noise", "status"] == "boundary"


def test_arrays_workers_and_labels(sleepstudy, responses):
    model = blm.Model(FORMULA, sleepstudy)
    expected = model.fit_many(responses)
    by_place = model.fit_many(responses.to_numpy(), cores=2)
    assert list(by_place.index) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(by_place["Days"], expected["Days"])
    shuffled = responses.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(model.fit_many(shuffled), expected)


def test_a_constant_response_fails_alone(sleepstudy, responses):
    table = blm.Model(FORMULA, sleepstudy).fit_many(responses.assign(flat=1.0))
    assert list(table["status"] == "failed") == [False] * 5 + [True]
    assert np.isnan(table.loc["flat", "Days"])


def test_refusals(sleepstudy, responses):
    model = blm.Model(FORMULA, sleepstudy)
    with pytest.raises(blm.DataError, match="a row for each of the 180"):
        model.fit_many(responses.to_numpy()[1:])
    with pytest.raises(blm.DataError, match="Column 'noisy' of Y"):
        model.fit_many(responses.assign(noisy=np.nan))
    with pytest.raises(blm.DataError, match="row labels"):
        model.fit_many(responses.set_axis(range(1000, 1180)))
    with pytest.raises(blm.DataError, match="Y has no columns"):
        model.fit_many(responses[[]])
    for method in ("map", np.array(["reml", "ml"])):
        with pytest.raises(blm.OptionError, match="use 'reml', 'ml' or 'importance'"):
            model.fit_many(responses, method)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pd.date_range("2020", periods=180), "datetime64"),
        (["a"] * 180, "(str|object)"),
        (pd.Categorical([1, 2] * 90), "category"),
        (np.arange(180) + 1j, "complex128"),
    ],
)
def test_columns_that_hold_no_numbers_are_named(sleepstudy, responses, column, said):
    model = blm.Model(FORMULA, sleepstudy)
    with pytest.raises(blm.DataError, match=f"Column 'other' of Y holds {said}.* values, not numbers"):
        model.fit_many(responses.assign(other=column))


@pytest.mark.parametrize(
    "array", [np.full((180, 1), 1j), np.full((180, 1), "a"), np.full((180, 1), np.datetime64(1, "D"))]
)
def test_arrays_that_hold_no_numbers_are_refused(sleepstudy, array):
    with pytest.raises(blm.DataError, match="Y must hold numbers"):
        blm.Model(FORMULA, sleepstudy).fit_many(array)


def test_missing_values_of_nullable_columns_are_named(sleepstudy, responses):
    model = blm.Model(FORMULA, sleepstudy)
    for column in (pd.array([True, None] * 90, dtype="boolean"), pd.array([1, None] * 90, dtype="Int64")):
        with pytest.raises(blm.DataError, match="Column 'gap' of Y has missing"):
            model.fit_many(responses.assign(gap=column))


def test_numbers_of_every_kind_and_scale(sleepstudy):
    model, y = blm.Model(FORMULA, sleepstudy), sleepstudy["Reaction"]
    whole = y.round()
    kinds = {
        "float": whole, "int": whole.astype(int), "single": whole.astype("float32"), "null": whole.astype("Int64"),
        "object": whole.astype(object), "large": 1e8 * whole, "small": 1e-8 * whole, "shifted": whole + 1e8,
    }  # fmt: skip
    found = model.fit_many(pd.DataFrame(kinds))
    assert set(found["status"]) == {"converged"}
    scale = np.array([1, 1, 1, 1, 1, 1e8, 1e-8, 1])
    for name in ("Days", "sd_Subject[Days]", "sigma", "std_error[Days]"):
        np.testing.assert_allclose(found[name] / scale, found[name].iloc[0], rtol=1e-5)
    fortran = model.fit_many(np.asfortranarray(np.column_stack([whole, y > 300])))
    assert fortran.loc[0, "objective"] == pytest.approx(found["objective"].iloc[0], abs=1e-9)
    assert fortran["objective"].notna().all()
