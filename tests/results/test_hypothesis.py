import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm

import bayeslmm as blm
from bayeslmm.formula.statement import parse_statement


@pytest.fixture(scope="module")
def rats():
    return blm.lmm("weight ~ litsize + treatment * sex + (1 | litter)", blm.load_dataset("ratpup"))


def test_statements_of_coefficients_are_their_tests(reml):
    table = reml.coef_table(0.95)
    found = reml.hypothesis("Days = 0", "Days > 0", "Days < 0", "2 * Days - 20 = 0", "0 = Intercept")
    assert list(found.columns) == ["estimate", "std_error", "df", "t", "p", "lower", "upper"]
    assert found.index.name == "statement"
    for name in ("estimate", "std_error", "df", "t", "p", "lower", "upper"):
        assert found.loc["Days = 0", name] == pytest.approx(table.loc["Days", name], rel=1e-12)
    assert found.loc["Days > 0", "p"] == pytest.approx(table.loc["Days", "p"] / 2)
    assert found.loc["Days < 0", "p"] == pytest.approx(1 - table.loc["Days", "p"] / 2)
    twice = found.loc["2 * Days - 20 = 0"]
    assert twice["estimate"] == pytest.approx(2 * table.loc["Days", "estimate"] - 20)
    assert twice["t"] == pytest.approx(twice["estimate"] / (2 * table.loc["Days", "std_error"]))
    assert found.loc["0 = Intercept", "t"] == pytest.approx(-table.loc["Intercept", "t"])


def test_levels_of_factors(rats):
    found = rats.hypothesis(
        "treatment[High] - treatment[Low] = 0",
        "treatment[T.High] - treatment[T.Low] = 0",
        "treatment[High] = treatment[Control]",
        "treatment[T.High]:sex[T.Female] = 0",
        ddf="kenward-roger",
    )
    beta = rats.fixef()
    assert found["estimate"].iloc[0] == pytest.approx(beta["treatment[T.High]"] - beta["treatment[T.Low]"])
    np.testing.assert_allclose(found.iloc[0], found.iloc[1])
    table = rats.coef_table(ddf="kenward-roger")
    assert found["t"].iloc[2] == pytest.approx(table.loc["treatment[T.High]", "t"])
    assert found["df"].iloc[3] == pytest.approx(table.loc["treatment[T.High]:sex[T.Female]", "df"])


def test_covariance_parameters_by_the_likelihood(reml):
    """At the end of a 90% profile interval the one-sided p value is 5%."""
    limits = reml.confint(0.9, method="profile")
    for name in ("sd_Subject[Days]", "cor_Subject[Intercept, Days]", "sigma"):
        low, high = limits.loc[name]
        found = reml.hypothesis(
            f"{name} > {low:.12g}", f"2 * {name} < {2 * high:.12g}", f"{name} = {low:.12g}", level=0.9
        )
        np.testing.assert_allclose(found["p"], [0.05, 0.05, 0.1], rtol=5e-3)
    row = reml.hypothesis("sd_Subject[Days] > 5").iloc[0]
    assert row["estimate"] == pytest.approx(5.92 - 5, abs=0.01)  # lme4's REML estimate


def test_posterior(bayes):
    beta = bayes.draws.beta.reshape(-1, 2)
    found = bayes.hypothesis(
        "Days > 9", "Days < 9", "Intercept / Days > 20", "sd_Subject[Days]**2 / sigma > 1", level=0.9
    )
    assert list(found.columns) == ["mean", "sd", "lower", "upper", "probability", "bayes_factor"]
    assert found["mean"].iloc[0] == pytest.approx(beta[:, 1].mean() - 9)
    assert found["probability"].iloc[0] == np.mean(beta[:, 1] > 9)
    assert found["probability"].iloc[:2].sum() == pytest.approx(1)
    assert found["probability"].iloc[2] == np.mean(beta[:, 0] / beta[:, 1] > 20)
    assert found["lower"].iloc[0] == pytest.approx(np.quantile(beta[:, 1], 0.05) - 9)
    assert found["bayes_factor"].isna().all()


def test_savage_dickey_is_the_ratio_of_evidences():
    """With the covariance parameters fixed both densities are normal, and the ratio is that of two evidences."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(2, 1, 40)})
    data["y"] = 0.3 * data["x"] + rng.normal(size=40)
    priors = {"Intercept": "Normal(0, 3)", "x": "Normal(0, 2)"}
    fit = blm.Model("y ~ x", data, sigma=1.0, priors=priors).fit("importance", draws=200, chains=1, seed=1)
    for value in (0.0, 0.2):
        found = fit.hypothesis(f"x = {value}")["bayes_factor"].iloc[0]
        # the intercept's prior holds at the mean of x
        columns = np.column_stack([np.ones(40), data["x"] - data["x"].mean()])
        wide = columns @ np.diag([9.0, 4.0]) @ columns.T + np.eye(40)
        narrow = columns[:, :1] @ columns[:, :1].T * 9.0 + np.eye(40)
        ratio = multivariate_normal.logpdf(data["y"] - value * columns[:, 1], cov=narrow)
        ratio -= multivariate_normal.logpdf(data["y"], cov=wide)
        assert found == pytest.approx(np.exp(ratio), rel=1e-6)


def test_savage_dickey_averages_over_draws(sleepstudy):
    """Near the posterior's centre its density is nearly that of the normal with its mean and sd."""
    model = blm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, priors={"Days": "Normal(0, 20)"})
    fit = model.fit("importance", draws=1000, chains=1, seed=1)
    row = fit.hypothesis("Days = 10.5").iloc[0]
    expected = norm.pdf(0, row["mean"], row["sd"]) / norm.pdf(10.5, 0, 20)
    assert row["bayes_factor"] == pytest.approx(expected, rel=0.15)
    assert fit.hypothesis("Days**2 = 4", "sigma = 20")["bayes_factor"].isna().all()


def test_reading():
    values = {"a": 2.0, "b[T.x y]": 3.0, "poly(d, 2)[1]": 5.0, "é!": 7.0}
    for text, expected in [
        ("a + b[T.x y] * 2 = 1", 7.0),
        ("-a**2 < (a - 1) / 2", -4.5),
        ("poly(d, 2)[1] >= 1e1", -5.0),
        ("`é!` == a", 5.0),
    ]:
        assert parse_statement(text, values).quantity(values) == expected
    assert parse_statement("a >= 1", values).relation == ">"
    assert parse_statement("b[T.x y] = a", values).parameters == ("b[T.x y]", "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Dyas > 0", "did you mean 'Days'"),
        ("Days", "a statement compares"),
        ("Days > 0 > 1", "should end here"),
        ("Days + > 0", "missing here"),
        ("1 > 0", "no parameter"),
        ("Days ** Days > 0", "whole number"),
        ("Days.__class__ > 0", "leading underscores"),
        ("exp(Days) > 0", "no parameter 'exp'"),
        ("(Days > 0", "never closed"),
    ],
)
def test_statements_that_cannot_be_read(reml, text, said):
    with pytest.raises(blm.FormulaError, match=said):
        reml.hypothesis(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Days * Intercept > 0", "must be linear"),
        ("1 / Days > 0", "must be linear"),
        ("Days - Days = 0", "cancel"),
        ("sigma > Days", "stand alone"),
    ],
)
def test_statements_that_a_point_fit_cannot_test(reml, text, said):
    with pytest.raises(blm.OptionError, match=said):
        reml.hypothesis(text)
    with pytest.raises(blm.OptionError, match="needs a statement"):
        reml.hypothesis()
