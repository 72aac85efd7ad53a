"""Simulated studies: what they are, and that quantities mean what their names say."""

import numpy as np
import pytest

from bayeslmm.validation.quantities import all_parameters, log_likelihood, ranked_quantities
from bayeslmm.validation.simulate import STUDIES, simulate


@pytest.mark.parametrize("name", STUDIES)
def test_study_is_small_unbalanced_and_its_priors_do_not_read_y(name):
    study = STUDIES[name]()
    assert 40 <= study.design.n <= 90
    assert study.priors.improper == ()
    assert set(study.priors.table()["source"]) == {"user"}
    for term in study.design.terms:
        sizes = np.bincount(term.codes, minlength=term.n_levels)
        assert sizes.min() >= 1 and sizes.max() >= 3 * sizes.min()


@pytest.mark.parametrize("name", STUDIES)
def test_response_is_what_the_truth_says(name):
    """Residuals at the truth, over sigma, are standard normal; written out row by row."""
    residuals = []
    for simulation in simulate(STUDIES[name](), 20, seed=3):
        design, truth = simulation.problem.design, simulation.truth
        mean = design.X @ truth.beta[0, 0]
        for term, effects in zip(design.terms, truth.effects, strict=True):
            mean += [term.columns[i] @ effects[0, 0, term.codes[i]] for i in range(design.n)]
        residuals.append((design.y - mean) / truth.sigma[0, 0])
    values = np.concatenate(residuals)
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * values.size)


def test_same_seed_same_data():
    study = STUDIES["crossed"]()
    first, second = (list(simulate(study, 2, seed=5)) for _ in range(2))
    assert all(np.array_equal(a.problem.design.y, b.problem.design.y) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0].problem.design.y, first[1].problem.design.y)


def test_ranked_quantities():
    (simulation,) = simulate(STUDIES["correlated slope"](), 1, seed=0)
    design, truth = simulation.problem.design, simulation.truth
    found = ranked_quantities(design, truth, np.random.default_rng(0))
    assert found.names == (
        "sd_g[Intercept]",
        "sd_g[x]",
        "cor_g[Intercept, x]",
        "sigma",
        "beta[Intercept]",
        "beta[x]",
        "r_g[largest, Intercept]",
        "r_g[largest, x]",
        "r_g[smallest, Intercept]",
        "r_g[smallest, x]",
        "log-likelihood",
        "mean of a new level",
    )
    values = dict(zip(found.names, found.values[0, 0], strict=True))
    assert values["r_g[largest, x]"] == truth.effects[0][0, 0, 9, 1]
    assert values["r_g[smallest, x]"] == truth.effects[0][0, 0, 0, 1]
    assert values["cor_g[Intercept, x]"] == truth.cor[0][0, 0, 1, 0]
    assert all_parameters(design, truth).values.shape == (1, 1, 6 + 20)


def test_log_likelihood_is_that_of_independent_normals():
    from scipy.stats import norm

    (simulation,) = simulate(STUDIES["crossed"](), 1, seed=4)
    design, truth = simulation.problem.design, simulation.truth
    mean = design.X @ truth.beta[0, 0]
    for term, effects in zip(design.terms, truth.effects, strict=True):
        mean += effects[0, 0, term.codes, 0]
    expected = norm(mean, truth.sigma[0, 0]).logpdf(design.y).sum()
    assert log_likelihood(design, truth)[0, 0] == pytest.approx(expected, rel=1e-12)


def test_new_level_has_the_variance_of_the_terms():
    """Many copies of one draw: mean and variance of the new level's mean in closed form."""
    from dataclasses import replace

    from bayeslmm.validation.quantities import new_level_mean

    (simulation,) = simulate(STUDIES["correlated slope"](), 1, seed=6)
    design, truth = simulation.problem.design, simulation.truth
    copies = 20_000
    many = replace(
        truth,
        beta=np.repeat(truth.beta, copies, axis=1),
        sigma=np.repeat(truth.sigma, copies, axis=1),
        sd=tuple(np.repeat(sd, copies, axis=1) for sd in truth.sd),
        cor=tuple(np.repeat(cor, copies, axis=1) for cor in truth.cor),
    )
    drawn = new_level_mean(design, many, np.random.default_rng(1))[0]
    row = design.terms[0].columns.mean(axis=0)
    sd, cor = truth.sd[0][0, 0], truth.cor[0][0, 0]
    variance = row @ (np.outer(sd, sd) * cor) @ row
    assert drawn.mean() == pytest.approx(design.X.mean(axis=0) @ truth.beta[0, 0], abs=4 * np.sqrt(variance / copies))
    assert drawn.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / copies))
