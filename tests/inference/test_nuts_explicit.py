"""NUTS on the explicit model: the posterior of sleepstudy, seeds and cores, options, interruption."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from handmade import make_design, make_term, sleepstudy_design

import bayeslmm as blm
from bayeslmm.design import build_design
from bayeslmm.errors import FittingError, OptionError
from bayeslmm.formula import parse
from bayeslmm.inference.options import Options, make_options
from bayeslmm.priors import resolve_priors

REFERENCE = Path(__file__).parents[1] / "reference" / "lme4_reference.json"
MONTE_CARLO = 4  # standard errors two right samplers may differ by, over some 50 quantities
REML_DISTANCE = 0.2  # of REML's standard errors, between its coefficients and the posterior means
SD_NEARNESS = 0.5  # how near to a reference posterior sd we ask, beside the Monte Carlo error

# Posterior means of the sds of Intercept and Days by 16,000 draws of importance sampling (error 0.1): LKJ(1) at day 0,
# the default, LKJ(2) there, and LKJ(2) at the middle of the days. A random-walk Metropolis run on the dense marginal
# density N(y; X m, X B X' + Z S Z' + sigma^2 I) gives 26.4 and 6.49 for the second, 31.3 and 6.17 for the third.
DEFAULT_SDS = (26.84, 6.53)
STATED_SDS = (26.93, 6.54)
MIDDLE_SDS = (31.15, 6.20)
STATED = {"cor_Subject": "LKJ(2)"}


def sample(design, stated=None, **options):
    from bayeslmm.inference.nuts.sampling import sample_nuts

    options.setdefault("parametrization", "noncentered")
    sigma = options.pop("sigma", None)
    checked = make_options(progressbar=False, **options)
    return sample_nuts(design, resolve_priors(design, stated), checked, sigma=sigma)


@pytest.fixture(scope="session")
def noncentered():
    return sample(sleepstudy_design(), seed=11)


@pytest.fixture(scope="session")
def centered():
    return sample(sleepstudy_design(), seed=12, draws=1500, parametrization="centered", target_accept=0.9)


def quantities(draws):
    """Return every scalar parameter, shape (chains, draws), by name."""
    found = {f"beta[{j}]": draws.beta[..., j] for j in range(draws.beta.shape[-1])}
    found["sigma"] = draws.sigma
    for s in range(2):
        found[f"sd[{s}]"] = draws.sd[0][..., s]
        found |= {f"r[{j}, {s}]": draws.effects[0][..., j, s] for j in range(18)}
    found["cor"] = draws.cor[0][..., 1, 0]
    return found


def means_and_errors(draws):
    import arviz

    return {
        name: (x.mean(), x.std() / np.sqrt(float(arviz.ess(x, method="mean")))) for name, x in quantities(draws).items()
    }


def test_sampler_has_converged(noncentered):
    import arviz

    assert noncentered.stats["diverging"].sum() == 0
    for name, x in quantities(noncentered).items():
        assert float(arviz.rhat(x)) <= 1.01, name
        assert float(arviz.ess(x)) >= 400, name
        assert float(arviz.ess(x, method="tail")) >= 400, name


def test_coefficients_are_near_reml(noncentered):
    fits = json.loads(REFERENCE.read_text())["fits"]
    formula = "Reaction ~ 1 + Days + (1 + Days | Subject)"
    (reml,) = [fit for fit in fits if fit["formula"] == formula and fit["method"] == "reml"]
    for j, name in enumerate(["(Intercept)", "Days"]):
        distance = abs(noncentered.beta[..., j].mean() - reml["fixef"][name])
        assert distance < REML_DISTANCE * reml["se"][name]


def test_sds_under_the_default_priors(noncentered):
    found = means_and_errors(noncentered)
    for s, expected in enumerate(DEFAULT_SDS):
        mean, error = found[f"sd[{s}]"]
        assert abs(mean - expected) < SD_NEARNESS + MONTE_CARLO * error


def test_sds_under_a_stated_prior():
    found = means_and_errors(sample(sleepstudy_design(), STATED, seed=13))
    for s, expected in enumerate(STATED_SDS):
        mean, error = found[f"sd[{s}]"]
        assert abs(mean - expected) < SD_NEARNESS + MONTE_CARLO * error


def test_sds_where_the_prior_speaks_of_the_middle_of_the_days():
    """Zero is put there, and the covariance carried back to day 0: another prior, another posterior."""
    data = blm.load_dataset("sleepstudy").assign(Days=lambda d: d.Days - 4.5)
    design = build_design(parse("Reaction ~ 1 + Days + (1 + Days | Subject)"), data)
    draws = sample(design, STATED, seed=13)
    sd, correlation = draws.sd[0], draws.cor[0][..., 1, 0]
    at_zero = sd[..., 0] ** 2 - 9 * correlation * sd[..., 0] * sd[..., 1] + (4.5 * sd[..., 1]) ** 2
    means = np.sqrt(at_zero).mean(), sd[..., 1].mean()
    np.testing.assert_allclose(means, MIDDLE_SDS, atol=SD_NEARNESS + MONTE_CARLO * 0.15)


def test_both_parametrizations_agree(noncentered, centered):
    one, other = means_and_errors(noncentered), means_and_errors(centered)
    for name, (mean, error) in one.items():
        assert abs(mean - other[name][0]) < MONTE_CARLO * np.hypot(error, other[name][1]), name


def test_draws_are_on_the_users_columns(noncentered):
    """sd and cor at each draw must be those of one covariance matrix, and the diagonal of cor exactly one."""
    assert noncentered.beta.shape == (4, 1000, 2) and noncentered.effects[0].shape == (4, 1000, 18, 2)
    correlation = noncentered.cor[0]
    assert np.all(correlation[..., [0, 1], [0, 1]] == 1)
    np.testing.assert_allclose(correlation, correlation.swapaxes(-1, -2), atol=1e-14)
    assert np.linalg.eigvalsh(correlation).min() > 0
    assert noncentered.info["sampler"] == "nutpie" and noncentered.info["seed"] == 11
    arviz_names = {"diverging", "energy", "tree_depth", "n_steps", "acceptance_rate", "lp", "step_size"}
    assert arviz_names <= set(noncentered.stats)
    assert all(values.shape == (4, 1000) for values in noncentered.stats.values())


# -- small models -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(6), 4)
    term = make_term(groups, [np.ones(24)], ["Intercept"])
    y = 5 + rng.normal(size=6)[groups] + 0.5 * rng.normal(size=24)
    return make_design(y, [np.ones(24)], ["Intercept"], [term])


@pytest.fixture(scope="module")
def compiled(small):
    from bayeslmm.inference.nuts.explicit import compile_for_nutpie
    from bayeslmm.pymc_models import build_hierarchical

    return compile_for_nutpie(build_hierarchical(small, resolve_priors(small), centered=False), ["beta", "r_g"])


def short_run(compiled, *, chains=2, cores=1, seed=5):
    from bayeslmm.inference.nuts.explicit import sample_with_nutpie

    options = Options(draws=30, tune=60, chains=chains, cores=cores, seed=seed)
    return sample_with_nutpie(compiled, ["beta", "r_g"], options).values


def test_same_seed_same_draws_on_any_number_of_cores(compiled):
    one, two = short_run(compiled, cores=1), short_run(compiled, cores=2)
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    assert not np.array_equal(one["beta"][0], one["beta"][1]), "chains differ"
    assert not np.array_equal(one["beta"], short_run(compiled, seed=6)["beta"]), "seeds differ"


def test_a_chain_depends_on_the_seed_and_its_number_alone(compiled):
    three, one = short_run(compiled, chains=3), short_run(compiled, chains=1)
    np.testing.assert_array_equal(one["r_g"][0], three["r_g"][0])


def test_an_interrupted_run_is_not_returned_as_a_whole_one(compiled, monkeypatch):
    """nutpie answers Ctrl-C with a shorter trace, padded with nan."""
    import nutpie

    whole = nutpie.sample

    def interrupted(*args, **kwargs):
        trace = whole(*args, **kwargs)
        trace.sample_stats["logp"][1, 20:] = np.nan
        return trace

    monkeypatch.setattr(nutpie, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt, match="50 of 60 draws"):
        short_run(compiled)


def test_a_model_that_cannot_start(compiled, monkeypatch):
    import nutpie

    def refuses(*args, **kwargs):
        raise RuntimeError("all initial points failed")

    monkeypatch.setattr(nutpie, "sample", refuses)
    with pytest.raises(FittingError, match="all initial points failed"):
        short_run(compiled)


@pytest.fixture(scope="module")
def line():
    return make_design(np.arange(10.0), [np.ones(10)], ["Intercept"])


def test_pymcs_sampler(line):
    """Flat prior, sigma 2: the posterior of the intercept is Normal(4.5, 2/sqrt(10))."""
    from bayeslmm.inference.nuts.sampling import sample_nuts

    priors = resolve_priors(line, {"Intercept": "Flat()"}, sigma=2.0)
    options = Options(sampler="pymc", seed=5, draws=400, tune=200, chains=2, parametrization="noncentered")
    one = sample_nuts(line, priors, replace(options, cores=1), sigma=2.0)
    two = sample_nuts(line, priors, replace(options, cores=2), sigma=2.0)
    np.testing.assert_array_equal(one.beta, two.beta)
    assert np.all(one.sigma == 2.0) and one.sd == () and one.effects == () and one.cor == ()
    assert one.beta.mean() == pytest.approx(4.5, abs=0.15)  # some 300 effective draws
    assert one.beta.std() == pytest.approx(2 / np.sqrt(10), rel=0.15)
    assert {"diverging", "energy", "tree_depth", "n_steps", "acceptance_rate", "lp"} <= set(one.stats)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("sampler", "stan", "'nutpie', 'nutpie-pymc', 'pymc'"),
        ("parametrization", "half", "'marginal', 'noncentered', 'centered'"),
        ("draws", 0, "at least 1"),
        ("tune", 0, "at least 1"),
        ("chains", 1.5, "whole number"),
        ("cores", 0, "at least 1"),
        ("seed", -3, "at least 0"),
        ("seed", "a", "seed='a'"),
        ("target_accept", 1.0, "between 0 and 1"),
    ],
)
def test_impossible_options(line, option, value, message):
    with pytest.raises(OptionError, match=message):
        sample(line, **{option: value})


def test_seeds():
    from bayeslmm.inference.options import resolve_seed

    assert resolve_seed(7) == 7 and resolve_seed(np.int64(7)) == 7
    assert resolve_seed(np.random.default_rng(1)) == resolve_seed(np.random.default_rng(1))
    assert resolve_seed(None) != resolve_seed(None)
