"""Numbers of lmerTest and pbkrtest are from reference/reading_reference.json; the script that made it is beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.testing.contrasts import contrast_test, linear_functions
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reading_reference.json").read_text())
FORMULAS = {
    "sleep": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "rat_intercept": ("weight ~ litsize + treatment + sex + (1 | litter)", "ratpup"),
    "rat_interaction": ("weight ~ litsize + treatment * sex + (1 | litter)", "ratpup"),
}
DF = 1e-3  # relative: lmerTest differentiates numerically at an optimum good to 1e-5
STATISTIC = 1e-4
DENSE = 1e-5  # relative: central differences with steps of 1e-3 against exact matrices


@pytest.fixture(scope="module", params=FORMULAS)
def named_fit(request):
    formula, data = FORMULAS[request.param]
    return request.param, blm.lmm(formula, blm.load_dataset(data))


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_table_of_lmertest(named_fit, ddf):
    name, fit = named_fit
    expected = pd.DataFrame(REFERENCE["tests"][name][ddf.replace("-", "_")])
    table = fit.coef_table(ddf=ddf)
    assert list(table.columns) == ["estimate", "std_error", "df", "t", "p"]
    np.testing.assert_allclose(table["estimate"], expected["Estimate"], rtol=STATISTIC)
    np.testing.assert_allclose(table["df"], expected["df"], rtol=DF)
    np.testing.assert_allclose(table["std_error"], expected["Std. Error"], rtol=STATISTIC)
    np.testing.assert_allclose(table["t"], expected["t value"], rtol=STATISTIC)
    np.testing.assert_allclose(np.log(table["p"]), np.log(expected["Pr(>|t|)"]), rtol=DF)


def test_satterthwaite_is_what_none_means(named_fit):
    _, fit = named_fit
    pd.testing.assert_frame_equal(fit.coef_table(), fit.coef_table(ddf="satterthwaite"))
    assert "Satterthwaite" in str(fit.summary())


def test_joint_test_of_lmertest():
    """Without an interaction the type III test of treatment is that of its two coefficients."""
    fit = blm.lmm(FORMULAS["rat_intercept"][0], blm.load_dataset("ratpup"))
    rows = np.eye(fit.design.p)[2:4]
    for ddf in ("satterthwaite", "kenward-roger"):
        found = contrast_test(rows, fit._errors.find(ddf)[0])
        rows_of_r = REFERENCE["tests"]["rat_intercept"][f"anova_3_{ddf.replace('-', '_')}"]
        expected = next(row for row in rows_of_r if row["row"] == "treatment")
        assert found.df_num == expected["NumDF"]
        assert found.df_den == pytest.approx(expected["DenDF"], rel=DF)
        assert pytest.approx(expected["F value"], rel=STATISTIC) == found.F
        assert found.p == pytest.approx(expected["Pr(>F)"], rel=DF)


def test_rows_that_repeat_others_do_not_count():
    fit = blm.lmm(FORMULAS["rat_intercept"][0], blm.load_dataset("ratpup"))
    rows = np.eye(fit.design.p)[2:4]
    for ddf in ("kenward-roger", "normal"):
        errors = fit._errors.find(ddf)[0]
        once, twice = contrast_test(rows, errors), contrast_test(np.vstack([rows, rows.sum(axis=0)]), errors)
        assert twice.df_num == 2
        assert (twice.F, twice.p) == pytest.approx((once.F, once.p), rel=1e-9)


def crossed_data(seed=3, spread=1.0):
    rng = np.random.default_rng(seed)
    n = 240
    data = pd.DataFrame(
        {"g": rng.integers(0, 14, n), "h": rng.integers(0, 6, n), "x": rng.normal(3, 1, n), "w": rng.uniform(0.5, 2, n)}
    )
    g, h = rng.normal(size=(14, 2)), rng.normal(size=6)
    mean = spread * (g[data["g"], 0] + 0.5 * g[data["g"], 1] * data["x"] + h[data["h"]])
    data["y"] = 20 + data["x"] + mean + rng.normal(size=n)
    return data


def dense_kenward_roger(fit):
    """The formulas as pbkrtest writes them, with n x n matrices and one parameter per variance and covariance."""
    design = fit.design
    n, X = design.n, design.X
    w = np.ones(n) if design.weights is None else design.weights
    directions, V, start = [], np.diag(fit.sigma**2 / w), 0
    for term in design.terms:
        Z = (term.codes[:, None] == np.arange(term.n_levels)).astype(float)
        rows, columns = term.shape.free_entries
        factor = np.zeros((term.n_columns, term.n_columns))
        factor[rows, columns] = fit.theta[start : start + len(rows)]
        start += len(rows)

        def spread(E, Z=Z, term=term):
            return (term.columns @ E @ term.columns.T) * (Z @ Z.T)

        V = V + fit.sigma**2 * spread(factor @ factor.T)
        for i, j in zip(rows, columns, strict=True):
            E = np.zeros_like(factor)
            E[i, j] = E[j, i] = 1.0
            directions.append(spread(E))
    directions.append(np.diag(1 / w))
    inverse = np.linalg.inv(V)
    phi = np.linalg.inv(X.T @ inverse @ X)
    H = [G @ inverse for G in directions]
    P = [-X.T @ inverse @ h @ X for h in H]
    Q = [[X.T @ inverse @ h @ k @ X for k in H] for h in H]
    d = len(H)
    information = np.array(
        [
            [np.trace(H[i] @ H[j]) - 2 * np.trace(phi @ Q[i][j]) + np.trace(phi @ P[i] @ phi @ P[j]) for j in range(d)]
            for i in range(d)
        ]
    )
    units = np.sqrt(np.diag(information))
    W = 2 * np.linalg.inv(information / np.outer(units, units)) / np.outer(units, units)
    inner = sum(W[i, j] * (Q[i][j] - P[i] @ phi @ P[j]) for i in range(d) for j in range(d))
    slopes = np.array([phi @ p @ phi for p in P])
    return phi + 2 * phi @ inner @ phi, phi, slopes, W


@pytest.mark.parametrize(
    ("formula", "weights"),
    [
        ("y ~ x + (1 + x | g)", None),
        ("y ~ x + (1 + x || g)", "w"),
        ("y ~ x + (1 + x | g) + (1 | h)", "w"),
        ("y ~ x + (1 | g/h)", None),
        ("y ~ 0 + x + (0 + x | g) + (1 | h)", None),
    ],
)
def test_kenward_roger_is_that_of_dense_matrices(formula, weights):
    fit = blm.lmm(formula, crossed_data(), weights=weights)
    assert fit.status.code == "converged"
    adjusted, phi, slopes, W = dense_kenward_roger(fit)
    errors, _ = fit._errors.find("kenward-roger")
    np.testing.assert_allclose(errors.covariance, adjusted, rtol=DENSE, atol=DENSE * np.abs(adjusted).max())
    np.testing.assert_allclose(fit.vcov(), phi, rtol=1e-8)
    for row in [*np.eye(fit.design.p), np.arange(1.0, fit.design.p + 1)]:
        g = np.einsum("p,kpq,q->k", row, slopes, row)
        expected = 2 * (row @ phi @ row) ** 2 / (g @ W @ g)
        assert linear_functions(row, errors).df == pytest.approx(expected, rel=DENSE)


def test_kenward_roger_on_the_boundary():
    data = crossed_data().assign(h=lambda d: np.random.default_rng(1).permutation(d["h"]))  # says nothing of y
    fit = blm.lmm("y ~ x + (1 | g) + (1 | h)", data)
    assert fit.status.code == "boundary"
    adjusted, *_ = dense_kenward_roger(fit)
    errors, _ = fit._errors.find("kenward-roger")
    np.testing.assert_allclose(errors.covariance, adjusted, rtol=1e-3)  # moved inside by 1e-5 of the error variance
    assert fit.coef_table()["df"].between(1, len(data)).all()


def test_without_random_terms_t_is_exact():
    data = crossed_data()
    fit = blm.lmm("y ~ x", data)
    table = fit.coef_table()
    assert table["df"].tolist() == [238, 238]
    pd.testing.assert_frame_equal(table, fit.coef_table(ddf="residual"))
    np.testing.assert_allclose(fit.coef_table(ddf="satterthwaite")["df"], 238, rtol=1e-10)
    np.testing.assert_allclose(fit.coef_table(ddf="kenward-roger")["df"], 238, rtol=1e-10)
    expected = np.linalg.inv(fit.design.X.T @ fit.design.X) * fit.residuals().pow(2).sum() / 238
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(expected)))


def test_units_do_not_matter():
    data = crossed_data()
    fit = blm.lmm("y ~ x + (1 + x | g)", data)
    other = blm.lmm("y ~ x + (1 + x | g)", data.assign(x=data["x"] * 1e4, y=data["y"] * 1e-3))
    for ddf in ("satterthwaite", "kenward-roger"):
        np.testing.assert_allclose(
            other.coef_table(ddf=ddf)[["df", "t"]], fit.coef_table(ddf=ddf)[["df", "t"]], rtol=1e-4
        )


def test_balanced_design_has_the_df_of_its_anova():
    """One observation of each treatment in each block: treatments are compared within, with (a - 1)(b - 1) df."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame([(b, t) for b in range(12) for t in "abc"], columns=["block", "t"])
    frame["y"] = rng.normal(size=36) + 3 * rng.normal(size=12)[frame["block"]]
    for ddf in ("satterthwaite", "kenward-roger"):
        table = blm.lmm("y ~ t + (1 | block)", frame).coef_table(ddf=ddf)
        np.testing.assert_allclose(table["df"][["t[T.b]", "t[T.c]"]], 22, rtol=1e-5)


