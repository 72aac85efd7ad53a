import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.intervals.bootstrap import bca_limits, kernel_of_levels
from bayeslmm.results.refits import fitted_model

SLEEP = "Reaction ~ Days + (Days | Subject)"
OBJECTIVE = 1e-6  # how far from the full search's optimum a refit may end


@pytest.fixture(scope="module")
def sleep():
    return blm.lmm(SLEEP, blm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def booted(sleep):
    return sleep.bootstrap(400, seed=1)


def crossed(n=150, seed=2):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": rng.integers(0, 12, n), "h": rng.integers(0, 7, n), "w": rng.uniform(0.5, 2, n)})
    data["y"] = rng.normal(size=12)[data["g"]] + rng.normal(size=7)[data["h"]] + rng.normal(size=n)
    return data


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        (SLEEP, {}),
        ("Reaction ~ Days + (1 + Days || Subject)", {"sigma": 25.0}),
        ("y ~ 1 + (1 | g) + (1 | h)", {"weights": "w"}),
        ("y ~ 1 + (1 | g)", {"weights": "w"}),
        ("y ~ 1 + w", {}),
    ],
)
def test_refits_end_where_the_full_search_does(formula, options, method):
    data = blm.load_dataset("sleepstudy") if "Days" in formula else crossed()
    fit = blm.lmm(formula, data, method, **options)
    model = fitted_model(fit)
    codes = set()
    for seed in range(12):
        y = model.simulate(np.random.default_rng(seed))
        found = model.refitter.fit(model.structure.at(y))
        expected = fit.refit(y)
        codes.add(expected.status.code)
        assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)
        assert found.code == expected.status.code
        np.testing.assert_allclose(found.beta, expected.modes.beta, rtol=1e-4)
        assert found.sigma == pytest.approx(expected.sigma, rel=1e-4)
    assert "failed" not in codes


def test_errors_of_coefficients_are_those_of_the_model(sleep, booted):
    """REML's errors of beta are unbiased, and 400 replicates give an sd within 15% (4 standard errors)."""
    found = booted.table.loc[["Intercept", "Days"]]
    np.testing.assert_allclose(found["std_error"], sleep.coef_table()["std_error"], rtol=0.15)
    assert (found["bias"].abs() < 4 * found["std_error"] / 20).all()
    assert list(booted.replicates.columns) == [
        "Intercept", "Days", "sd_Subject[Intercept]", "sd_Subject[Days]", "cor_Subject[Intercept, Days]",
        "sigma",
    ]  # fmt: skip


def test_simulated_responses_have_the_marginal_covariance(sleep):
    model = fitted_model(sleep)
    draws = np.array([model.simulate(np.random.default_rng(seed)) for seed in range(4000)])
    Z = sleep.design.terms[0].columns[:10]
    expected = Z @ model.factors[0] @ model.factors[0].T @ Z.T + sleep.sigma**2 * np.eye(10)
    found = np.cov(draws[:, :10].T)
    np.testing.assert_allclose(found, expected, atol=0.1 * np.diag(expected).max())
    assert abs(np.cov(draws[:, 0], draws[:, 10])[0, 1]) < 0.1 * expected[0, 0]  # two subjects


def test_intervals(booted):
    limits = booted.confint(0.9)
    np.testing.assert_allclose(limits["lower"], booted.replicates.quantile(0.05))
    corrected = booted.confint(0.9, "bca")
    assert (corrected["lower"] < booted.estimate).all()
    assert (corrected["upper"] > booted.estimate).all()
    assert not np.allclose(corrected, limits)
    assert "400 replicates; 0 failed" in repr(booted)


def test_bca_of_crossed_factors_says_what_to_do():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"a": np.arange(40) % 5, "b": np.arange(40) // 5, "y": rng.standard_normal(40)})
    data["y"] += rng.standard_normal(5)[data.a] + rng.standard_normal(8)[data.b]
    booted = blm.Model("y ~ 1 + (1 | a) + (1 | b)", data).fit("reml").bootstrap(10, seed=1, progressbar=False)
    with pytest.raises(blm.OptionError, match="kind='percentile'"):
        booted.confint(kind="bca")


def test_bca_of_a_skewed_mean():
    """Efron (1987): with bias z0 and acceleration a the limits are the quantiles of z0 + (z0 + z)/(1 - a(z0 + z))."""
    values = np.arange(1, 1001.0)[:, None]
    flat = bca_limits(values, np.array([500.5]), np.ones((5, 1)), 0.9)
    np.testing.assert_allclose(np.ravel(flat), np.quantile(values, [0.05, 0.95]), rtol=1e-6)
    skewed = bca_limits(values, np.array([500.5]), np.array([[0.0], [0.0], [0.0], [-4.0]]), 0.9)
    change = np.array([-1.0, -1.0, -1.0, 3.0])
    a = np.sum(change**3) / (6 * np.sum(change**2) ** 1.5)
    z = np.array([-1.6448536269514722, 1.6448536269514722])
    from scipy.stats import norm

    np.testing.assert_allclose(np.ravel(skewed), np.quantile(values, norm.cdf(z / (1 - a * z))), rtol=1e-6)


