"""Hamiltonian Monte Carlo of many covariance parameters: its coordinates, its motion, posteriors known otherwise."""

import numpy as np
import pandas as pd
import pytest
import small_models
from scipy import stats

import bayeslmm as blm
from bayeslmm.errors import FittingError, OptionError
from bayeslmm.inference.hamiltonian import chains, sampling, whitening
from bayeslmm.inference.hamiltonian.scores import CorrelationScores, scored_density
from bayeslmm.inference.hamiltonian.whitening import centred, secants, whiten
from bayeslmm.inference.importance import points
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.laplace import Laplace, find_laplace
from bayeslmm.inference.nuts.marginal import WhitenedDensity
from bayeslmm.inference.options import Options
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.validation.agreement import compare_draws

DIFFERENCE = 1e-5  # step of central differences, whose error is its square
SLOPE_ERROR = 1e-5


class Logistic:
    """Independent logistic coordinates, whose tails are longer than a normal distribution's."""

    def __init__(self, centres, scales):
        self.centres, self.scales = np.array(centres), np.array(scales)
        self.dimension = len(self.centres)

    def value_and_gradient(self, x):
        half = (x - self.centres) / (2 * self.scales)
        return -2 * float(np.sum(np.logaddexp(half, -half))), -np.tanh(half) / self.scales


class Normal:
    """A normal density around zero."""

    def __init__(self, dimension, sd=1.0):
        self.dimension, self.sd = dimension, sd

    def value_and_gradient(self, x):
        return -0.5 * float(x @ x) / self.sd**2, -x / self.sd**2


def whitened(density):
    d = density.dimension
    return WhitenedDensity(density, Laplace(np.zeros(d), np.eye(d), 0.0, 0))


@pytest.fixture(scope="module")
def correlated():
    """A covariance model whose second variance and whose correlation the data hardly know."""
    return small_models.correlated_slope()


@pytest.fixture(scope="module")
def scored(correlated):
    density = correlated.problem.density
    return scored_density(density, find_laplace(density))


def test_a_partial_correlation_under_its_prior_is_standard_normal():
    """(1 + r) / 2 is Beta(a, a): quantiles of r go to the quantiles of a normal distribution."""
    shapes = np.array([1.0, 1.5, 4.0])
    scores = CorrelationScores(np.arange(3), shapes)
    for probability in (1e-6, 0.03, 0.5, 0.8):
        u = np.arctanh(2 * stats.beta(shapes, shapes).ppf(probability) - 1)
        x, log_slope = scores.forward(u)
        np.testing.assert_allclose(x, stats.norm.ppf(probability), atol=1e-8)
        np.testing.assert_allclose(scores.backward(x), u, rtol=1e-8)
        r = np.tanh(u)
        log_density = stats.beta(shapes, shapes).logpdf((1 + r) / 2) + np.log((1 - r**2) / 2)
        np.testing.assert_allclose(log_slope, log_density - stats.norm.logpdf(x), rtol=1e-8)


def test_scores_and_parameters_are_inverse(scored):
    rng = np.random.default_rng(1)
    for x in rng.normal(size=(5, scored.dimension)):
        u = scored.parameters(x[None])[0]
        back, slopes = scored.scores(u)
        np.testing.assert_allclose(back, x, atol=1e-7)
        for a in range(len(x)):
            move = np.eye(len(x))[a] * DIFFERENCE
            by_x = (scored.parameters((x + move)[None])[0] - scored.parameters((x - move)[None])[0]) / (2 * DIFFERENCE)
            np.testing.assert_allclose(by_x, np.eye(len(x))[a] / slopes[a], rtol=1e-5, atol=1e-8)


def test_density_of_scores(scored):
    """log p_x = log p_u - log |dx/du|, and its gradient by differences."""
    rng = np.random.default_rng(2)
    for x in rng.normal(size=(5, scored.dimension)):
        u = scored.parameters(x[None])[0]
        value, gradient = scored.value_and_gradient(x)
        expected = scored.density.value_and_gradient(u)[0] - np.log(scored.scores(u)[1]).sum()
        assert value == pytest.approx(expected, rel=1e-9)
        for a in range(len(x)):
            move = np.eye(len(x))[a] * DIFFERENCE
            slope = (scored.value_and_gradient(x + move)[0] - scored.value_and_gradient(x - move)[0]) / (2 * DIFFERENCE)
            assert gradient[a] == pytest.approx(slope, rel=SLOPE_ERROR, abs=SLOPE_ERROR)


def test_secants_of_a_normal_density_are_its_precision():
    np.testing.assert_allclose(secants(whitened(Normal(3)))[0], np.eye(3), atol=1e-12)
    # the slope of a logistic density grows less than the curvature at its centre says
    wide = secants(whitened(Logistic([0.0, 0.0], [1.0, 2.0])))[0]
    h = whitening.SECANT
    np.testing.assert_allclose(wide, np.diag([np.tanh(h / 2) / h, np.tanh(h / 4) / (2 * h)]), rtol=1e-9)


