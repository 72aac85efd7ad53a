"""Means, sds and quantiles of random effects without draws of them."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

import bayeslmm as blm
from bayeslmm.design import build_design
from bayeslmm.errors import OptionError
from bayeslmm.formula import parse
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.effect_summaries import Component, effect_moments, summarise_effects
from bayeslmm.posterior.mixture_quantiles import mixture_quantiles
from bayeslmm.priors import resolve_priors

EXACT = 1e-8  # relative: the same number by another route
FOUR_BYTES = 1e-5  # of a standard deviation: the parts of the mixture are kept in four bytes
ERRORS = 4.5  # Monte Carlo standard errors, the largest of some dozens


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"x": rng.normal(1, 1, 80), "g": rng.integers(0, 7, 80), "h": rng.integers(0, 5, 80)})
    data["y"] = 50 + data.x + rng.normal(size=7)[data.g] + rng.normal(size=5)[data.h] + rng.normal(size=80)
    return data


def density_of(frame, formula):
    design = build_design(parse(formula), frame)
    priors = resolve_priors(design, {"x": "Normal(0, 1)", "Intercept": "Normal(45, 5)"})
    return design, priors, CovarianceDensity(build_kernel(design), priors)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x | g) + (1 | h)"])
def test_moments_are_those_of_the_joint_normal_distribution(frame, formula):
    design, priors, density = density_of(frame, formula)
    phi, sigma = 0.5 * np.random.default_rng(1).normal(size=density.n_phi), 0.8
    columns, blocks = [design.X @ priors.fixed_centring.matrix], [np.diag([p.sigma**2 for p in priors.fixed])]
    for term, root in zip(design.terms, density.user_factors(density.points(phi)), strict=True):
        wide = np.zeros((design.n, term.n_levels, term.n_columns))
        wide[np.arange(design.n), term.codes] = term.columns
        columns.append(wide.reshape(design.n, -1))
        blocks.append(np.kron(np.eye(term.n_levels), sigma**2 * root @ root.T))
    joined = np.hstack(columns)
    prior = np.zeros((joined.shape[1],) * 2)
    start = 0
    for block in blocks:
        prior[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    mean = np.concatenate([[p.mu for p in priors.fixed], np.zeros(joined.shape[1] - design.p)])
    gain = prior @ joined.T @ np.linalg.inv(joined @ prior @ joined.T + sigma**2 * np.eye(design.n))
    expected = mean + gain @ (design.y - joined @ mean)
    variance = np.diag(prior - gain @ joined @ prior)
    (means,), (variances,) = effect_moments(density, Component(phi, np.array([sigma]), np.ones(1)))
    np.testing.assert_allclose(means, expected[design.p :], rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(variances, variance[design.p :], rtol=EXACT)


def test_quantiles_of_mixtures():
    rng = np.random.default_rng(2)
    means, sds = rng.normal(size=(6, 4)).astype(np.float32), rng.uniform(0.1, 2, (6, 4)).astype(np.float32)
    sds[:, 3] = 0.0  # a term whose variance is zero
    means[:, 3] = 0.0
    weights = rng.dirichlet(np.ones(6))
    mean = weights @ means
    sd = np.sqrt(weights @ (sds.astype(float) ** 2 + means**2) - mean**2)
    probabilities = np.array([0.001, 0.3, 0.9999])
    found = mixture_quantiles(means, sds, weights, mean, sd, probabilities)
    for q, p in enumerate(probabilities):
        for j in range(3):
            exact = brentq(lambda x, j=j, p=p: weights @ norm.cdf(x, means[:, j], sds[:, j]) - p, -50, 50, xtol=1e-12)
            assert found[q, j] == pytest.approx(exact, abs=1e-6)
    assert (found[:, 3] == 0).all()


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.25, 1.0])
def test_quantiles_of_parts_that_are_nearly_alike(spread):
    """Series of few and of many terms, and parts too far apart for one, against distribution functions."""
    rng = np.random.default_rng(3)
    means = (5 + spread * rng.uniform(-1, 1, (40, 3))).astype(np.float32)
    sds = (1 + 0.1 * spread * rng.uniform(-1, 1, (40, 3))).astype(np.float32)
    weights = rng.dirichlet(np.ones(40))
    mean = weights @ means
    sd = np.sqrt(weights @ (sds.astype(float) ** 2 + means.astype(float) ** 2) - mean**2)
    probabilities = np.array([0.001, 0.025, 0.5, 0.975, 0.999])
    found = mixture_quantiles(means, sds, weights, mean, sd, probabilities)
    for q, p in enumerate(probabilities):
        for j in range(3):
            exact = brentq(lambda x, j=j, p=p: weights @ norm.cdf(x, means[:, j], sds[:, j]) - p, 0, 10, xtol=1e-13)
            assert found[q, j] == pytest.approx(exact, abs=1e-6)


def test_summaries_are_averages_over_the_components(frame):
    _, _, density = density_of(frame, "y ~ x + (x | g) + (1 | h)")
    rng = np.random.default_rng(3)
    points = [0.3 * rng.normal(size=density.n_phi) for _ in range(3)]
    sigmas = [np.array([1.0]), np.array([1.1, 1.2]), np.array([1.3])]  # two distributions share a point
    shares = [np.array([0.2]), np.array([1.2, 2.2]), np.array([3.2])]
    parts = [Component(*one) for one in zip(points, sigmas, shares, strict=True)]
    moments = [pair for part in parts for pair in zip(*effect_moments(density, part), strict=True)]
    weights = np.concatenate(shares) / sum(share.sum() for share in shares)
    mean = sum(w * m for w, (m, _) in zip(weights, moments, strict=True))
    second = sum(w * (v + m**2) for w, (m, v) in zip(weights, moments, strict=True))
    sd = np.sqrt(second - mean**2)
    found = summarise_effects(density, parts, (0.9, 0.1))
    assert [one.mean.shape for one in found] == [(7, 2), (5, 1)]
    np.testing.assert_allclose(np.concatenate([one.mean.ravel() for one in found]), mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.concatenate([one.sd.ravel() for one in found]), sd, rtol=1e-7)
    assert found[0].probabilities.tolist() == [0.1, 0.9]
    low = np.concatenate([one.quantiles[0].ravel() for one in found])
    below = [
        sum(w * norm.cdf(x, m[j], np.sqrt(v[j])) for w, (m, v) in zip(weights, moments, strict=True))
        for j, x in enumerate(low)
    ]
    np.testing.assert_allclose(below, 0.1, atol=FOUR_BYTES)


@pytest.mark.parametrize("spread", [0.001, 0.3])
def test_summaries_of_a_single_term_whose_levels_take_several_tiles(spread):
    """Against the factor of the general path, with parts nearly alike and far apart."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"x": rng.normal(1, 1, 600), "g": np.repeat(np.arange(150), 4)})
    data["y"] = 50 + data.x + rng.normal(size=150)[data.g] + rng.normal(size=600)
    _, _, density = density_of(data, "y ~ x + (x | g)")
    assert density.single is not None
    parts = [
        Component(spread * rng.normal(size=3), np.exp(spread * rng.normal(size=2)), rng.uniform(1, 2, 2))
        for _ in range(20)
    ]
    (found,) = summarise_effects(density, parts, (0.025, 0.5, 0.99))
    means, variances = (
        np.vstack(rows) for rows in zip(*(effect_moments(density, part) for part in parts), strict=True)
    )
    weights = np.concatenate([part.weights for part in parts])
    weights /= weights.sum()
    np.testing.assert_allclose(found.mean.ravel(), weights @ means, rtol=EXACT, atol=EXACT)
    variance = weights @ variances + weights @ (means - weights @ means) ** 2
    np.testing.assert_allclose(found.sd.ravel(), np.sqrt(variance), rtol=EXACT)
    for p, quantiles in zip(found.probabilities, found.quantiles, strict=True):
        below = weights @ norm.cdf(quantiles.ravel(), means, np.sqrt(variances))
        np.testing.assert_allclose(below, p, atol=FOUR_BYTES)


