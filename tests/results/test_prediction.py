import numpy as np
import pandas as pd
import pytest
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.inference.draws import Draws
from bayeslmm.results import PosteriorFit
from bayeslmm.results.posterior_prediction import cholesky, flatten

NORMAL_90 = 1.6448536269514722  # the 95% quantile of the standard normal
EXACT = 1e-8  # two ways of solving the same equations


def kriging_variance(fit, x, z, group):
    """The variance of the error of x'b + z'u from the covariance of all observations, written out densely."""
    design = fit.design
    term = design.terms[0]
    varcorr = fit.varcorr()
    sd = varcorr["sd"].dropna().to_numpy()[:-1]
    correlation = varcorr["correlation"].dropna().to_numpy()
    sigma = np.diag(sd**2)
    if len(correlation):
        sigma[0, 1] = sigma[1, 0] = correlation[0] * sd[0] * sd[1]
    same = term.codes[:, None] == term.codes[None, :]
    weights = np.ones(design.n) if design.weights is None else design.weights
    V = same * (term.columns @ sigma @ term.columns.T) + np.diag(fit.sigma**2 / weights)
    c = (term.codes == group) * (term.columns @ sigma @ z)
    Vc, VX = np.linalg.solve(V, c), np.linalg.solve(V, design.X)
    left = x - design.X.T @ Vc
    return z @ sigma @ z - c @ Vc + left @ np.linalg.solve(design.X.T @ VX, left)


def half_widths(frame):
    return ((frame["upper"] - frame["lower"]) / 2).to_numpy()


@pytest.mark.parametrize("weighted", [False, True])
def test_interval_of_a_point_fit(sleepstudy, weighted):
    data = sleepstudy.assign(w=1.0 + sleepstudy["Days"] % 3)
    fit = blm.lmm("Reaction ~ Days + (Days | Subject)", data, weights="w" if weighted else None)
    new = data.iloc[[0, 57]].assign(Days=[3.5, 12.0])
    found = fit.predict(new, interval=0.9)
    term = fit.design.terms[0]
    for row, days, half in zip([0, 57], [3.5, 12.0], half_widths(found), strict=True):
        x = np.array([1.0, days])
        variance = kriging_variance(fit, x, x, term.codes[row]) + fit.sigma**2
        assert half == pytest.approx(NORMAL_90 * np.sqrt(variance), rel=EXACT)
    assert found["prediction"].iloc[0] == pytest.approx(fit.predict(new).iloc[0])


def test_interval_of_training_rows_uses_their_weights(sleepstudy):
    data = sleepstudy.assign(w=np.where(sleepstudy.index % 2, 1.0, 4.0))
    fit = blm.lmm("Reaction ~ Days + (Days | Subject)", data, weights="w")
    inside = half_widths(fit.predict(interval=0.9))
    apart = half_widths(fit.predict(data, interval=0.9))
    np.testing.assert_allclose(inside**2, apart**2 - NORMAL_90**2 * fit.sigma**2 * (1 - 1 / data["w"]), rtol=EXACT)


def test_marginal_and_new_groups_of_a_point_fit(reml, sleepstudy):
    new = sleepstudy.head(3).assign(Subject=999)
    fixed = reml.fixef()
    expected = fixed["Intercept"] + fixed["Days"] * new["Days"]
    for options in ({"kind": "marginal"}, {"new_levels": "population"}, {"new_levels": "sample"}):
        np.testing.assert_allclose(reml.predict(new, **options), expected)
    marginal = half_widths(reml.predict(new, kind="marginal", interval=0.9))
    sample = half_widths(reml.predict(new, new_levels="sample", interval=0.9))
    population = half_widths(reml.predict(new, interval=0.9, new_levels="population"))
    np.testing.assert_allclose(marginal, sample, rtol=EXACT)
    days = new["Days"].to_numpy()
    x = np.column_stack([np.ones(3), days])
    beta_part = np.einsum("ij,jk,ik->i", x, reml.vcov(), x)
    np.testing.assert_allclose(population, NORMAL_90 * np.sqrt(beta_part + reml.sigma**2), rtol=EXACT)
    assert (sample > population).all()


