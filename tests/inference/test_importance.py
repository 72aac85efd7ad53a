"""Importance sampling: its parts against known answers, its draws, its hand-over."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

import bayeslmm as blm
from bayeslmm.errors import FittingError, OptionError
from bayeslmm.inference.importance import coefficients, early
from bayeslmm.inference.importance import points as importance_points
from bayeslmm.inference.importance import sampling as importance
from bayeslmm.inference.importance.handover import duration
from bayeslmm.inference.importance.proposals import (
    StudentProposal,
    TruncatedMap,
    identity_map,
    normal_share,
    truncated_map,
)
from bayeslmm.inference.importance.psis import fit_pareto, pareto_quantile, smooth_weights
from bayeslmm.inference.options import Options
from bayeslmm.likelihood import factor, lapack, threads
from bayeslmm.posterior import single_density
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.single_density import SingleTerm


@pytest.fixture(scope="module")
def sleepstudy():
    return blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def density(sleepstudy):
    return CovarianceDensity(sleepstudy.kernel, sleepstudy.resolved_priors)


@pytest.fixture(scope="module")
def fit(sleepstudy):
    return sleepstudy.fit("importance", draws=500, seed=1)


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.9])
def test_pareto_fit_finds_the_shape(shape):
    """2,000 draws know the shape to about 0.03; the prior pulls it by 10/2010 of its distance from one half."""
    draws = np.sort(stats.genpareto(shape, scale=2.0).rvs(2000, random_state=4))
    found, scale = fit_pareto(draws)
    assert found == pytest.approx(shape, abs=0.1)
    assert scale == pytest.approx(2.0, rel=0.1)


def test_pareto_quantiles():
    p = np.array([0.01, 0.5, 0.99])
    for shape in (-0.4, 0.0, 0.7):
        np.testing.assert_allclose(pareto_quantile(p, shape, 3.0), stats.genpareto(shape, scale=3.0).ppf(p), rtol=1e-10)


def test_smoothed_weights_are_arviz():
    import arviz

    logs = np.random.default_rng(1).standard_t(3, size=1000)
    found = smooth_weights(logs)
    expected, k_hat = arviz.psislw(logs)
    assert found.k_hat == pytest.approx(float(k_hat), abs=1e-6)
    np.testing.assert_allclose(np.log(found.weights), expected, atol=1e-6)
    assert found.effective_size == pytest.approx(1 / np.sum(np.exp(2 * expected)), rel=1e-5)


@pytest.mark.parametrize(("d", "dof"), [(1, 7.0), (2, 7.0), (5, 12.0)])
def test_effective_share_of_points_under_a_normal_density(d, dof):
    """One over E_q[(p/q)²], by the distance from the centre, whose density under q is that of a scaled F."""
    x = np.zeros(d)

    def integrand(r):
        x[0] = r
        log_p = stats.multivariate_normal(np.zeros(d)).logpdf(x)
        log_q = stats.multivariate_t(df=dof, shape=np.eye(d)).logpdf(x)
        return np.exp(2 * (log_p - log_q)) * stats.f(d, dof).pdf(r**2 / d) * 2 * r / d

    expected = 1 / quad(integrand, 0, 12)[0]
    assert normal_share(d, dof) == pytest.approx(expected, rel=1e-6)


def test_equal_weights():
    found = smooth_weights(np.zeros(200))
    assert found.effective_size == pytest.approx(200) and found.largest == pytest.approx(1)


# -- proposals --------------------------------------------------------------------------------------------------------


def proposals():
    root = np.linalg.cholesky([[0.2, 0.05], [0.05, 0.5]])
    scores = TruncatedMap(np.array([1]), np.array([-0.3]), np.array([0.8]))
    return {
        "identity": StudentProposal(identity_map(), np.array([0.3, -1.0]), root, 7.0),
        "truncated": StudentProposal(scores, np.array([0.3, 0.1]), root, 12.0),
    }


@pytest.mark.parametrize("name", ["identity", "truncated"])
def test_the_density_of_a_proposal_is_that_of_its_draws(name):
    """The integral of the density is one, and its mean is that of many draws (standard error about 0.005)."""
    proposal = proposals()[name]
    first, second = np.linspace(-6, 6, 501), np.linspace(-14, 6, 801)
    grid = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    area = (first[1] - first[0]) * (second[1] - second[0])
    density = np.exp(proposal.log_density(grid)) * area
    assert density.sum() == pytest.approx(1, abs=5e-3)
    draws = proposal.sample(np.random.default_rng(2).uniform(size=(40_000, 3)))
    np.testing.assert_allclose(np.exp(draws).mean(axis=0), density @ np.exp(grid), rtol=0.03)


def test_truncated_normal_matches_mode_and_curvature():
    """In log t the truncated normal has its mode at the given point and the given curvature."""
    found = truncated_map(np.array([0.4]), np.array([0.3]), [0])
    z = 0.4 + np.array([-1e-4, 0, 1e-4])
    logs = -0.5 * ((np.exp(z) - found.mean[0]) / found.scale[0]) ** 2 + z
    assert (logs[2] - logs[0]) / 2e-4 == pytest.approx(0, abs=1e-6)
    assert -(logs[2] - 2 * logs[1] + logs[0]) / 1e-8 == pytest.approx(1 / 0.3, rel=1e-4)
    assert truncated_map(np.array([0.4]), np.array([0.05]), [0]) is None


# -- draws ------------------------------------------------------------------------------------------------------------


def test_status_and_facts(fit):
    assert fit.status.code == "ok"
    assert fit.info["k_hat"] < 0.5 and fit.info["effective_size"] > 1000
    assert fit.draws.beta.shape == (4, 500, 2)


@pytest.mark.parametrize("data", ["sleepstudy", "crossed"])
def test_same_seed_same_draws_whatever_the_cores(data, density, monkeypatch):
    if data == "crossed":
        rng = np.random.default_rng(1)
        frame = {"g": rng.integers(0, 6, 90), "h": rng.integers(0, 5, 90), "y": rng.normal(size=90)}
        model = blm.Model("y ~ 1 + (1 | g) + (1 | h)", frame)
        density = CovarianceDensity(model.kernel, model.resolved_priors)
        monkeypatch.setattr(threads, "LARGE_ORDER", 1)  # let threads be used on a small model
    runs = []
    limits = set()
    for cores in (1, 2):
        monkeypatch.setattr(threads, "idle_cores", lambda cores=cores: cores)
        monkeypatch.setattr(factor, "cholesky", lambda a, c=lapack.cholesky: limits.add(blas_limit()) or c(a))
        runs.append(importance.sample_importance(density, Options(draws=100, chains=2, seed=5)))
    assert limits <= {1}  # LAPACK rounds in another way with more threads
    np.testing.assert_array_equal(runs[0].beta, runs[1].beta)
    np.testing.assert_array_equal(runs[0].effects[0], runs[1].effects[0])
    other = importance.sample_importance(density, Options(draws=100, chains=2, seed=6))
    assert not np.array_equal(runs[0].beta, other.beta)


def blas_limit():
    return max(library.num_threads for library in threads._libraries())


def test_the_compiled_loop_draws_from_the_same_distribution(density, monkeypatch):
    """General path against compiled one: means within 5 standard errors of 2 x 2,000 draws."""
    compiled = importance.sample_importance(density, Options(draws=1000, chains=2, seed=1))
    monkeypatch.setitem(density.__dict__, "single", None)
    general = importance.sample_importance(density, Options(draws=1000, chains=2, seed=1))
    for one, two in ((compiled.beta, general.beta), (compiled.sd[0], general.sd[0]),
                     (compiled.effects[0], general.effects[0]), (compiled.sigma, general.sigma)):  # fmt: skip
        error = np.std(one, axis=(0, 1)) * np.sqrt(2 / 1000)
        assert np.all(np.abs(one.mean(axis=(0, 1)) - two.mean(axis=(0, 1))) < 5 * error)
        np.testing.assert_allclose(one.std(axis=(0, 1)), two.std(axis=(0, 1)), rtol=0.12)


def test_nuts_takes_over_and_says_so(sleepstudy, monkeypatch):
    monkeypatch.setattr(importance_points, "ENOUGH_EFFECTIVE", 1e9)
    with pytest.warns(UserWarning, match=r"so NUTS takes over, for about (a second|\d+ seconds)\."):
        fit = sleepstudy.fit("importance", draws=150, chains=4, seed=1)
    assert fit.method == "nuts"
    assert "NUTS took over because importance sampling reached an effective size" in fit.status.message


def test_nuts_need_not_take_over(sleepstudy, monkeypatch):
    usual = sleepstudy.fit("importance", draws=150, chains=4, seed=1)
    monkeypatch.setattr(importance_points, "ENOUGH_EFFECTIVE", 1e9)
    kept = sleepstudy.fit("importance", draws=150, chains=4, seed=1, handover="keep")
    assert kept.method == "importance" and kept.info["points"] >= usual.info["points"]
    with pytest.raises(FittingError, match="handover='keep' for the weighted draws"):
        sleepstudy.fit("importance", seed=1, handover="error")
    with pytest.raises(OptionError, match="'nuts', 'error', 'keep'"):
        sleepstudy.fit("importance", seed=1, handover="stop")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "a second"), (40, "40 seconds"), (600, "10 minutes"), (9000, "2.5 hours")]
)
def test_lengths_of_time(seconds, words):
    assert duration(seconds) == words


def test_a_failing_kernel_gets_no_weight(density, monkeypatch):
    """Every third point fails; the others carry the posterior and the failures are counted."""
    monkeypatch.setitem(density.__dict__, "single", None)
    real, calls = type(density).grid, []

    def failing(self, phi):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise FittingError("injected")
        return real(self, phi)

    monkeypatch.setattr(type(density), "grid", failing)
    found = importance_points.weighted_points(density, Options(draws=500, chains=1, seed=1))
    dead = ~np.isfinite(found.log_density)
    assert found.failures == dead.sum() > 100
    assert np.all(found.smoothed.weights[dead] == 0)


def test_no_random_term():
    """Linear regression with flat coefficients and a known sigma: beta is normal around least squares."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = 1 + 2 * x + rng.normal(size=50)
    fit = blm.Model("y ~ x", {"x": x, "y": y}, priors={"Intercept": "Flat()", "x": "Flat()"}, sigma=1.0).fit(
        "importance", seed=2
    )
    X = np.column_stack([np.ones(50), x])
    least_squares = np.linalg.solve(X.T @ X, X.T @ y)
    sd = np.sqrt(np.diag(np.linalg.inv(X.T @ X)))
    np.testing.assert_allclose(fit.fixef(), least_squares, atol=5 * sd.max() / np.sqrt(4000))
    np.testing.assert_allclose(fit.coef_table()["sd"], sd, rtol=0.06)


