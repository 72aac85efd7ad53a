"""Data of generalized models from their priors, and what is ranked of them."""

import numpy as np
import pytest
from scipy.stats import bernoulli, nbinom, poisson

from benchmarks.calibration.family_studies import (
    FAMILY_STUDIES,
    calibrate_family,
    family_quantities,
    importance_fit,
    linear_predictors,
    nuts_fit,
    simulate_family,
)

CLOSE = 1e-10  # relative: the same density from scipy
SETS = 400  # data sets of prior draws
ERRORS = 4.5  # Monte Carlo standard errors


@pytest.mark.parametrize("name", FAMILY_STUDIES)
def test_likelihoods_are_scipys(name):
    study = FAMILY_STUDIES[name]()
    y, truth = next(iter(simulate_family(study, 1, 3)))
    model = study.model(y)
    eta = linear_predictors(model, truth.draws)[0, 0]
    if study.family == "bernoulli":
        expected = bernoulli.logpmf(y, 1 / (1 + np.exp(-eta)))
    elif study.family == "poisson":
        expected = poisson.logpmf(y, np.exp(eta))
    else:
        shape = truth.dispersion[0, 0, 0]
        expected = nbinom.logpmf(y, shape, shape / (shape + np.exp(eta)))
    found = family_quantities(model, truth, np.random.default_rng(1))
    assert found.values.shape == (1, 1, len(found.names))
    value = found.values[0, 0, found.names.index("log-likelihood")]
    assert value == pytest.approx(expected.sum(), rel=CLOSE)


def test_parameters_come_from_their_priors():
    study = FAMILY_STUDIES["negative_binomial, correlated slope"]()
    draws = [truth for _, truth in simulate_family(study, SETS, 5)]
    design = study.model(study.data["y"].to_numpy()).design
    slopes = np.array([truth.draws.beta[0, 0, 1] for truth in draws])
    centres = np.array([truth.draws.beta[0, 0] @ design.X.mean(axis=0) for truth in draws])
    shapes = np.array([truth.dispersion[0, 0, 0] for truth in draws])
    sds = np.array([truth.draws.sd[0][0, 0, 1] for truth in draws])
    for values, mean, sd in (
        (slopes, -0.3, 0.5),
        (centres, 0.7, 0.5),  # the intercept's prior is at the column means
        (shapes, 2.0, 1.0),  # Gamma(4, 2)
        (sds, 0.5 * np.sqrt(2 / np.pi), 0.5 * np.sqrt(1 - 2 / np.pi)),
    ):
        assert abs(values.mean() - mean) < ERRORS * sd / np.sqrt(SETS)


def test_ranks_of_a_short_run():
    study = FAMILY_STUDIES["poisson, random intercept"]()
    found = calibrate_family(study, importance_fit, simulations=2, n_draws=63, seed=1, method="importance")
    assert found.ranks.shape == (2, len(found.names)) and found.names[0] == "sd_g[Intercept]"
    assert "sigma" not in found.names
    assert found.ranks.min() >= 0 and found.ranks.max() <= 63


def test_nuts_takes_over_with_as_many_nearly_independent_draws():
    study = FAMILY_STUDIES["negative_binomial, random intercept"]()
    y, _ = next(iter(simulate_family(study, 1, 3)))
    found = nuts_fit(study.model(y), 40, seed=1)
    assert found.draws.beta.shape[:2] == found.dispersion.shape[:2] == (1, 40)