def test_sds_of_effects_with_the_error_of_the_coefficients(reml):
    """The variance of b - b_hat from the covariance of all observations, written out densely."""
    frame = reml.ranef_sd(coefficients="estimated")["Subject"]
    for group in (0, 7):
        for s in range(2):
            z = np.eye(2)[s]
            variance = kriging_variance(reml, np.zeros(2), z, group)
            assert frame.iloc[group, s] == pytest.approx(np.sqrt(variance), rel=EXACT)
    assert (frame > reml.ranef_sd()["Subject"]).all(axis=None)
    with pytest.raises(blm.OptionError, match="'known' or 'estimated'"):
        reml.ranef_sd(coefficients="no")


def test_shifted_columns_keep_their_intervals(sleepstudy):
    """Intervals do not depend on where Days starts: the equations are solved in centred columns."""
    far = sleepstudy.assign(Days=sleepstudy["Days"] + 1e5)
    near = blm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy).predict(interval=0.5)
    moved = blm.lmm("Reaction ~ Days + (Days | Subject)", far).predict(interval=0.5)
    np.testing.assert_allclose(half_widths(moved), half_widths(near), rtol=1e-4)


def test_crossed_design_interval_matches_dense_equations(crossed):
    fit = crossed.fit("reml")
    design = fit.design
    varcorr = fit.varcorr()
    sds = varcorr["sd"].to_numpy()[:-1]
    parts = [np.eye(t.n_levels)[t.codes] * t.columns * sd for t, sd in zip(design.terms, sds, strict=True)]
    M = np.hstack([*parts, design.X])
    q = M.shape[1] - design.p
    A = (M.T * design.weights) @ M / fit.sigma**2 + np.diag(np.r_[np.ones(q), np.zeros(design.p)])
    variance = np.einsum("ij,jk,ik->i", M, np.linalg.pinv(A, rcond=1e-14), M) + fit.sigma**2 / design.weights
    found = half_widths(fit.predict(interval=0.9))
    np.testing.assert_allclose(found, NORMAL_90 * np.sqrt(variance), rtol=1e-6)


def test_unknown_levels_can_be_refused(reml, bayes, sleepstudy):
    new = sleepstudy.head(2).assign(Subject=[308, 999])
    for fit in (reml, bayes):
        with pytest.raises(blm.DataError, match=r"Row 1 has the level 999 of 'Subject'.*new_levels=\"sample\""):
            fit.predict(new)
        assert np.isfinite(fit.predict(new, kind="marginal", new_levels="error")).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "fixed"}, "'mean', 'response', 'conditional', 'marginal'"),
        ({"random": "Subject"}, r"use random=\['Subject'\]"),
        ({"random": ["subject"]}, "the terms are 'Subject'"),
        ({"uncertainty": "all"}, "'conditional' or 'full'"),
        ({"new_levels": "drop"}, "'population', 'sample', 'error'"),
        ({"interval": 90}, "between 0 and 1"),
    ],
)
def test_bad_options_list_the_good_ones(reml, options, words):
    with pytest.raises(blm.OptionError, match=words):
        reml.predict(**options)


def test_new_data_lacking_a_column(reml, sleepstudy):
    with pytest.raises(blm.DataError, match="Days"):
        reml.predict(sleepstudy.drop(columns="Days"))


def test_index_of_the_rows_is_kept(reml, sleepstudy):
    new = sleepstudy.head(3).set_axis(["a", "b", "c"])
    assert list(reml.predict(new).index) == ["a", "b", "c"]
    assert list(reml.predict(new, interval=0.5).columns) == ["prediction", "lower", "upper"]


# -- posterior ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(model, reml):
    """Enough draws that quantiles are good to a few percent."""
    return PosteriorFit(model.design, model.spec, draws_around(reml, chains=2, length=4000, seed=5))