def test_a_normal_approximation_moves_to_the_mean():
    """From a centre half a standard deviation off to the mean of a normal density, with its variance."""
    off = Laplace(np.array([0.5, -0.3]), np.eye(2), 0.0, 0)
    found = centred(WhitenedDensity(Normal(2, sd=1.5), off))
    np.testing.assert_allclose(found.mode, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.covariance, 1.5**2 * np.eye(2), atol=1e-12)
    far = Laplace(np.array([50.0, 0.0]), np.eye(2), 0.0, 0)
    np.testing.assert_allclose(centred(WhitenedDensity(Normal(2), far)).mode, [50.0 - whitening.LONGEST_MOVE, 0.0])


def test_whitening_makes_secants_of_a_model_even(scored):
    """After one more whitening the secants of a posterior with a weak variance lie nearer to the identity."""
    density = scored.density
    spread = np.linalg.eigvalsh(secants(whiten(scored, find_laplace(density)))[0])
    assert spread.min() > 0.5 and spread.max() < 1.6


def test_no_error_of_the_energy_on_a_standard_normal():
    rng = np.random.default_rng(3)
    state = chains.ChainState(whitened(Normal(50)), rng.normal(size=50))
    for _ in range(20):
        assert state.move(0.6, rng)["acceptance_rate"] == pytest.approx(1.0, abs=1e-10)


def test_trajectories_are_reversible():
    rng = np.random.default_rng(4)
    density = whitened(Logistic([0.0, 0.5, -1.0], [0.7, 0.3, 1.1]))
    start, momentum = rng.normal(size=(2, 3))
    state = chains.ChainState(density, start)
    z, value, gradient, end = state._trajectory(momentum, 0.5, 7)
    assert np.abs(z - start).max() > 0.1
    state.z, state.value, state.gradient = z, value, gradient
    back, *_, momentum_back = state._trajectory(-end, 0.5, 7)
    np.testing.assert_allclose(back, start, atol=1e-8)
    np.testing.assert_allclose(momentum_back, -momentum, atol=1e-8)


def test_a_chain_has_the_moments_of_its_density():
    """Means and variances within five standard errors of 4,000 draws, each worth at least a tenth of one."""
    centres, scales = np.array([0.3, -0.5, 0.0]), np.array([0.6, 0.9, 0.3])
    found = chains.run_chain(whitened(Logistic(centres, scales)), 4000, 0.8, 1)
    variances = stats.logistic.var() * scales**2
    kurtosis = float(stats.logistic.stats(moments="k"))
    assert np.all(np.abs(found.x.mean(axis=0) - centres) < 5 * np.sqrt(variances / 400))
    assert np.all(np.abs(found.x.var(axis=0) / variances - 1) < 5 * np.sqrt((kurtosis + 2) / 400))


def test_the_step_is_tuned_to_the_acceptance_rate():
    """A density much narrower than its whitening takes smaller steps than one that is as wide."""
    narrow = whitened(Normal(5, 0.1))
    found = chains.run_chain(narrow, 200, 0.8, 2)
    assert found.stats["step_size"][0] < 0.3
    assert 0.6 < found.stats["acceptance_rate"].mean() < 0.98
    easy = chains.run_chain(whitened(Normal(5)), 50, 0.8, 2)
    assert easy.stats["step_size"][0] == pytest.approx(chains.LARGEST_STEP)


def test_starts_nearer_to_the_centre_where_the_density_ends():
    class Box:
        dimension = 3

        def value_and_gradient(self, x):
            inside = np.abs(x).max() < 0.2
            return (0.0 if inside else -np.inf), np.zeros(3)

    found = chains.run_chain(whitened(Box()), 30, 0.8, 5)
    assert np.abs(found.x).max() < 0.2 and found.failures > 0

    class Nowhere(Box):
        def value_and_gradient(self, x):
            raise FittingError("no value.")

    with pytest.raises(FittingError, match=r"cannot be evaluated near its mode: no value\."):
        chains.run_chain(whitened(Nowhere()), 30, 0.8, 5)


def test_agrees_with_importance_sampling(correlated):
    density = correlated.problem.density
    laplace = find_laplace(density)
    found = sampling.sample_hamiltonian(density, laplace, Options(draws=600, chains=4, seed=3))
    options = Options(draws=2000, chains=1, seed=1)
    weighted = weighted_points(density, options, laplace=laplace)
    assert weighted.trouble == ""
    compared = compare_draws(correlated.design, found, importance_draws(density, weighted, options))
    assert compared.agrees(), compared.table().to_string()
    assert found.stats["n_steps"].mean() < 2 * chains.TURN / chains.LARGEST_STEP


@pytest.fixture(scope="module")
def maximal():
    """Two crossed factors, three correlated effects each; the last variances are zero."""
    rng = np.random.default_rng(8)
    n, subjects, items = 300, 20, 12
    a, b = rng.choice([-1.0, 1.0], size=(2, n))
    subject, item = rng.integers(0, subjects, n), rng.integers(0, items, n)
    X = np.column_stack([np.ones(n), a, b])
    effects = [rng.normal(size=(count, 3)) * [0.7, 0.3, 0.0] for count in (subjects, items)]
    y = X @ [1, 0.5, 0] + np.sum(X * (effects[0][subject] + effects[1][item]), axis=1) + rng.normal(size=n)
    data = pd.DataFrame({"y": y, "a": a, "b": b, "subject": subject, "item": item})
    return blm.Model("y ~ a + b + (a + b | subject) + (a + b | item)", data)