def test_the_effective_size_of_the_weights_bounds_that_of_the_draws(sleepstudy, monkeypatch):
    """Few points and 4,000 draws: a standard deviation has no more effective draws than the points are worth."""
    monkeypatch.setattr(single_density, "LARGE_TERM", 0)
    fit = sleepstudy.fit("importance", draws=1000, seed=1)
    effective = fit.info["effective_size"]
    assert effective >= 400 and fit.info["points"] <= 1024
    assert fit.covariance_table()["ess_bulk"].max() <= effective


def test_costly_points_are_few_and_worth_more(monkeypatch):
    """Two covariance parameters: 64 scrambled points give posterior means within the error of 400 draws."""
    rng = np.random.default_rng(2)
    g, h = np.arange(6000) % 60, rng.integers(0, 50, 6000)
    y = rng.normal(size=60)[g] + rng.normal(size=50)[h] + rng.normal(size=6000)
    model = blm.Model("y ~ 1 + (1 | g) + (1 | h)", {"g": g, "h": h, "y": y})
    reference = model.fit("importance", draws=1000, seed=1)
    monkeypatch.setattr(importance_points, "SMALL_ORDER", 0)
    fit = model.fit("importance", draws=1000, seed=1)
    assert fit.info["points"] == 64 and fit.info["rounds"] == 1
    assert fit.info["effective_size"] >= 400
    assert fit.status.code == "ok", fit.status.message
    for one, two in zip(fit.draws.sd, reference.draws.sd, strict=True):
        assert abs(one.mean() - two.mean()) < 5 * two.std() / np.sqrt(400)
        assert one.std() == pytest.approx(two.std(), rel=0.15)