def brute_force(fit, row, rng):
    """New observations of one training row, draw by draw."""
    flat = flatten(fit.draws)
    term = fit.design.terms[0]
    values = np.empty(len(flat.sigma))
    for d in range(len(values)):
        b = flat.effects[0][d, term.codes[row]]
        mean = fit.design.X[row] @ flat.beta[d] + term.columns[row] @ b
        values[d] = mean + flat.sigma[d] * rng.standard_normal()
    return values


def test_posterior_interval_covers_simulated_observations(many):
    found = many.predict(interval=0.8, seed=1)
    for row in (0, 77):
        values = brute_force(many, row, np.random.default_rng(row))
        covered = np.mean((values > found["lower"].iloc[row]) & (values < found["upper"].iloc[row]))
        assert covered == pytest.approx(0.8, abs=0.02)  # Monte Carlo error of 8,000 draws: 0.0045, on both sides
        assert found["prediction"].iloc[row] == pytest.approx(values.mean(), abs=2.5)


def test_posterior_prediction_of_new_groups(many, sleepstudy):
    new = sleepstudy.head(4).assign(Subject=[999, 999, 308, 1000])
    mean = many.predict(new, new_levels="population")
    fixed = many.fixef()
    assert mean.iloc[0] == pytest.approx(fixed["Intercept"] + fixed["Days"] * new["Days"].iloc[0])
    widths = {
        levels: half_widths(many.predict(new, interval=0.8, new_levels=levels, seed=2))
        for levels in ("population", "sample")
    }
    flat = flatten(many.draws)
    z = np.array([1.0, new["Days"].iloc[0]])
    variance = np.mean(flat.sigma**2) + np.var(flat.beta @ z)
    variance_of_group = np.mean(np.sum(np.einsum("dst,s->dt", flat.factors[0], z) ** 2, axis=1))
    assert widths["population"][0] == pytest.approx(1.2816 * np.sqrt(variance), rel=0.05)
    assert widths["sample"][0] == pytest.approx(1.2816 * np.sqrt(variance + variance_of_group), rel=0.05)
    assert widths["sample"][2] == pytest.approx(widths["population"][2], rel=0.05)
    marginal = half_widths(many.predict(new, kind="marginal", interval=0.8, seed=3))
    assert marginal[0] == pytest.approx(widths["sample"][0], rel=0.05)


def test_rows_of_one_new_group_share_its_effects(model, reml):
    """With almost no residual, two rows of one new group at the same Days must be predicted alike."""
    draws = draws_around(reml, chains=1, length=400)
    quiet = Draws(draws.beta, draws.sigma * 1e-9, draws.sd, draws.cor, draws.effects, {}, "nuts", {"tune": 1})
    fit = PosteriorFit(model.design, model.spec, quiet)
    new = pd.DataFrame({"Days": [2.0, 2.0, 2.0], "Subject": [999, 999, 1000]})
    limits = fit.predict(new, interval=0.5, new_levels="sample", seed=1)["upper"].to_numpy()
    assert limits[0] == pytest.approx(limits[1], rel=1e-6)
    assert limits[0] != pytest.approx(limits[2], rel=1e-6)


def test_same_seed_same_interval(bayes, sleepstudy):
    first, second, other = (bayes.predict(sleepstudy.head(5), interval=0.9, seed=seed)["lower"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).all()


def test_cholesky_of_singular_correlations():
    matrices = np.array([[[1, 1], [1, 1]], [[1, -0.5], [-0.5, 1]]], dtype=float)
    factors = cholesky(matrices)
    np.testing.assert_allclose(factors @ np.swapaxes(factors, 1, 2), matrices, atol=1e-12)


# -- rows that cannot be predicted as they are --------------------------------------------------------------


def test_a_new_subject_at_day_zero(sleepstudy):
    """Variances between subjects, of the residual and of the intercept's estimate add up, by hand."""
    fit = blm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy)
    new = pd.DataFrame({"Days": [0.0], "Subject": [1]})
    found = fit.predict(new, new_levels="sample", interval=0.95)
    varcorr = fit.varcorr()["variance"].dropna()
    variance = varcorr.iloc[0] + varcorr.iloc[-1] + fit.vcov().iloc[0, 0]
    assert half_widths(found)[0] == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)
    assert found.round(0).iloc[0].tolist() == [251, 180, 322]  # sqrt(24.74² + 25.59² + 6.82²) * 1.96 = 71