def test_many_rows_and_many_groups_are_normal():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(1100), 2), "x": rng.normal(size=2200)})
    data["y"] = rng.normal(size=1100)[data["g"]] + rng.normal(size=2200)
    table = blm.lmm("y ~ x + (1 | g)", data).coef_table()
    assert list(table.columns) == ["estimate", "std_error", "z", "p"]
    assert "df" in blm.lmm("y ~ x + (1 | g)", data).coef_table(ddf="satterthwaite")


def test_known_sigma_has_no_degrees_of_freedom_without_groups():
    fit = blm.lmm("y ~ x", crossed_data(), sigma=2.0)
    assert "z" in fit.coef_table()
    assert np.isinf(fit.coef_table(ddf="residual")["df"]).all()
    assert np.isinf(fit.coef_table(ddf="satterthwaite")["df"]).all()


def test_limits_are_those_of_t():
    fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    limits = fit.confint(0.95)
    half = 2.570581835636314 * 19.383414  # the 97.5% point of t with 5 df, and lme4's standard error
    assert limits.loc["Intercept", "upper"] - limits.loc["Intercept", "lower"] == pytest.approx(2 * half, rel=1e-4)


def test_normal_errors_have_no_df():
    errors = ErrorsOfEstimation(np.array([1.0, 2.0]), np.eye(2))
    found = contrast_test(np.eye(2), errors)
    assert (found.F, found.df_num, found.df_den) == (2.5, 2, np.inf)
    assert found.p == pytest.approx(np.exp(-2.5))  # chi-square with two df
    assert np.isnan(contrast_test(np.zeros((1, 2)), errors).p)


@pytest.mark.parametrize(
    ("method", "ddf", "said"),
    [
        ("reml", "kenward", "use one of 'satterthwaite'"),
        ("reml", "residual", "without random terms"),
        ("ml", "kenward-roger", "fit with method='reml'"),
        ("map", "satterthwaite", "posterior mode"),
    ],
)
def test_refusals(method, ddf, said):
    fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), method)
    with pytest.raises(blm.OptionError, match=said):
        fit.coef_table(ddf=ddf)
