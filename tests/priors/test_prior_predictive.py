"""Simulation from the priors."""

import numpy as np
import pytest
from handmade import make_design, make_term, sleepstudy_design
from scipy import stats

from bayeslmm.errors import PriorError
from bayeslmm.priors import prior_predictive, resolve_priors

DRAWS = 4000
KS_LEVEL = 1e-4  # fixed seeds


def test_shapes_names_and_seeds():
    design = sleepstudy_design()
    priors = resolve_priors(design)
    first = prior_predictive(design, priors, draws=7, seed=1)
    shapes = {name: values.shape for name, values in first.items()}
    assert shapes == {
        "beta": (7, 2),
        "sigma": (7,),
        "sd_Subject": (7, 2),
        "cor_Subject": (7, 2, 2),
        "r_Subject": (7, 18, 2),
        "y": (7, 180),
    }
    second = prior_predictive(design, priors, draws=7, seed=np.random.default_rng(1))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["y"], prior_predictive(design, priors, draws=7, seed=2)["y"])


def test_intercept_is_at_the_column_means():
    design = sleepstudy_design()
    priors = resolve_priors(design)
    drawn = prior_predictive(design, priors, draws=DRAWS, seed=3)
    at_means = drawn["beta"] @ design.X.mean(axis=0)
    assert stats.kstest(at_means, stats.norm(priors.fixed[0].mu, priors.fixed[0].sigma).cdf).pvalue > KS_LEVEL


def test_covariance_prior_is_at_the_end_of_the_range_nearest_to_zero():
    """Days run from 10 to 19: the effect at day 10 has the first sd's prior; the one at day zero has not."""
    design = sleepstudy_design(shift=10.0)
    priors = resolve_priors(design)
    drawn = prior_predictive(design, priors, draws=DRAWS, seed=4)
    sd, correlation = drawn["sd_Subject"], drawn["cor_Subject"][:, 0, 1]
    at_first = np.sqrt(sd[:, 0] ** 2 + (10 * sd[:, 1]) ** 2 + 20 * correlation * sd[:, 0] * sd[:, 1])
    half_t = priors.terms[0].sd[0]

    def cdf(x):
        return 2 * stats.t(3).cdf(x / half_t.sigma) - 1

    assert stats.kstest(at_first, cdf).pvalue > KS_LEVEL
    assert stats.kstest(sd[:, 0], cdf).pvalue < 1e-6
    effects = drawn["r_Subject"] @ [1, 10]
    scaled = effects / at_first[:, None]
    assert stats.kstest(scaled[:, 0], "norm").pvalue > KS_LEVEL


def test_weights_offset_and_fixed_sigma():
    n, w = 400, np.r_[np.full(200, 4.0), np.full(200, 1.0)]
    rng = np.random.default_rng(0)
    term = make_term(np.arange(n) % 5, [np.ones(n)], ["Intercept"])
    design = make_design(rng.normal(size=n), [], [], [term], weights=w, offset=np.linspace(0, 100, n))
    priors = resolve_priors(design, sigma=3.0)
    drawn = prior_predictive(design, priors, draws=50, seed=0, sigma=3.0)
    assert set(drawn["sigma"]) == {3.0} and drawn["beta"].shape == (50, 0)
    residual = drawn["y"] - design.offset - drawn["r_g"][:, design.terms[0].codes, 0]
    assert residual[:, :200].std() == pytest.approx(1.5, rel=0.03)  # 10,000 values: 0.7% standard error
    assert residual[:, 200:].std() == pytest.approx(3.0, rel=0.03)


def test_improper_priors_are_refused():
    design = sleepstudy_design()
    with pytest.raises(PriorError, match=r"Days.*Flat"):
        prior_predictive(design, resolve_priors(design, "brms"))
