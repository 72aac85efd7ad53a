"""ADVI: near the exact posterior where a normal can be, and honest where it is not."""

import numpy as np
import pytest
from handmade import make_design, make_term

from bayeslmm.errors import FittingError, OptionError, PriorError
from bayeslmm.inference.advi import sampling as advi
from bayeslmm.inference.advi.sampling import sample_advi
from bayeslmm.inference.advi.variational import NormalApproximation, _root, bound_is_rising, is_lost
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.psis import SmoothedWeights
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.options import Options, make_options
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors import resolve_priors

BIAS = 0.15  # posterior sds a normal approximation of this skew posterior may be off in its means
SPREAD = 0.25  # relative, in its sds
SHORT = 4000  # iterations; the default is there for larger models


@pytest.fixture(scope="module")
def design():
    """Thirty groups of four: enough for the posterior of the logs to be nearly normal."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), 4)
    term = make_term(groups, [np.ones(120)], ["Intercept"])
    y = 5 + rng.normal(size=30)[groups] + 0.7 * rng.normal(size=120)
    return make_design(y, [np.ones(120)], ["Intercept"], [term])


@pytest.fixture(scope="module")
def priors(design):
    return resolve_priors(design)


@pytest.fixture(scope="module")
def density(design, priors):
    return CovarianceDensity(build_kernel(design), priors)


@pytest.fixture(scope="module")
def points(density):
    return weighted_points(density, Options(draws=4000, chains=1, seed=1))


@pytest.fixture(scope="module")
def fits(design, priors, density):
    return {
        full_rank: sample_advi(
            design, priors, Options(full_rank=full_rank, iterations=SHORT, seed=3), kernel=density.kernel
        )
        for full_rank in (False, True)
    }


@pytest.mark.parametrize("full_rank", [False, True], ids=["mean-field", "full-rank"])
def test_marginal_model_is_near_the_posterior(fits, density, points, full_rank):
    drawn, exact = fits[full_rank], importance_draws(density, points, Options(draws=4000, chains=1, seed=1))
    pairs = [
        (drawn.sigma, exact.sigma),
        (drawn.sd[0][..., 0], exact.sd[0][..., 0]),
        (drawn.beta[..., 0], exact.beta[..., 0]),
        (drawn.effects[0][..., 7, 0], exact.effects[0][..., 7, 0]),
    ]
    for x, reference in pairs:
        assert abs(x.mean() - reference.mean()) < BIAS * reference.std()
        assert abs(x.std() / reference.std() - 1) < SPREAD


def test_bound_is_below_the_evidence(fits, points):
    """E_q[log p - log q] <= log p(y), whose value importance sampling knows; full rank comes nearer."""
    mean_field, full_rank = (fits[f].info["log_evidence_bound"] for f in (False, True))
    assert mean_field < points.log_evidence and full_rank < points.log_evidence + 0.01
    assert points.log_evidence - full_rank < 0.2
    assert mean_field < full_rank + 0.05


def test_what_is_kept(fits):
    drawn = fits[False]
    assert drawn.method == "advi" and drawn.beta.shape == (4, 1000, 1)
    assert drawn.info["elbo"].shape == (SHORT,) and np.isfinite(drawn.info["elbo"]).all()
    assert drawn.info["elbo"][-1000:].mean() == pytest.approx(drawn.info["log_evidence_bound"], abs=0.2)
    assert drawn.info["k_hat"] < 0.7 and drawn.info["doubts"] == () and drawn.info["failures"] == ()
    assert drawn.stats["log_weight"].shape == drawn.stats["lp"].shape == (4, 1000)
    assert np.exp(drawn.stats["log_weight"]).sum() == pytest.approx(1.0)
    assert drawn.info["effective_size"] > 1000


def test_weights_lead_to_the_exact_posterior(fits, density, points):
    """The weights say how wrong q is: applied to the draws of sd they undo the bias."""
    exact = importance_draws(density, points, Options(draws=4000, chains=1, seed=1)).sd[0].ravel()
    drawn = fits[False]
    weighted = np.exp(drawn.stats["log_weight"]).ravel() @ drawn.sd[0].ravel()
    standard_error = exact.std() / np.sqrt(drawn.info["effective_size"]) + exact.std() / np.sqrt(4000)
    assert abs(weighted - exact.mean()) < 4 * standard_error


def test_same_seed_same_draws(design, priors, density, fits):
    again = sample_advi(design, priors, Options(iterations=SHORT, seed=3), kernel=density.kernel)
    np.testing.assert_array_equal(again.beta, fits[False].beta)
    np.testing.assert_array_equal(again.info["elbo"], fits[False].info["elbo"])


def test_explicit_model_says_how_far_to_trust_it(design, priors, density):
    """Mean field on thirty-three correlated coordinates: coefficients' sds come out too small, and it says so."""
    drawn = sample_advi(
        design, priors, Options(parametrization="centered", iterations=SHORT, draws=500, seed=1, store=())
    )
    assert drawn.effects[0].shape == (4, 500, 0, 1) and drawn.beta.shape == (4, 500, 1)
    assert drawn.info["k_hat"] > 0.7 and drawn.info["failures"] == ()
    assert any("draws remain effective" in doubt and "standard deviation" in doubt for doubt in drawn.info["doubts"])


def parameters_of(design, drawn):
    return advi.coefficients_and_scales(design, drawn) | {"sigma": drawn.sigma}


def doubts_of(design, drawn, approximation, weights):
    return advi.doubtful(parameters_of(design, drawn), approximation, weights)


