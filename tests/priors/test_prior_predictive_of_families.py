"""Simulation from the priors of generalized models: responses have their distribution given the parameters drawn."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.errors import PriorError
from bayeslmm.families import FAMILIES

KS_LEVEL = 1e-4  # fixed seeds
DRAWS, N = 300, 24
RNG = np.random.default_rng(5)
X, G = RNG.normal(3.0, 1.0, N), np.arange(N) % 6
COUNTS = RNG.poisson(3.0, N)
RESPONSES = {
    "bernoulli": np.arange(N) % 2,
    "binomial": COUNTS,
    "beta": RNG.uniform(0.1, 0.9, N),
    "gamma": RNG.gamma(2.0, 1.0, N),
    "lognormal": RNG.gamma(2.0, 1.0, N),
    "student": RNG.normal(size=N),
    "cumulative": np.arange(N) % 3,
}


def make(name, priors=None, zero=None):
    """A model of a family under its default priors, or with those given."""
    y = RESPONSES.get(name, np.where(np.arange(N) % 4, COUNTS, 0))
    data = pd.DataFrame({"y": y, "x": X, "g": G, "size": COUNTS + 3})
    left = "p(y, size)" if name == "binomial" else "y"
    return blm.Model(f"{left} ~ x + (1 | g)", data, family=name, priors=priors, zero=zero)


def make_narrow(name, zero=None):
    """A model under priors that let no response round to 0 or 1."""
    known = [parameter.name for parameter in make(name, zero=zero).family.parameters]
    stated = {key: "Gamma(20, 5)" for key in ("shape", "precision") if key in known}
    return make(name, {"sd_g": "HalfNormal(0.3)", "x": "Normal(0, 0.3)", **stated}, zero)


@pytest.mark.parametrize(
    ("name", "zero"),
    [*((name, None) for name in FAMILIES if name != "gaussian"), ("hurdle_negative_binomial", "~ x")],
)
def test_responses_given_the_parameters(name, zero):
    """Randomised probability transforms of the responses are uniform."""
    model = make_narrow(name, zero)
    found = model.prior_predictive(DRAWS, seed=1)
    prior, y = found.prior, found.prior_predictive[model.design.response].to_numpy()[0]
    family, outcome = model.family, model.design.outcome
    assert y.shape == (DRAWS, N)
    assert set(prior.data_vars) == {"beta", "sd_g", "r_g", *(p.name for p in family.parameters)}
    eta = prior["beta"].to_numpy()[0] @ model.design.X.T + prior["r_g"].to_numpy()[0, :, :, 0][:, G]
    values = [prior[p.name].to_numpy()[0].reshape(DRAWS, p.size) for p in family.parameters]
    natural = np.hstack([np.empty((DRAWS, 0)), *values])
    rng, u = np.random.default_rng(2), []
    for d in range(DRAWS):
        low, high = family.cdf(outcome.with_y(y[d], outcome.base), eta[d], family.working(natural[d]))
        u.append(low + rng.uniform(size=N) * (high - low))
    assert stats.kstest(np.concatenate(u), "uniform").pvalue > KS_LEVEL


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gaussian"])
def test_default_priors_simulate(name):
    """Their tails reach far: shapes of 1e-200, means of 1e40."""
    model = make(name)
    y = model.prior_predictive(400, seed=3).prior_predictive[model.design.response].to_numpy()
    assert not np.isnan(y).any()
    assert np.array_equal(y, model.prior_predictive(400, seed=3).prior_predictive[model.design.response].to_numpy())


def test_parameters_have_their_priors():
    shares = make("hurdle_poisson", {"zero[Intercept]": "Normal(-1, 0.5)", "zero[x]": "Normal(2, 1)"}, "~ x")
    prior = shares.prior_predictive(2000, seed=1).prior
    at_means = prior["zero[Intercept]"].to_numpy()[0] + X.mean() * prior["zero[x]"].to_numpy()[0]
    assert stats.kstest(at_means, stats.norm(-1, 0.5).cdf).pvalue > KS_LEVEL
    grades = make("cumulative", {"threshold": "Normal(0, 2)"})
    prior = grades.prior_predictive(2000, seed=1).prior
    level = prior["beta"].to_numpy()[0] @ [X.mean()]
    cuts = prior["threshold"].to_numpy()[0] - level[:, None]
    assert (np.diff(cuts) > 0).all()
    assert stats.kstest(cuts[:, 0], lambda c: 1 - stats.norm(0, 2).sf(c) ** 2).pvalue > KS_LEVEL  # lower of two


def test_priors_are_cut_to_where_a_parameter_may_be():
    shape = make("negative_binomial", {"shape": "Normal(0, 1)"}).prior_predictive(2000, seed=1).prior["shape"]
    assert stats.kstest(shape.to_numpy()[0], stats.halfnorm.cdf).pvalue > KS_LEVEL
    with pytest.raises(PriorError, match=r"Normal\(-90, 1\) of shape has hardly any mass between 0 and inf"):
        make("negative_binomial", {"shape": "Normal(-90, 1)"}).prior_predictive(20, seed=1)


def test_predictors_that_no_response_has():
    """Counts beyond what can be drawn, and means that an inverse link makes negative."""
    counts = make("poisson", {"Intercept": "Normal(60, 1)"}).prior_predictive(20, seed=1).prior_predictive["y"]
    assert np.isfinite(counts).all() and (counts > 1e12).any()
    data = pd.DataFrame({"y": RESPONSES["gamma"], "g": G})
    model = blm.Model("y ~ 1 + (1 | g)", data, family="gamma", link="inverse", priors={"Intercept": "Normal(0, 1)"})
    found = model.prior_predictive(50, seed=1)
    eta = found.prior["beta"].to_numpy()[0] + found.prior["r_g"].to_numpy()[0, :, :, 0][:, G]
    np.testing.assert_array_equal(np.isnan(found.prior_predictive["y"].to_numpy()[0]), eta <= 0)


def test_flat_priors_are_refused():
    with pytest.raises(PriorError, match="x have Flat"):
        make("poisson", {"x": "Flat()"}).prior_predictive(5)