def test_same_result_for_any_number_of_workers():
    fit = blm.lmm("y ~ 1 + (1 | g)", crossed())
    alone, shared = (fit.bootstrap(120, seed=3, cores=cores).replicates for cores in (1, 2))
    pd.testing.assert_frame_equal(alone, shared)
    assert not fit.bootstrap(120, seed=4).replicates.equals(alone)


def test_a_statistic_of_drawn_groups_is_that_of_their_fit(sleep):
    """The same levels are drawn with a statistic and without one, so the same fits come out."""
    plain = sleep.bootstrap(6, seed=4, kind="groups")
    own = sleep.bootstrap(6, seed=4, kind="groups", statistic=lambda fit: fit.fixef())
    np.testing.assert_allclose(own.replicates["Days"], plain.replicates["Days"])
    labels = sleep.bootstrap(2, seed=4, kind="groups", statistic=lambda fit: len(set(fit.ranef()["Subject"].index)))
    assert list(labels.replicates["statistic"]) == [18, 18]
    means = sleep.bootstrap(3, seed=4, kind="groups", statistic=lambda fit: fit.fitted().mean())
    assert means.replicates["statistic"].between(250, 350).all()


def test_statistic(sleep):
    by_name = sleep.bootstrap(10, seed=1, statistic=lambda fit: fit.fixef())
    np.testing.assert_allclose(
        by_name.replicates, sleep.bootstrap(10, seed=1).replicates[["Intercept", "Days"]], rtol=1e-4
    )
    ratio = sleep.bootstrap(5, seed=1, statistic=lambda fit: fit.theta[0] ** 2)
    assert list(ratio.replicates.columns) == ["statistic"]
    assert ratio.estimate["statistic"] == pytest.approx(sleep.theta[0] ** 2)


def test_levels_drawn_twice_are_two_levels(sleep):
    data = blm.load_dataset("sleepstudy")
    codes = sleep.design.terms[0].codes
    kernel = kernel_of_levels(sleep.design, codes, np.array([0, 0, 3, 5, 7, 9, 11, 13]))
    names = sleep.design.terms[0].levels[[0, 0, 3, 5, 7, 9, 11, 13]]
    parts = [data[data["Subject"] == name].assign(Subject=k) for k, name in enumerate(names)]
    expected = blm.Model(SLEEP, pd.concat(parts)).objective([1.0, 0.1, 0.2], "reml")
    assert kernel.objective([1.0, 0.1, 0.2], "reml") == pytest.approx(expected, rel=1e-12)


def test_by_groups(sleep):
    found = sleep.bootstrap(150, seed=1, kind="groups")
    np.testing.assert_allclose(
        found.table.loc[["Intercept", "Days"], "std_error"], sleep.coef_table()["std_error"], rtol=0.3
    )
    nested = blm.lmm("weight ~ 1 + (1 | treatment/litter)", blm.load_dataset("ratpup"))
    assert len(nested.bootstrap(5, seed=1, kind="groups").replicates) >= 2


def test_confint(sleep):
    limits = sleep.confint(0.9, method="bootstrap", parameters=["Days", "sigma"], n=50, seed=2)
    pd.testing.assert_frame_equal(limits, sleep.bootstrap(50, seed=2).confint(0.9).loc[["Days", "sigma"]])


def test_refusals(sleep):
    fit = blm.lmm("y ~ 1 + (1 | g) + (1 | h)", crossed())
    with pytest.raises(blm.OptionError, match="crossed with it"):
        fit.bootstrap(5, kind="groups")
    with pytest.raises(blm.OptionError, match="use 'parametric' or 'groups'"):
        fit.bootstrap(5, kind="rows")
    with pytest.raises(blm.OptionError, match="use 'percentile' or 'bca'"):
        sleep.bootstrap(5, seed=1).confint(kind="basic")
    with pytest.raises(blm.OptionError, match="posterior mode"):
        blm.lmm(SLEEP, blm.load_dataset("sleepstudy"), "map").bootstrap(5)
    with pytest.raises(blm.OptionError, match="there is none"):
        blm.lmm("y ~ w", crossed()).bootstrap(5, kind="groups")


def test_most_replicates_of_a_single_term_are_fitted_together(sleep, monkeypatch):
    from bayeslmm.intervals.refits import Refitter

    alone, real = [], Refitter.fit
    monkeypatch.setattr(Refitter, "fit", lambda self, kernel: alone.append(1) or real(self, kernel))
    found = sleep.bootstrap(100, seed=5)
    assert len(alone) <= found.n_singular + 2
    model = fitted_model(sleep)
    y = model.simulate(np.random.default_rng(np.random.SeedSequence(5).spawn(100)[7]))
    expected = sleep.refit(y)
    np.testing.assert_allclose(found.replicates.loc[7, ["Intercept", "Days"]], expected.fixef(), rtol=1e-4)
    assert found.replicates.loc[7, "sigma"] == pytest.approx(expected.sigma, rel=1e-4)