@pytest.mark.parametrize("kind", ["marginal", "population"])
def test_the_population_needs_no_groups(reml, bayes, sleepstudy, kind):
    new = sleepstudy[["Days"]].head(3)
    with_groups = sleepstudy.head(3)
    for fit in (reml, bayes):
        for options in ({}, {"interval": 0.9, "seed": 1}):
            expected = fit.predict(with_groups, kind="marginal", **options)
            np.testing.assert_allclose(fit.predict(new, kind=kind, **options), expected)


def test_rows_with_missing_values_are_nan(reml, bayes, sleepstudy):
    new = sleepstudy.head(3).assign(Days=[0.0, np.nan, 2.0]).set_axis(["a", "a", "b"])
    for fit in (reml, bayes):
        found = fit.predict(new)
        assert (
            list(found.index) == ["a", "a", "b"] and np.isnan(found.iloc[1]) and np.isfinite(found.iloc[[0, 2]]).all()
        )
        assert found.iloc[2] == pytest.approx(fit.predict(sleepstudy.iloc[[2]]).iloc[0])
        assert fit.predict(new, interval=0.9, seed=1).iloc[1].isna().all()
    assert reml.predict(new.assign(Days=np.nan)).isna().all()


@pytest.fixture(scope="module")
def missing_cell():
    """Two crossed categories, one combination without data."""
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"a": rng.choice(list("pq"), 80), "b": rng.choice(list("uvw"), 80), "g": np.arange(80) % 8})
    data["y"] = rng.normal(size=80)
    seen = data[~((data["a"] == "q") & (data["b"] == "w"))]
    return blm.Model("y ~ a * b + (1 | g)", seen), pd.DataFrame(
        {"a": ["p", "q", "q"], "b": ["w", "w", "v"], "g": [1, 1, 2]}
    )


def test_a_cell_without_data_is_not_estimable(missing_cell):
    model, new = missing_cell
    fit = model.fit("reml")
    assert fit.dropped_columns == ("a[T.q]:b[T.w]",)
    with pytest.warns(UserWarning, match=r"1 row, first of row 1, is not estimable.*'a\[T.q\]:b\[T.w\]'"):
        plain = fit.predict(new)
    assert np.isfinite(plain).all()
    with pytest.warns(UserWarning, match="predicted as NaN"):
        limits = fit.predict(new, interval=0.9)
    assert limits.isna().all(axis=1).tolist() == [False, True, False]
    assert fit.predict(new, estimable="nan").isna().tolist() == [False, True, False]
    np.testing.assert_array_equal(fit.predict(new, estimable="ignore"), plain)
    with pytest.raises(blm.DataError, match="row 1, is not estimable"):
        fit.predict(new, estimable="error")
    with pytest.raises(blm.OptionError, match="'error', 'nan', 'ignore'"):
        fit.predict(new, estimable="no")
    assert np.isfinite(fit.predict(new.iloc[[0, 2]], estimable="error")).all()


def test_collinear_columns_that_stay_collinear_are_estimable(sleepstudy):
    data = sleepstudy.assign(hours=sleepstudy["Days"] * 24.0 + 5)
    fit = blm.lmm("Reaction ~ Days + hours + (1 | Subject)", data)
    assert np.isfinite(fit.predict(data.head(4), estimable="error")).all()
    with pytest.raises(blm.DataError, match="not estimable"):
        fit.predict(data.head(4).assign(hours=0.0), estimable="error")
