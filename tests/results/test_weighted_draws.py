"""What draws from weighted points are worth, by parameter: against loops, against repetition, and in a posterior."""

from dataclasses import replace

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.inference.importance.sampling import resample
from bayeslmm.results.weighted_draws import cluster_sizes, points_gain

REPETITIONS = 1500
KISH = 1 / (1960 / 2000**2 + 2 * (20 / 2000) ** 2)  # of 1,960 points with one draw each and two with twenty
REPEATED_ERROR = 0.15  # four standard errors of a variance of 1,500 repetitions


def test_against_a_loop_over_points():
    """n sum of squares over the squared sums of the points' draws, as the definition has them."""
    rng = np.random.default_rng(1)
    values, point = rng.normal(size=(50, 3)), rng.integers(0, 12, 50)
    deviations = values - values.mean(axis=0)
    shared = sum(deviations[point == p].sum(axis=0) ** 2 for p in range(12))
    np.testing.assert_allclose(cluster_sizes(values, point), 50 * (deviations**2).sum(axis=0) / shared, rtol=1e-12)


def test_of_a_function_of_the_point_it_is_that_of_the_weights():
    """sum w d^2 / sum w^2 d^2 where every point is drawn exactly n w times."""
    rng = np.random.default_rng(2)
    counts, f = rng.integers(1, 30, 40), rng.normal(size=40)
    weights = counts / counts.sum()
    d = f - weights @ f
    found = cluster_sizes(np.repeat(f, counts)[:, None], np.repeat(np.arange(40), counts))
    assert found[0] == pytest.approx(weights @ d**2 / (weights**2 @ d**2))
    even = cluster_sizes(rng.normal(size=(30, 2)), np.arange(30))
    np.testing.assert_allclose(even, 30)  # a draw a point: independent draws


def test_says_the_variance_of_means_over_repetitions():
    """Points from a proposal half as wide as the posterior: what f = x^4 is worth is far below Kish's size.

    In every repetition points are drawn anew, weighted and resampled; two draws at a point share the point's x and have
    noise of their own, as coefficients have.
    """
    rng = np.random.default_rng(3)
    means, sizes, variances, kish = [], [], [], []
    for seed in range(REPETITIONS):
        x = 0.8 * rng.normal(size=200)
        logs = -0.5 * x**2 + 0.5 * (x / 0.8) ** 2
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        chosen = resample(weights, 400, seed)
        values = np.column_stack([x[chosen], x[chosen] ** 2, 0.3 * x[chosen] + rng.normal(size=400)])
        means.append(values.mean(axis=0))
        sizes.append(cluster_sizes(values, chosen))
        variances.append(values.var(axis=0))
        kish.append(1 / np.sum(weights**2))
    expected = np.mean(np.array(variances) / np.array(sizes), axis=0)
    np.testing.assert_allclose(np.var(means, axis=0), expected, rtol=REPEATED_ERROR)
    worth = np.median(sizes, axis=0)
    assert worth[1] < 0.6 * np.median(kish) and worth[2] > np.median(kish)


@pytest.fixture(scope="module")
def fit():
    data = blm.load_dataset("dyestuff")
    return blm.Model("Yield ~ 1 + (1 | Batch)", data).fit("importance", draws=500, seed=1, progressbar=False)


def heavy(fit):
    """The fit with its 40 draws of the largest sd from two points, and the effective size of such weights."""
    sd, point = fit.draws.sd[0].copy(), fit.draws.stats["point"].copy().ravel()
    flat = sd.reshape(-1)
    point[:] = np.arange(len(point)) + 2
    largest = np.argsort(flat)[-40:]
    point[largest] = np.arange(40) // 20
    stats = {**fit.draws.stats, "point": point.reshape(sd.shape[:2])}
    info = {**fit.draws.info, "effective_size": KISH, "kish_size": KISH}
    return replace(fit, draws=replace(fit.draws, stats=stats, info=info))


def test_the_worst_parameter_is_named(fit, tmp_path):
    """Even weights but for a few points far out in one direction: Kish's size hides that, the sd's own does not."""
    found = heavy(fit)
    assert found.info["worst_parameter"] == "sd_Batch[Intercept]"
    assert found.info["effective_size_worst"] < 0.5 * KISH
    table = found.covariance_table()
    assert table.loc["sd_Batch[Intercept]", "ess_bulk"] == found.info["effective_size_worst"]
    assert table.loc["sigma", "ess_bulk"] > 0.7 * KISH
    tail = table.loc["sd_Batch[Intercept]", "ess_tail"]
    assert tail < 300  # two points hold two fifths of what lies above the 95% quantile: n · 95 / (2 · 20² + 60) = 221
    assert found.status.code == "doubtful"
    assert f"sd_Batch[Intercept] has {tail:.0f} effective draws" in found.status.message
    assert 'ask for more draws=, or use method="nuts"' in found.status.message
    loaded = blm.load(found.save(tmp_path / "fit"))
    assert loaded.info["effective_size_worst"] == pytest.approx(found.info["effective_size_worst"])


def test_the_summary_says_so_where_it_is_much_less(fit):
    assert "by the weights" not in str(fit.summary())
    assert "by the weights," in str(heavy(fit).summary()) and " of sd_Batch[Intercept]" in str(heavy(fit).summary())


def test_points_scrambled_apart_are_worth_more(fit):
    more = replace(fit.draws, info={**fit.draws.info, "effective_size": 900.0, "kish_size": 300.0})
    assert points_gain(more) == 3.0
    assert points_gain(replace(fit.draws, info={})) == 1.0


def test_other_draws_have_no_points(fit):
    draws = replace(fit.draws, method="nuts", stats={}, info={})
    assert "effective_size_worst" not in replace(fit, draws=draws).info
