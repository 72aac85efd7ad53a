"""NUTS on the explicit posterior of generalized models."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.importance import generalized as importance
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.inference.nuts import compiled_chain
from bayeslmm.posterior.generalized_explicit import ExplicitDensity, pack_zero
from bayeslmm.posterior.generalized_mixture import generalized_density

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SHORT = {"draws": 250, "tune": 250, "chains": 2, "seed": 1, "progressbar": False}
MONTE_CARLO = 5  # standard errors of the difference of two means


@pytest.fixture(scope="module")
def model():
    return blm.Model(CBPP, blm.load_dataset("cbpp"), family=blm.Binomial(link="logit"))


@pytest.fixture(scope="module")
def fit(model):
    return model.fit("nuts", **SHORT)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"x": rng.normal(size=150), "g": np.repeat(np.arange(15), 10)})
    mean = np.exp(1 + 0.4 * data.x + 0.5 * rng.normal(size=15)[data.g])
    return data.assign(y=rng.negative_binomial(3, 3 / (3 + mean)))


def test_agrees_with_importance_sampling(model, fit):
    """Two exact methods that share the density of the rows only."""
    other = model.fit("importance", seed=2, draws=500, progressbar=False)
    table, reference = fit.coef_table(), other.coef_table()
    error = np.sqrt(table["sd"] ** 2 / table["ess_bulk"] + reference["sd"] ** 2 / reference["ess_bulk"])
    assert (np.abs(table["mean"] - reference["mean"]) / error).max() < MONTE_CARLO
    sds, theirs = fit.covariance_table().iloc[0], other.covariance_table().iloc[0]
    error = np.hypot(sds["sd"] / np.sqrt(sds["ess_bulk"]), theirs["sd"] / np.sqrt(theirs["ess_bulk"]))
    assert abs(sds["mean"] - theirs["mean"]) < MONTE_CARLO * error
    assert "sampled by NUTS" in str(fit.summary())
    assert fit.draws.stats["diverging"].shape == (2, 250)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_the_map_has_the_jacobian_it_says(counts, formula):
    """By differences of unpack, densely."""
    model = blm.Model(formula, counts.assign(h=counts.index % 4), family="negative_binomial")
    density = generalized_density(model.design, model.family, model.resolved_priors)
    laplace, evaluation = find_generalized_laplace(density)
    explicit = ExplicitDensity(density, laplace.mode, evaluation)
    n_x = density.dimension

    def coefficients(q):
        point = explicit.unpack(q)
        return np.concatenate([*(u.ravel() for u in point.u), point.beta])

    def log_determinant(x):
        q = np.concatenate([x, np.zeros(explicit.dimension - n_x)])
        columns = [coefficients(q + axis) - coefficients(q) for axis in np.eye(explicit.dimension)[n_x:]]
        return np.linalg.slogdet(np.array(columns))[1]  # the map is linear in v

    x = laplace.mode + 0.4
    assert log_determinant(x) - log_determinant(laplace.mode) == pytest.approx(explicit.log_jacobian(x), abs=1e-8)
    assert explicit.log_jacobian(pack_zero(explicit)[:n_x]) == pytest.approx(0.0, abs=1e-12)


def test_seeds_resuming_and_kept_terms(model, fit, tmp_path):
    kept = model.fit("nuts", resume=tmp_path / "run", store=(), **SHORT)
    np.testing.assert_array_equal(kept.draws.beta, fit.draws.beta)
    assert kept.draws.effects[0].shape[2] == 0
    (tmp_path / "run" / "chain_1.npz").unlink()
    again = model.fit("nuts", resume=tmp_path / "run", **SHORT)
    np.testing.assert_array_equal(again.draws.effects[0], fit.draws.effects[0])
    with pytest.raises(blm.StorageError, match="another seed"):
        model.fit("nuts", resume=tmp_path / "run", **{**SHORT, "seed": 2})


def test_dispersions_and_storage(counts, tmp_path):
    fit = blm.Model("y ~ x + (x | g)", counts, family=blm.NegativeBinomial()).fit("nuts", **SHORT)
    assert 1 < fit.dispersion_table().loc["shape", "mean"] < 10
    again = blm.load(fit.save(tmp_path / "fit"))
    assert str(again) == str(fit)
    np.testing.assert_array_equal(again.dispersion, fit.dispersion)


def test_importance_hands_over(model, monkeypatch):
    monkeypatch.setattr(importance, "uneven", lambda smoothed: True)
    with pytest.warns(UserWarning, match="NUTS takes over"):
        fit = model.fit("importance", **{k: v for k, v in SHORT.items() if k != "tune"})
    assert fit.method == "nuts"
    with pytest.raises(blm.FittingError, match="handover='keep'"):
        model.fit("importance", seed=1, handover="error", progressbar=False)


@pytest.mark.parametrize("random", ["(x | g)", "(x || g)", "(x | g) + (x | h)"])
def test_counts_of_ten_thousand_with_slopes(random):
    """Effects there are known to a hundredth given the coefficients; a few steps still make a draw of everything.

    Without maps of whole levels trajectories stop after 1,023 steps of 3e-5.
    """
    rng = np.random.default_rng(5)
    g, h, x = np.repeat(np.arange(12), 12), np.tile(np.arange(6), 24), rng.normal(size=144)
    of_g, of_h = rng.normal(size=(12, 2)) @ np.array([[0.5, 0.1], [0.0, 0.3]]), 0.3 * rng.normal(size=(6, 2))
    eta = 9.2 + 0.2 * x + of_g[g, 0] + of_g[g, 1] * x
    if "h" in random:
        eta += of_h[h, 0] + of_h[h, 1] * x
    data = pd.DataFrame({"x": x, "g": g, "h": h, "y": rng.poisson(np.exp(eta))})
    fit = blm.Model(f"y ~ x + {random}", data, family="poisson").fit("nuts", **SHORT)
    assert fit.draws.stats["n_steps"].mean() < 20
    assert not fit.draws.stats["diverging"].any()
    assert fit.coef_table()["ess_bulk"].min() > 60  # of 500 draws, warm-up as short


def test_options_of_normal_responses_are_refused(model):
    for options in ({"parametrization": "marginal"}, {"parametrization": "centered"}, {"sampler": "pymc"}):
        with pytest.raises(blm.OptionError, match="normal responses"):
            model.fit("nuts", **options)


def four_groups():
    """Yes/no data whose standard deviation has a long tail, from where steps that fit the middle are too long."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(4), 30)})
    chance = 1 / (1 + np.exp(-0.5 * data.x - rng.normal(size=4)[data.g]))
    return blm.Model("y ~ x + (1 | g)", data.assign(y=rng.binomial(1, chance)), family="bernoulli")


def test_chains_with_divergences_take_shorter_steps(monkeypatch):
    model = four_groups()
    found = model.fit("nuts", seed=1, progressbar=False)
    monkeypatch.setattr(compiled_chain, "STRICTER", ())
    before = model.fit("nuts", seed=1, progressbar=False)
    assert before.n_divergences >= 5  # some thirty in 4,000
    assert found.n_divergences <= 1
    assert (found.draws.stats["step_size"] <= before.draws.stats["step_size"]).all()
    assert "parametrization=" not in before.status.message  # there is no other for families
    assert 'compare with method="importance"' in before.status.message
