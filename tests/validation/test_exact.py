"""Importance sampling and marginal NUTS against quadrature: moments of every parameter, and the evidence."""

from functools import cache

import numpy as np
import pytest
import small_models
from handmade import exact_draws
from scipy import stats

from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.validation.agreement import agreement_with_exact
from bayeslmm.validation.exact import ExactModel, ExactTerm, exact_posterior

# Error of the quadrature with half its nodes; it falls from e to about e squared with all of them, far below the
# Monte Carlo errors (at best 1/60 of a standard deviation).
HALF_GRID_ERROR = 0.12
EVIDENCE_ERRORS = 4.0  # standard errors 1 / sqrt(effective size) of the log evidence, as for independent points


@cache
def solved(name):
    model = getattr(small_models, name)()
    exact = exact_posterior(model.exact, nodes=65 if model.exact.dimension == 2 else 31)
    assert exact.error < HALF_GRID_ERROR
    return model, exact


@pytest.mark.parametrize("name", ["dyestuff", "crossed", "uncorrelated_slope"])
def test_importance(name):
    model, exact = solved(name)
    density = model.problem.density
    options = Options(draws=4000, chains=1, seed=1)
    points = weighted_points(density, options)
    assert points.trouble == ""
    found = agreement_with_exact(model.design, importance_draws(density, points, options), exact)
    assert found.agrees(), found.table().to_string()
    error = np.sqrt(1 / points.smoothed.effective_size - 1 / len(points.phi))
    assert abs(points.log_evidence - exact.log_evidence) < EVIDENCE_ERRORS * error + exact.error**2


@pytest.mark.parametrize("name", ["dyestuff", "crossed"])
def test_marginal_nuts(name):
    model, exact = solved(name)
    draws = sample_marginal(model.problem.density, Options(draws=600, tune=400, chains=2, seed=2, target_accept=0.9))
    found = agreement_with_exact(model.design, draws, exact)
    assert found.agrees(), found.table().to_string()


def test_quadrature_of_a_conjugate_model():
    """One group and no random effects to speak of: beta given sigma is normal, sigma by scipy's own quadrature."""
    rng = np.random.default_rng(0)
    y, X = rng.normal(size=8), np.ones((8, 1))
    term = ExactTerm(np.zeros(8, int), np.zeros((8, 1)), 1)  # a column of zeros: its sd keeps the prior
    prior = stats.halfnorm(scale=2.0)
    model = ExactModel(y, X, [term], np.zeros(1), np.eye(1), [prior.logpdf], prior.logpdf)
    found = exact_posterior(model, nodes=65)

    def joint(sigma):
        covariance = sigma**2 * np.eye(8) + np.ones((8, 8))
        return np.exp(stats.multivariate_normal(np.zeros(8), covariance).logpdf(y)) * prior.pdf(sigma)

    from scipy.integrate import quad

    total = quad(joint, 0, 12, epsabs=0, epsrel=1e-9)[0]
    mean = quad(lambda s: s * joint(s), 0, 12, epsabs=0, epsrel=1e-9)[0] / total
    shrunk = quad(lambda s: joint(s) * y.sum() / (8 + s**2), 0, 12, epsabs=0, epsrel=1e-9)[0] / total
    assert found.log_evidence == pytest.approx(np.log(total), abs=1e-6)
    assert found.mean[:3] == pytest.approx([prior.mean(), mean, shrunk], rel=1e-5)
    assert found.sd[0] == pytest.approx(prior.std(), rel=1e-4)


def test_a_wrong_prior_is_told_from_the_right_one():
    """The quadrature with half the prior scale of sigma disagrees."""
    from dataclasses import replace

    model, _ = solved("dyestuff")
    wrong = exact_posterior(replace(model.exact, sigma_prior=stats.halfnorm(scale=40).logpdf), nodes=65)
    density = model.problem.density
    draws = exact_draws(density, Options(draws=4000, chains=1, seed=1))
    assert not agreement_with_exact(model.design, draws, wrong).agrees()