@pytest.mark.parametrize("method", ["importance", "nuts"])
def test_store_summary_agrees_with_draws(frame, method, tmp_path):
    model = blm.Model("y ~ x + (1 | g) + (1 | h)" if method == "importance" else "y ~ x + (1 | g)", frame)
    options = {"draws": 500, "chains": 2, "seed": 1}
    full = model.fit(method, **options)
    kept = model.fit(method, store="summary", quantiles=(0.05, 0.5, 0.95), **options)
    pd.testing.assert_frame_equal(kept.coef_table(), full.coef_table())
    count = 400  # effective draws at least
    for group, sds in full.ranef_sd().items():
        z = (kept.ranef()[group] - full.ranef()[group]) / sds * np.sqrt(count)
        assert np.abs(z.to_numpy()).max() < ERRORS
        np.testing.assert_allclose(kept.ranef_sd()[group], sds, rtol=ERRORS / np.sqrt(2 * count))
        table = kept.ranef_table(0.9)[group]
        limits = full.ranef_table(0.9)[group]
        assert np.abs((table["lower"] - limits["lower"]) / table["sd"]).max() < ERRORS * 2 / np.sqrt(count)
    with pytest.raises(OptionError, match=r"level=0.5 were not kept.*quantiles=\(0.25, 0.75\)"):
        kept.ranef_table(0.5)
    with pytest.raises(OptionError, match="not kept"):
        kept.predict()
    kept.save(tmp_path / "fit")
    again = blm.load(tmp_path / "fit")
    for group, table in kept.ranef_table(0.9).items():
        pd.testing.assert_frame_equal(again.ranef_table(0.9)[group], table)
    assert kept.plot("ranef", group="g") is not None


def test_where_no_summaries_are_made(frame):
    model = blm.Model("y ~ x + (1 | g)", frame)
    with pytest.raises(OptionError, match="store='summary' is for"):
        model.fit("advi", store="summary")
    with pytest.raises(OptionError, match="parametrization='marginal'"):
        model.fit("nuts", store="summary", parametrization="noncentered")
    with pytest.raises(OptionError, match="probabilities between 0 and 1"):
        model.fit("importance", store="summary", quantiles=(5, 95))
