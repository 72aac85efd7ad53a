"""Shares of variance, leverage and influence of generalized models.

R values: performance 0.10.2, insight 0.19.0 and lme4 1.1-31, ``insight::get_variance`` and ``performance::r2`` of
``glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)``, also with a probit link, and of
``glmer(TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD) + (1 | INDEX), grouseticks, poisson)``. insight 0.19 takes exp of the
null model's intercept, the median of the counts, for their mean, so the variance of counts is checked in closed form.
"""

import numpy as np
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.criticism.link_variance import link_variance, population_mean
from bayeslmm.families import family

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
OPTIMA = 1e-3  # relative, between optima of lme4 and of this package


@pytest.fixture(scope="module")
def herds():
    return blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial").fit("ml")


@pytest.fixture(scope="module")
def ticks():
    data = blm.load_dataset("grouseticks")
    data["H"] = (data["HEIGHT"] - data["HEIGHT"].mean()) / data["HEIGHT"].std()
    return blm.Model("TICKS ~ YEAR + H + (1 | BROOD) + (1 | INDEX)", data, family="poisson").fit("ml")


def test_shares_of_a_latent_variable(herds):
    found = herds.r2()
    fixed, random, residual = 0.3455195, 0.4122538, 3.2898681
    assert found["marginal"] == pytest.approx(fixed / (fixed + random + residual), rel=OPTIMA)
    assert found["conditional"] == pytest.approx((fixed + random) / (fixed + random + residual), rel=OPTIMA)
    assert herds.icc()["herd"] == pytest.approx(random / (random + residual), rel=OPTIMA)
    probit = blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial", link="probit").fit("ml").r2()
    assert probit.round(3).tolist() == [0.076, 0.171]


def test_an_effect_of_every_row_is_residual(ticks):
    # var.fixed, var.random, var.dispersion (INDEX) as R has them; the counts' own variance at their expected mean
    fixed, brood, index = 1.7597048, 0.8254393, 0.2953684
    spread = np.exp(ticks.design.X @ ticks.fixef().to_numpy() + (brood + index) / 2)
    residual = index + np.log1p(1 / spread.mean())
    total = fixed + brood + residual
    np.testing.assert_allclose(ticks.r2(), [fixed / total, (fixed + brood) / total], rtol=OPTIMA)
    assert ticks.icc()["INDEX"] == 0


def test_a_posterior_has_shares_draw_by_draw(herds):
    fit = blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial").fit("importance", draws=200, seed=1)
    table = fit.r2()
    sd = np.asarray(fit.draws.sd[0]).reshape(-1)
    part = np.var(np.asarray(fit.draws.beta).reshape(-1, 4) @ fit.design.X.T, axis=1, ddof=1)
    expected = part / (part + sd**2 + np.pi**2 / 3)
    assert table.loc["marginal", "mean"] == pytest.approx(expected.mean())
    assert table.loc["marginal", "lower"] < herds.r2()["marginal"] < table.loc["marginal", "upper"]


@pytest.mark.parametrize(
    ("name", "working", "mean", "expected"),
    [
        ("poisson", [], 4.0, np.log1p(1 / 4)),
        ("negative_binomial", [np.log(2.0)], 4.0, np.log1p(1 / 4 + 1 / 2)),
        ("gamma", [np.log(5.0)], 3.0, np.log1p(1 / 5)),
        ("lognormal", [np.log(0.4)], 3.0, 0.16),
        ("bernoulli", [], 0.3, np.pi**2 / 3),
        ("beta", [np.log(9.0)], 0.2, 1 / (10 * 0.2 * 0.8)),  # delta method: mu (1 - mu)/(1 + c) over (mu (1 - mu))^2
    ],
)
def test_residual_variances_in_closed_form(name, working, mean, expected):
    found = link_variance(family(name), np.array(working, dtype=float)[:, None], np.array([mean]))
    assert found == pytest.approx([expected], rel=1e-6)