def test_few_effective_draws_are_told_whatever_k_hat_says(design, fits):
    settled = NormalApproximation(np.zeros(3), np.ones(3), np.full(1000, -300.0), None)
    w = np.where(np.arange(4000) < 300, 1.0, 1e-9)
    (doubt,) = doubts_of(design, fits[False], settled, SmoothedWeights(w / w.sum(), 0.4, 300.0))
    assert "is 0.4: 300 of 4000 draws remain effective" in doubt
    assert doubts_of(design, fits[False], settled, SmoothedWeights(np.full(4000, 1 / 4000), 0.4, 900.0)) == ()


def test_too_few_iterations_are_told(design, fits):
    climbing = NormalApproximation(np.zeros(3), np.ones(3), np.linspace(-500.0, -300.0, 1000), None)
    even = SmoothedWeights(np.full(4000, 1 / 4000), 0.1, 4000.0)
    (doubt,) = doubts_of(design, fits[False], climbing, even)
    assert "has not converged" in doubt and "rose by 50 nats" in doubt and "iterations=2000" in doubt


# -- options and trouble ------------------------------------------------------------------------------------


def test_options(design, priors, density):
    with pytest.raises(OptionError, match="'marginal', 'noncentered', 'centered'"):
        sample_advi(design, priors, make_options(parametrization="explicit"), kernel=density.kernel)
    with pytest.raises(OptionError, match="too few"):
        sample_advi(design, priors, Options(iterations=10), kernel=density.kernel)
    with pytest.raises(OptionError, match="kernel"):
        sample_advi(design, priors, Options())
    with pytest.raises(PriorError, match="noncentered"):
        sample_advi(design, resolve_priors(design, {"Intercept": "Cauchy(0, 5)"}), Options(), kernel=density.kernel)


def test_interruption_and_values_that_are_not_finite(design, priors, density, monkeypatch):
    import pymc as pm

    def stopped(self, *args, **options):
        self.approx.hist = np.zeros(7)
        return self.approx

    monkeypatch.setattr(pm.ADVI, "fit", stopped)
    with pytest.raises(KeyboardInterrupt, match="7 of 1000"):
        sample_advi(design, priors, Options(iterations=1000), kernel=density.kernel)

    def lost(self, *args, **options):
        raise FloatingPointError("NaN occurred in optimization.")

    monkeypatch.setattr(pm.ADVI, "fit", lost)
    with pytest.raises(FittingError, match="ADVI left the region"):
        sample_advi(design, priors, Options(iterations=1000), kernel=density.kernel)


# -- numbers ------------------------------------------------------------------------------------------------


def test_normal_approximation():
    """Its log density is scipy's, and its points have its covariance."""
    from scipy.stats import multivariate_normal

    root = np.array([[0.5, 0.0, 0.0], [0.2, 1.5, 0.0], [-0.3, 0.4, 2.0]])
    q = NormalApproximation(np.array([1.0, -2.0, 0.5]), root, np.zeros(0), None)
    normals = np.random.default_rng(1).normal(size=(5, 3))
    expected = multivariate_normal(q.mean, root @ root.T).logpdf(q.points(normals))
    np.testing.assert_allclose(q.log_density(normals), expected, atol=1e-12)
    diagonal = NormalApproximation(q.mean, np.diag(root), np.zeros(0), None)
    expected = multivariate_normal(q.mean, np.diag(np.diag(root) ** 2)).logpdf(diagonal.points(normals))
    np.testing.assert_allclose(diagonal.log_density(normals), expected, atol=1e-12)


def test_root_is_pymcs():
    """PyMC keeps the diagonal through the softplus function."""
    np.testing.assert_allclose(_root(np.array([0.0, 1.0]), 2), np.log1p(np.exp([0.0, 1.0])))
    expected = [[np.log(2), 0.0], [-0.7, np.log1p(np.e)]]
    np.testing.assert_allclose(_root(np.array([0.0, -0.7, 1.0]), 2), expected)


def test_bound_is_rising():
    noise = np.random.default_rng(1).normal(size=4000)
    assert bound_is_rising(noise) == 0.0
    assert bound_is_rising(noise + np.linspace(0, 8, 4000)) == pytest.approx(2.0, abs=0.3)  # a quarter of the climb
    assert bound_is_rising(np.full(100, -np.inf)) == np.inf


def test_is_lost():
    ratio = np.random.default_rng(1).normal(size=1000)
    assert not is_lost(3 * ratio, 1) and is_lost(50 * ratio, 1) and not is_lost(50 * ratio, 100)
    assert is_lost(np.where(ratio > 0, -np.inf, ratio) + np.where(ratio > -0.1, -np.inf, 0.0), 1)


def test_distance_names_what_moves(design):
    """Weights on the draws with large sigma: sigma is what moves."""
    rng = np.random.default_rng(1)
    sigma = rng.normal(size=(2, 500))
    drawn = Draws(rng.normal(size=(2, 500, 1)), sigma, (rng.normal(size=(2, 500, 1)),), (None,), (), {}, "advi")
    weights = np.where(sigma.ravel() > 1, 1.0, 1e-6)
    text = advi._distance(parameters_of(design, drawn), SmoothedWeights(weights / weights.sum(), 1.2, 160.0))
    assert "is 1.2, above 0.7: 160 of 1000 draws remain effective" in text
    assert "mean of sigma moves by 1.6" in text  # E[z | z > 1] = 1.53; these 160: 1.57