def test_replicates_measure_the_error_of_the_points():
    """A normal posterior and a t proposal: the size that four sets report against the error over 200 seeds."""
    root = np.array([[1.0, 0.0], [0.5, 0.8]])
    proposal = StudentProposal(identity_map(), np.zeros(2), root, 7.0)
    truth = stats.multivariate_normal(np.zeros(2), root @ root.T)
    sets = np.repeat(np.arange(4), 16)
    means, sizes = [], []
    for seed in range(200):
        uniforms = [stats.qmc.Sobol(3, rng=np.random.default_rng([seed, r])).random(16) for r in range(4)]
        x = proposal.sample(np.clip(np.vstack(uniforms), 1e-12, 1 - 1e-12))
        weights = smooth_weights(truth.logpdf(x) - proposal.log_density(x)).weights
        mean = weights @ x
        means.append(np.concatenate([mean, weights @ (x - mean) ** 2]))
        sizes.append(importance_points.replicated_size(x, weights, sets))
    variances = np.diag(root @ root.T)
    spread = np.concatenate([variances, 2 * variances**2])
    expected = np.concatenate([np.zeros(2), variances])
    actual = 1 / np.mean(np.mean((np.array(means) - expected) ** 2, axis=0) / spread)
    assert actual > 300
    assert actual == pytest.approx(1 / np.mean(1 / np.array(sizes)), rel=0.35)  # 12 degrees of freedom a seed, biases