def test_takes_over_at_once_from_weights_of_many_parameters(maximal, monkeypatch):
    monkeypatch.setattr(sampling, "MANY", 11)
    run = {"draws": 60, "chains": 2, "seed": 1, "progressbar": False}
    with pytest.warns(UserWarning, match="Weights of 12 covariance parameters are too uneven"):
        fit = maximal.fit("importance", **run)
    assert fit.info["sampler"] == "hmc"
    assert "Hamiltonian Monte Carlo took over because" in fit.status.message
    again = maximal.fit("hmc", cores=2, **run)
    np.testing.assert_array_equal(again.draws.beta, fit.draws.beta)
    assert not again.info.get("messages")
    assert maximal.fit("importance", handover="keep", **run).method == "importance"
    monkeypatch.setattr(sampling, "MANY", 12)
    assert not sampling.has_many(CovarianceDensity(maximal.kernel, maximal.resolved_priors))


def test_a_fit_says_what_ran(maximal, monkeypatch, tmp_path):
    """After a hand-over, too: not NUTS, in its summary, its label, its file, its report and the script there."""
    monkeypatch.setattr(sampling, "MANY", 11)
    with pytest.warns(UserWarning, match="Hamiltonian Monte Carlo takes over"):
        fit = maximal.fit("importance", draws=20, chains=2, seed=1, progressbar=False)
    loaded = blm.load(fit.save(tmp_path / "fit"))
    for found in (fit, loaded):
        assert found.method == "hmc" and repr(found).startswith("<PosteriorFit hmc: ")
        assert found.summary().title == "Bayesian linear mixed model, sampled by Hamiltonian Monte Carlo"
        assert "NUTS" not in str(found.summary())
    assert set(blm.compare(fit, maximal.fit("reml")).columns.get_level_values(0)) == {"hmc", "reml"}
    html = fit.report(tmp_path / "report.html", pictures=False).read_text()
    assert "sampled by Hamiltonian Monte Carlo</h1>" in html and "NUTS" not in html
    assert "fit = model.fit(&#x27;hmc&#x27;, draws=20, chains=2, target_accept=0.8, seed=1)" in html


def test_a_model_without_covariance_parameters_is_drawn_exactly():
    data = pd.DataFrame({"y": np.random.default_rng(1).normal(size=30), "x": np.arange(30.0)})
    model = blm.Model("y ~ x", data, sigma=1.0)
    fits = [model.fit(method, draws=20, seed=1, progressbar=False) for method in ("hmc", "nuts")]
    assert fits[0].method == "hmc"
    np.testing.assert_array_equal(fits[0].draws.beta, fits[1].draws.beta)


def test_is_for_normal_responses(maximal):
    counts = maximal.design.data.assign(y=1)
    with pytest.raises(OptionError, match='Hamiltonian Monte Carlo is for normal responses; use method="nuts" or'):
        blm.Model("y ~ a + (1 | subject)", counts, family="poisson").fit("hmc")
    with pytest.raises(OptionError, match="method='hmc' takes no option 'tune'"):
        maximal.fit("hmc", tune=10)


def test_takes_over_where_points_are_costly_and_their_weights_uneven(maximal, monkeypatch):
    monkeypatch.setattr(points, "SMALL_ORDER", 1)
    monkeypatch.setattr(points, "MOST_ROUNDS", 0)
    monkeypatch.setattr(points, "ENOUGH_EFFECTIVE", 1e9)
    with pytest.warns(UserWarning, match=r"so Hamiltonian Monte Carlo takes over, for about .*\. handover='error'"):
        fit = maximal.fit("importance", draws=20, chains=2, seed=1, progressbar=False)
    assert fit.info["sampler"] == "hmc"
    assert "took over because importance sampling reached an effective size" in fit.status.message


def test_a_maximal_model_agrees_with_importance_sampling_in_few_gradients(maximal):
    """Singular at its optimum: as many effective draws of the worst sd as one in eight, for three gradients a draw."""
    density = CovarianceDensity(maximal.kernel, maximal.resolved_priors)
    laplace = find_laplace(density)
    found = sampling.sample_hamiltonian(density, laplace, Options(draws=500, chains=2, seed=3, store=()))
    assert found.info["kernel_evaluations"] < 1000 * 5
    options = Options(draws=2000, chains=1, seed=1, store=())
    weighted = weighted_points(density, options, laplace=laplace)
    compared = compare_draws(maximal.design, found, importance_draws(density, weighted, options))
    assert compared.agrees(), compared.table().to_string()
    sizes = compared.first.sd**2 / compared.first.mean_error**2
    assert sizes.min() > 1000 / 8
