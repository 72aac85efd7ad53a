"""Average differences over the rows, against predictions of changed rows and the delta method written out."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import bayeslmm as blm

RATS = "weight ~ litsize * treatment + sex + (1 | litter)"


@pytest.fixture(scope="module")
def rats():
    return blm.load_dataset("ratpup")


@pytest.fixture(scope="module")
def fit(rats):
    return blm.lmm(RATS, rats)


@pytest.fixture(scope="module")
def herds():
    model = blm.Model(
        "cbind(incidence, size - incidence) ~ period + x + (1 | herd)",
        blm.load_dataset("cbpp").assign(x=lambda d: np.sin(np.arange(len(d)))), family="binomial",
    )  # fmt: skip
    return model.fit("ml")


def changed(frame, **values):
    return frame.assign(
        **{name: pd.Series([v] * len(frame), frame.index, frame[name].dtype) for name, v in values.items()}
    )


def test_levels_are_averages_of_predictions(fit, rats):
    table = fit.comparisons("treatment").table().set_index("contrast")
    means = {v: fit.predict(changed(rats, treatment=v), kind="population").mean() for v in ("Control", "High", "Low")}
    assert table.loc["High - Control", "estimate"] == pytest.approx(means["High"] - means["Control"], rel=1e-9)
    assert table.loc["Low - Control", "estimate"] == pytest.approx(means["Low"] - means["Control"], rel=1e-9)


def test_errors_are_those_of_the_linear_function(fit, rats):
    mean = rats["litsize"].mean()
    L = np.array([1.0, mean])
    names = ["treatment[T.High]", "litsize:treatment[T.High]"]
    vcov = fit.vcov().loc[names, names].to_numpy()
    row = fit.comparisons("treatment", ddf="normal").table().iloc[0]
    assert row["std_error"] == pytest.approx(np.sqrt(L @ vcov @ L), rel=1e-9)
    assert row["df"] == np.inf


def test_without_interactions_it_is_the_coefficient(rats):
    plain = blm.lmm("weight ~ litsize + treatment + sex + (1 | litter)", rats)
    for call, name in (("treatment", "treatment[T.High]"), ("litsize", "litsize")):
        row, coefficient = plain.comparisons(call).table().iloc[0], plain.coef_table(0.95).loc[name]
        for column in ("estimate", "std_error", "df", "t", "p", "lower", "upper"):
            assert row[column] == pytest.approx(coefficient[column], rel=1e-6), column


def test_groups_and_steps(fit, rats):
    table = fit.comparisons("litsize | treatment", step=(8, 12)).table().set_index("treatment")
    for name, rows in rats.groupby("treatment", observed=True):
        high, low = (fit.predict(rows.assign(litsize=v), kind="population").mean() for v in (12, 8))
        assert table.loc[name, "estimate"] == pytest.approx(high - low, rel=1e-9)
    by_sd = fit.comparisons("litsize", step="sd").table()["estimate"].iloc[0]
    assert by_sd == pytest.approx(fit.comparisons("litsize").table()["estimate"].iloc[0] * rats["litsize"].std())
    assert list(fit.comparisons("treatment", contrast="pairwise").table()["contrast"]) == [
        "Control - High", "Control - Low", "High - Low",
    ]  # fmt: skip
    assert list(fit.comparisons("treatment", at={"treatment": ["Low", "High"]}).table()["contrast"]) == ["High - Low"]


def test_probabilities_by_the_delta_method(herds):
    """The average difference of probabilities as a function of beta, its gradient by differences."""
    design = herds.design
    X, beta = design.X, herds.fixef().to_numpy()
    names = list(design.fixed_names)

    def difference(beta):
        rows = []
        for level in (2, 1):
            changed_rows = X.copy()
            for k in (2, 3, 4):
                changed_rows[:, names.index(f"period[T.{k}]")] = level == k
            rows.append(expit(changed_rows @ beta).mean())
        return rows[0] - rows[1]

    gradient = np.array([(difference(beta + h) - difference(beta - h)) / 2e-6 for h in 1e-6 * np.eye(len(beta))])
    row = herds.comparisons("period").table().iloc[0]
    assert row["estimate"] == pytest.approx(difference(beta), rel=1e-8)
    assert row["std_error"] == pytest.approx(np.sqrt(gradient @ herds.vcov().to_numpy() @ gradient), rel=1e-5)
    on_link = herds.comparisons("period", scale="link").table().iloc[0]
    assert on_link["estimate"] == pytest.approx(beta[names.index("period[T.2]")])


def test_draws_of_a_posterior(herds):
    posterior = blm.Model(herds.formula, herds.design.data, family="binomial").fit(
        "importance", draws=50, seed=1, progressbar=False
    )
    found = posterior.comparisons("x", step=0.5)
    X, names = posterior.design.X, list(posterior.design.fixed_names)
    moved = X.copy()
    moved[:, names.index("x")] += 0.5
    draws = posterior.idata.posterior["beta"].to_numpy().reshape(-1, X.shape[1])
    expected = expit(draws @ moved.T).mean(axis=1) - expit(draws @ X.T).mean(axis=1)
    np.testing.assert_allclose(found.draws[:, 0], expected, rtol=1e-8)
    assert found.table()["mean"].iloc[0] == pytest.approx(expected.mean())


def test_chunks_do_not_matter(fit, herds, monkeypatch):
    whole = [fit.comparisons("treatment").table(), herds.comparisons("period").table()]
    monkeypatch.setattr("bayeslmm.effects.counterfactual.CHUNK", 7)
    for one, other in zip(
        whole, [fit.comparisons("treatment").table(), herds.comparisons("period").table()], strict=True
    ):
        pd.testing.assert_frame_equal(one, other)


def test_an_empty_cell_is_named(rats):
    data = rats[~((rats["treatment"] == "High") & (rats["sex"] == "Male"))]
    table = blm.lmm("weight ~ treatment * sex + (1 | litter)", data).comparisons("treatment").table()
    table = table.set_index("contrast")
    assert np.isnan(table.loc["High - Control", "estimate"])
    assert "not estimable" in table.loc["High - Control", "note"]
    assert np.isfinite(table.loc["Low - Control", "estimate"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variable": "treatment * sex"}, "one variable"),
        ({"variable": "litter"}, "no predictor 'litter'"),
        ({"variable": "treatment", "step": 2}, "step= is for numbers"),
        ({"variable": "litsize", "step": "range"}, "step='range'"),
        ({"variable": "litsize", "step": 0}, "zero"),
        ({"variable": "treatment", "at": {"sex": ["Male", "Female"]}}, "several values of 'sex'"),
        ({"variable": "treatment", "at": {"treatment": "Low"}}, "one level"),
        ({"variable": "treatment", "at": {"treatment": ["Low", "Huge"]}}, "no level 'Huge'"),
        ({"variable": "treatment", "contrast": "tukey"}, "tukey"),
        ({"variable": "treatment", "scale": "log"}, "scale='log'"),
    ],
)
def test_refused(fit, arguments, message):
    with pytest.raises(blm.BayeslmmError, match=message):
        fit.comparisons(**arguments)


def test_groups_by_their_own_argument(fit):
    pd.testing.assert_frame_equal(
        fit.comparisons("litsize", by="treatment").table(), fit.comparisons("litsize | treatment").table()
    )


def test_a_column_left_out_that_is_zero_in_all_rows_compared(rats):
    some = rats[(rats["treatment"] != "Low") | (rats["sex"] != "Male")]
    fit = blm.Model("weight ~ treatment * sex + (1 | litter)", some).fit("reml")
    table = fit.comparisons("treatment", by="sex", at={"treatment": ["Control", "High"]}).table()
    assert table["estimate"].notna().all()