def test_replicates_of_independent_points_are_worth_their_number():
    rng = np.random.default_rng(0)
    sets = np.repeat(np.arange(100), 20)
    sizes = [
        importance_points.replicated_size(rng.normal(size=(2000, 2)), np.full(2000, 1 / 2000), sets) for _ in range(20)
    ]
    assert np.mean(sizes) == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("dimension", [1, 3])
def test_alarms_about_right_and_wrong_weights(dimension):
    """Weights of a normal posterior give no alarm; those of one much wider than its proposal do."""
    centre, root = np.zeros(dimension), np.eye(dimension)
    proposal = StudentProposal(identity_map(), centre, root, 7.0)
    narrow = StudentProposal(identity_map(), centre, 0.25 * root, 30.0)
    alarms = {"right": 0, "wrong": 0}
    for seed in range(100):
        uniforms = np.clip(
            stats.qmc.Sobol(dimension + 1, rng=np.random.default_rng(seed)).random(512), 1e-12, 1 - 1e-12
        )
        for name, used in (("right", proposal), ("wrong", narrow)):
            x = used.sample(uniforms)
            weights = smooth_weights(stats.multivariate_normal(centre, root).logpdf(x) - used.log_density(x))
            points = importance_points.WeightedPoints(
                x, np.zeros(512), weights, weights.effective_size, 0.0, 0.0, None, 0, 1
            )
            alarms[name] += points.trouble != ""
    assert alarms["right"] == 0 and alarms["wrong"] >= 95


def test_memory_is_what_is_kept():
    """20,000 groups, 400 draws: the peak is at most 1.3 times the draws that are returned."""
    import tracemalloc

    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(20_000), 2)
    y = rng.normal(size=20_000)[g] + rng.normal(size=40_000)
    model = blm.Model("y ~ 1 + (1 | g)", {"g": g, "y": y})
    density = CovarianceDensity(model.kernel, model.resolved_priors)
    options = Options(draws=100, chains=4, seed=1)
    importance.sample_importance(density, Options(draws=2, chains=1, seed=1))  # what is compiled and cached
    tracemalloc.start()
    try:
        draws = importance.sample_importance(density, options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert draws.effects[0].nbytes == 400 * 20_000 * 8
    assert peak < 1.3 * draws.effects[0].nbytes


def test_without_effects_each_point_is_eliminated_once(monkeypatch):
    """Pieces of one draw where effects are kept: the other draws are the same, in as many pieces as points chosen."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(300), 4)
    model = blm.Model("y ~ 1 + (1 | g)", {"g": g, "y": rng.normal(size=300)[g] + rng.normal(size=1200)})
    monkeypatch.setattr(single_density, "LARGE_TERM", 0)  # few points, several draws at each
    for module in (coefficients, early):
        monkeypatch.setattr(module, "PIECE_NUMBERS", 302)
    monkeypatch.setattr(early, "PIECE_SHARE", 0.0)
    monkeypatch.setattr(coefficients, "COMPILED_SHARE", 0.0)
    lengths = []
    real = SingleTerm.draw

    def counting(self, phi, uniforms, fixed, noise):
        lengths.extend([uniforms.shape[1]] * (len(phi) if uniforms.shape[1] else 0))  # none where points are weighed
        return real(self, phi, uniforms, fixed, noise)

    monkeypatch.setattr(SingleTerm, "draw", counting)
    kept = model.fit("importance", draws=200, chains=1, seed=1)
    assert lengths == [1] * 200
    lengths.clear()
    none = model.fit("importance", draws=200, chains=1, seed=1, store=())
    assert sum(lengths) == 200 and len(lengths) == len(np.unique(none.draws.stats["point"])) < 100
    np.testing.assert_allclose(none.draws.beta, kept.draws.beta, rtol=1e-10)
    np.testing.assert_allclose(none.draws.sigma, kept.draws.sigma, rtol=1e-10)


def test_a_prior_that_rules_out_the_reml_estimate():
    """Under Uniform(0, 20) the posterior is that under Uniform(0, 200) given sd < 20; REML's estimate is 25."""
    data = blm.load_dataset("sleepstudy")
    drawn = []
    for upper in (20, 200):
        model = blm.Model(
            "Reaction ~ Days + (Days || Subject)", data, priors={"sd_Subject[Intercept]": f"Uniform(0, {upper})"}
        )
        drawn.append(model.fit("importance", draws=4000, seed=2).draws.sd[0][..., 0].ravel())
    narrow, wide = drawn
    wide = wide[wide < 20]
    assert len(wide) > 1000
    assert narrow.mean() == pytest.approx(wide.mean(), abs=0.4) and narrow.std() == pytest.approx(wide.std(), abs=0.4)
    assert narrow.max() <= 20.0
