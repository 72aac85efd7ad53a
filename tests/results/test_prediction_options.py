"""What is predicted, whose effects are in, and limits that allow for the error of theta and sigma."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.results import PosteriorFit
from bayeslmm.results import posterior_prediction as blocks
from bayeslmm.results.posterior_prediction import flatten

NORMAL_90 = 1.6448536269514722
EXACT = 1e-8  # two ways of solving the same equations
QUADRATURE = 1e-6  # central differences for the Hessian


def half_widths(frame):
    return ((frame["upper"] - frame["lower"]) / 2).to_numpy()


@pytest.fixture(scope="module")
def two_terms():
    """Crossed groups."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=240), "a": np.repeat(np.arange(12), 20), "b": np.tile(np.arange(8), 30)})
    data["y"] = data.x + rng.normal(size=12)[data.a] + 2 * rng.normal(size=8)[data.b] + rng.normal(size=240)
    return blm.Model("y ~ x + (1 | a) + (1 | b)", data), data


def test_a_mean_has_no_residual_in_its_limits(reml, sleepstudy):
    mean, response = (half_widths(reml.predict(kind=kind, interval=0.9)) for kind in ("mean", "response"))
    np.testing.assert_allclose(response**2 - mean**2, (NORMAL_90 * reml.sigma) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(half_widths(reml.predict(kind="conditional", interval=0.9)), response)
    typical = reml.predict(sleepstudy[["Days"]].head(3), kind="mean", random="none", interval=0.9)
    x = np.column_stack([np.ones(3), [0.0, 1.0, 2.0]])
    expected = NORMAL_90 * np.sqrt(np.einsum("ij,jk,ik->i", x, reml.vcov(), x))
    np.testing.assert_allclose(half_widths(typical), expected, rtol=EXACT)
    population = reml.predict(sleepstudy[["Days"]].head(3), kind="mean", random="marginal", interval=0.9)
    np.testing.assert_allclose(population, typical, rtol=EXACT)


def test_the_effects_of_some_terms(two_terms):
    model, data = two_terms
    fit = model.fit("reml")
    fixed = fit.fixef()["Intercept"] + fit.fixef()["x"] * data.x
    a = fit.ranef()["a"]["Intercept"].to_numpy()[data.a]
    np.testing.assert_allclose(fit.predict(data, random=["a"]), fixed + a, rtol=EXACT)
    np.testing.assert_allclose(fit.predict(data, random=[]), fixed, rtol=EXACT)
    np.testing.assert_allclose(fit.predict(data, random=["a", "b"]), fit.predict(data), rtol=EXACT)
    new = data.head(2).assign(b=99)
    assert np.isfinite(fit.predict(new, random=["a"])).all()
    with pytest.raises(blm.DataError, match="level 99 of 'b'"):
        fit.predict(new, random=["b"])


def test_limits_with_the_effects_of_one_term_by_dense_equations(two_terms):
    model, _ = two_terms
    fit = model.fit("reml")
    terms = fit.design.terms
    sds = fit.varcorr()["sd"].to_numpy()[:-1]
    Z = [np.eye(t.n_levels)[t.codes] * sd for t, sd in zip(terms, sds, strict=True)]
    M = np.hstack([*Z, fit.design.X])
    q = M.shape[1] - fit.design.p
    A = M.T @ M / fit.sigma**2 + np.diag(np.r_[np.ones(q), np.zeros(fit.design.p)])
    wanted = np.hstack([Z[0], np.zeros_like(Z[1]), fit.design.X])
    expected = NORMAL_90 * np.sqrt(np.einsum("ij,jk,ik->i", wanted, np.linalg.inv(A), wanted))
    found = half_widths(fit.predict(kind="mean", random=["a"], interval=0.9))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# -- the error of theta and sigma ---------------------------------------------------------------------------


def test_without_random_terms_the_limits_are_exact():
    """Student's t with n - p degrees of freedom."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=9)})
    data["y"] = data.x + rng.normal(size=9)
    fit = blm.lmm("y ~ x", data)
    X = np.column_stack([np.ones(9), data.x])
    variance = fit.sigma**2 * (1 + np.einsum("ij,jk,ik->i", X, np.linalg.inv(X.T @ X), X))
    found = half_widths(fit.predict(interval=0.9, uncertainty="full"))
    np.testing.assert_allclose(found, stats.t(7).ppf(0.95) * np.sqrt(variance), rtol=EXACT)


def test_limits_of_a_new_group_in_a_balanced_design():
    """The mean of a new group: J groups of m rows tell its variance with J - 1 degrees of freedom, and no more."""
    rng = np.random.default_rng(5)
    groups, rows = 6, 500
    data = pd.DataFrame({"g": np.repeat(np.arange(groups), rows)})
    data["y"] = rng.normal(size=groups)[data.g] + 0.1 * rng.normal(size=groups * rows)
    fit = blm.lmm("y ~ 1 + (1 | g)", data)
    new = pd.DataFrame({"g": [99]})
    options = {"kind": "mean", "new_levels": "sample", "interval": 0.95}
    known = half_widths(fit.predict(new, **options))[0]
    full = half_widths(fit.predict(new, uncertainty="full", **options))[0]
    assert known == pytest.approx(1.959964 * np.sqrt(np.var(data.groupby("g").y.mean(), ddof=1) * 7 / 6), rel=1e-3)
    # the exact limits are t with 5 df, 2.57 to 1.96; theta is no linear function of the variance: a few percent
    assert full / known == pytest.approx(stats.t(groups - 1).ppf(0.975) / 1.959964, rel=0.12)


def test_limits_that_know_less_are_wider(reml, sleepstudy):
    new = sleepstudy.head(3).assign(Subject=[308, 308, 999])
    options = {"new_levels": "sample", "interval": 0.95}
    known, full = reml.predict(new, **options), reml.predict(new, uncertainty="full", **options)
    np.testing.assert_allclose(full["prediction"], known["prediction"])
    ratio = half_widths(full) / half_widths(known)
    assert (ratio > 1).all() and ratio[2] > ratio[0]


def test_a_variance_estimated_as_zero_may_not_be_zero():
    rng = np.random.default_rng(2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        data = pd.DataFrame({"g": np.repeat(np.arange(5), 4), "y": rng.normal(size=20)})
        fit = blm.lmm("y ~ 1 + (1 | g)", data)
        if fit.status.code == "boundary":
            break
    new = pd.DataFrame({"g": [99]})
    options = {"kind": "mean", "new_levels": "sample", "interval": 0.95}
    known, full = (half_widths(fit.predict(new, uncertainty=u, **options))[0] for u in ("conditional", "full"))
    assert full > 1.3 * known


def test_the_mode_of_a_posterior_has_no_such_limits(sleepstudy):
    fit = blm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).fit("map")
    with pytest.raises(blm.OptionError, match="predict from a posterior"):
        fit.predict(interval=0.9, uncertainty="full")


# -- posterior ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(model, reml):
    """Enough draws that quantiles are good to a few percent."""
    return PosteriorFit(model.design, model.spec, draws_around(reml, chains=2, length=2000, seed=5))


def test_posterior_limits_of_a_mean_are_quantiles_of_the_draws(many):
    found = many.predict(kind="mean", interval=0.8)
    flat = flatten(many.draws)
    term = many.design.terms[0]
    for row in (0, 77):
        values = flat.beta @ many.design.X[row] + flat.effects[0][:, term.codes[row]] @ term.columns[row]
        np.testing.assert_allclose(found.iloc[row, 1:], np.quantile(values, [0.1, 0.9]), rtol=1e-9)
        assert found["prediction"].iloc[row] == pytest.approx(values.mean())
    typical = many.predict(kind="mean", random="none", interval=0.8)
    values = flat.beta @ many.design.X[3]
    np.testing.assert_allclose(typical.iloc[3, 1:], np.quantile(values, [0.1, 0.9]), rtol=1e-9)
    np.testing.assert_allclose(many.predict(kind="mean", random="marginal", interval=0.8), typical)


def test_memory_does_not_grow_with_draws_times_rows(many, sleepstudy, monkeypatch):
    """4,000 draws of 3,600 rows are 115 MB; rows in batches of five need a hundredth, with new groups, too."""
    monkeypatch.setattr(blocks, "BATCH", 20_000)
    new = pd.concat([sleepstudy] * 20, ignore_index=True)
    new["Subject"] = np.where(new.index % 2, new["Subject"], 1000 + new.index)
    flatten(many.draws)
    tracemalloc.start()
    found = many.predict(new, interval=0.9, new_levels="sample", seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (3600, 3)
    assert peak < 12e6


def test_batches_do_not_change_what_rows_of_a_group_share(many, sleepstudy, monkeypatch):
    new = sleepstudy.assign(Subject=np.where(sleepstudy.index % 3, 999, 998))
    options = {"kind": "mean", "interval": 0.9, "new_levels": "sample", "seed": 4}
    whole = many.predict(new, **options)
    monkeypatch.setattr(blocks, "BATCH", 4_000 * 7)
    pd.testing.assert_frame_equal(many.predict(new, **options), whole)


# -- simulation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["reml", "many"])
def test_simulated_responses_have_the_moments_of_the_model(which, request, reml, sleepstudy):
    """Mean X beta, covariance Z Sigma Z' + sigma², of the rows of one subject."""
    fit = request.getfixturevalue(which)
    simulated = fit.simulate(4000, seed=1)
    assert list(simulated.index) == list(fit.design.index)
    Z = np.column_stack([np.ones(10), np.arange(10)])
    varcorr = reml.varcorr()
    sd, correlation = varcorr["sd"].to_numpy()[:2], varcorr["correlation"].dropna().iloc[0]
    covariance = np.diag(sd) @ np.array([[1, correlation], [correlation, 1]]) @ np.diag(sd)
    V = Z @ covariance @ Z.T + reml.sigma**2 * np.eye(10)
    found = np.cov(simulated.iloc[:10])
    assert np.abs(np.diag(found) / np.diag(V) - 1).max() < 0.15  # draws vary around the fit, and 4,000 by 2%
    mean = (Z @ reml.fixef().to_numpy()) - simulated.iloc[:10].mean(axis=1)
    assert np.abs(mean / np.sqrt(np.diag(V) / 4000)).max() < 5
    between = np.corrcoef(simulated.iloc[0], simulated.iloc[15])[0, 1]
    assert abs(between) < 0.08  # another subject


@pytest.mark.parametrize("which", ["reml", "many"])
def test_simulation_at_the_effects_of_the_fit(which, request, sleepstudy):
    fit = request.getfixturevalue(which)
    simulated = fit.simulate(2000, random="conditional", seed=1)
    error = (simulated.mean(axis=1) - fit.fitted()) / (simulated.std(axis=1) / np.sqrt(2000))
    assert np.abs(error).max() < 5
    new = sleepstudy.head(4).assign(Subject=[308, 308, 999, 999], Days=[0.0, np.nan, 9.0, 9.0]).set_axis(list("pqrs"))
    found = fit.simulate(500, new, random="conditional", seed=2)
    assert found.loc["q"].isna().all() and np.isfinite(found.drop("q")).all(axis=None)
    assert found.loc["r"].std() > 1.5 * found.loc["p"].std()
    assert np.corrcoef(found.loc["r"], found.loc["s"])[0, 1] > 0.5  # one new subject


def test_simulation_is_reproducible_and_refuses_other_words(reml, many):
    for fit in (reml, many):
        pd.testing.assert_frame_equal(fit.simulate(3, seed=7), fit.simulate(3, seed=7))
        with pytest.raises(blm.OptionError, match="'new' or 'conditional'"):
            fit.simulate(3, random="old")
        with pytest.raises(blm.OptionError, match="n="):
            fit.simulate(0)


def test_weights_of_the_rows_of_the_fit(sleepstudy):
    data = sleepstudy.assign(w=np.where(sleepstudy.index % 2, 1.0, 16.0))
    fit = blm.lmm("Reaction ~ Days + (1 | Subject)", data, weights="w")
    sds = fit.simulate(1000, random="conditional", seed=1).std(axis=1)
    assert sds[1::2].mean() / sds[::2].mean() == pytest.approx(4, rel=0.03)