def test_the_mean_over_the_population_by_quadrature():
    rng = np.random.default_rng(1)
    X, Z, S = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), np.array([[0.5, 0.2], [0.2, 0.4]])
    beta, offset = np.array([0.3, -0.5]), rng.normal(size=6)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    sd = np.sqrt(np.einsum("ns,st,nt->n", Z, S, Z))
    eta = X @ beta + offset
    expected = np.mean([np.exp(e + s * nodes) @ weights / weights.sum() for e, s in zip(eta, sd, strict=True)])
    found = population_mean(family("poisson"), X, offset, [Z], beta[None], [S[None]])
    assert found == pytest.approx([expected])


ZEROS, MEAN, SHAPE = 0.3, 4.0, 2.0


def mixture(name, eta):
    """Return probabilities of counts 0, 1, ... at a linear predictor: the definition of each family, by its sum."""
    counts, mean = np.arange(1000), np.exp(eta)
    law = stats.poisson(mean) if name.endswith("poisson") else stats.nbinom(SHAPE, SHAPE / (SHAPE + mean))
    p = law.pmf(counts)
    if name.startswith("hurdle"):
        return np.where(counts == 0, ZEROS, (1 - ZEROS) * p / (1 - p[0]))
    return np.where(counts == 0, ZEROS + (1 - ZEROS) * p, (1 - ZEROS) * p)


@pytest.mark.parametrize(
    "name",
    [
        "zero_inflated_poisson",
        "zero_inflated_negative_binomial",
        "hurdle_poisson",
        "hurdle_negative_binomial",
    ],
)
def test_residual_variances_with_zeros_apart_by_sums_over_counts(name):
    counts, eta, h = np.arange(1000), np.log(MEAN), 1e-5
    p = mixture(name, eta)
    variance = p @ counts**2 - (p @ counts) ** 2
    slope = (mixture(name, eta + h) - mixture(name, eta - h)) @ counts / (2 * h)
    zeta = np.log(ZEROS / (1 - ZEROS))
    working = [zeta] if name.endswith("poisson") else [np.log(SHAPE), zeta]
    found = link_variance(family(name), np.array(working)[:, None], np.array([MEAN]))
    assert found == pytest.approx([np.log1p(variance / slope**2)], rel=1e-6)
    if name == "zero_inflated_poisson":
        assert found == pytest.approx([np.log1p((1 + ZEROS * MEAN) / ((1 - ZEROS) * MEAN))], rel=1e-6)
    # without extra zeros the counts alone remain
    if name.startswith("zero"):
        none = link_variance(family(name), np.array([*working[:-1], -40.0])[:, None], np.array([MEAN]))
        counts_alone = family(name.removeprefix("zero_inflated_"))
        expected = link_variance(counts_alone, np.array(working[:-1], dtype=float).reshape(-1, 1), np.array([MEAN]))
        assert none == pytest.approx(expected, rel=1e-6)


def test_shares_with_extra_zeros_and_the_figure_of_r():
    """R: insight 0.19.0, ``get_variance`` of ``glmmTMB(TICKS ~ YEAR + (1 | BROOD), grouseticks, poisson, ~1)``."""
    data = blm.load_dataset("grouseticks")
    fit = blm.Model("TICKS ~ YEAR + (1 | BROOD)", data, family="zero_inflated_poisson").fit("ml")
    fixed, random, of_r, null = 0.8980579, 1.58263, 1.558128, 0.5544
    share, counts = fit.dispersion["zero"], np.exp(fit.predict(kind="link"))
    theirs = np.log1p(np.mean((1 - share) * (counts + share * counts**2)) / np.exp(null) ** 2)
    assert theirs == pytest.approx(of_r, rel=OPTIMA)  # what the docstring says of it
    mean = np.exp(fit.design.X @ fit.fixef().to_numpy() + random / 2).mean()
    residual = np.log1p((1 + share * mean) / ((1 - share) * mean))
    total = fixed + random + residual
    np.testing.assert_allclose(fit.r2(), [fixed / total, (fixed + random) / total], rtol=OPTIMA)
    assert fit.icc()["BROOD"] == pytest.approx(random / (random + residual), rel=OPTIMA)


def test_a_share_of_zeros_that_differs_between_rows():
    kind = family("zero_inflated_poisson").with_zero_columns(np.array([[1.0, 0.0], [1.0, 1.0]]), ["1", "x"])
    coefficients = np.array([[-1.0, -0.5], [0.7, 0.2]])  # of two draws, one in each column
    found = link_variance(kind, coefficients, np.array([2.0, 3.0]))
    for d, mean in enumerate((2.0, 3.0)):
        zeta = np.array([coefficients[0, d], coefficients.sum(axis=0)[d]])
        share = 1 / (1 + np.exp(-zeta))
        expected = np.log1p((1 + share * mean) / ((1 - share) * mean)).mean()
        assert found[d] == pytest.approx(expected, rel=1e-6)


def test_tails_without_a_variance_leave_no_share():
    student = link_variance(family("student"), np.log([[2.0, 2.0], [4.0, 1.5]]), np.array([0.0, 0.0]))
    assert student == pytest.approx([8.0, np.inf])


def dense_working_model(fit):
    """Return weights, working response, columns of effects and coefficients, and the penalty, by numbers of rows."""
    eta = fit.predict(kind="link").to_numpy()
    p, size = 1 / (1 + np.exp(-eta)), fit.outcome.size
    W = size * p * (1 - p)
    z = eta + (fit.outcome.y - size * p) / W
    term, factor = fit.design.terms[0], fit._factors[0]
    everything = np.hstack([np.eye(term.n_levels)[term.codes], fit.design.X])
    penalty = np.zeros((everything.shape[1],) * 2)
    penalty[: term.n_levels, : term.n_levels] = np.eye(term.n_levels) / factor[0, 0] ** 2
    return W, z, everything, penalty


def test_leverage_is_that_of_the_working_model(herds):
    W, _, C, penalty = dense_working_model(herds)
    H = np.sqrt(W)[:, None] * C @ np.linalg.solve(C.T @ (W[:, None] * C) + penalty, (C * np.sqrt(W)[:, None]).T)
    np.testing.assert_allclose(herds.leverage(), np.diag(H), rtol=1e-6)


def test_one_step_without_a_group(herds):
    W, z, C, penalty = dense_working_model(herds)
    found = herds.influence("herd")

    def beta(keep):
        c, w = C[keep], W[keep]
        return np.linalg.solve(c.T @ (w[:, None] * c) + penalty, c.T @ (w * z[keep]))[-4:]

    every = np.ones(len(z), dtype=bool)
    for level in (1, 11):
        without = every & (herds.design.data["herd"].astype(int) != level).to_numpy()
        label = next(name for name in found.changes.index if int(name) == level)
        change = beta(every) - beta(without)
        np.testing.assert_allclose(found.changes.loc[label], change, rtol=1e-5, atol=1e-8)
        distance = change @ np.linalg.solve(herds.vcov().to_numpy(), change) / 4
        assert found.cooks_distance[label] == pytest.approx(distance, rel=1e-5)


def test_fits_without_a_group(herds):
    step, again = herds.influence("herd"), herds.influence("herd", refit=True)
    data = herds.design.data
    label = again.cooks_distance.idxmax()
    alone = blm.Model(CBPP, data[data["herd"] != label], family="binomial").fit("ml")
    expected = [*(herds.fixef() - alone.fixef()), herds.varcorr()["sd"][0] - alone.varcorr()["sd"][0]]
    np.testing.assert_allclose(again.changes.loc[label], expected, atol=1e-4)
    assert step.cooks_distance.idxmax() == label
    assert stats.spearmanr(step.cooks_distance, again.cooks_distance)[0] > 0.95
