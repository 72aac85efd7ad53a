"""The density of sigma given phi on its nodes: closed forms, dense rules, far-off peaks; draws of one term."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import gammaln

from bayeslmm.design import build_design
from bayeslmm.formula import parse
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.coded_priors import FLAT, HALF_NORMAL, HALF_T
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.sigma_grid import integrate, log_given_phi, quantiles
from bayeslmm.posterior.single_draws import diagonalise
from bayeslmm.priors import resolve_priors

NOTHING = np.zeros(0)
PROBABILITIES = np.array([0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999])
AREA = 1e-8  # absolute, in logs: what the trapezium rule leaves at a third of a standard deviation
HEAVY_AREA = 1e-6  # the same with a single residual degree of freedom
CUMULATIVE = 1e-4  # absolute: the cubic between nodes
REFERENCE_CUMULATIVE = 5e-4  # absolute: the general path's 200 nodes, their areas by the trapezium rule
CUT = 3e-3  # absolute: the trapezium rule on 36 nats in 200 steps, (36 / 200)² / 12, where a density ends abruptly


def known_sd_codes(*rows):
    return np.array([(*row, 0.0) for row in rows], dtype=float)


@pytest.mark.parametrize("dof", [3.0, 10.0, 180.0, 70_000.0])
@pytest.mark.parametrize("residual", [1e-8, 1.0, 1e12])
def test_a_flat_prior_gives_an_inverse_gamma(dof, residual):
    """exp((1 - nu) x - r²/(2 sigma²)) dx: 1/sigma² has a gamma distribution of shape (nu - 1)/2 and rate r²/2."""
    area, nodes, density, cumulative = integrate(residual, dof, NOTHING, NOTHING, NOTHING, known_sd_codes((FLAT, 0, 0)))
    shape = (dof - 1) / 2
    assert area == pytest.approx(np.log(0.5) + gammaln(shape) - shape * np.log(residual / 2), abs=AREA, rel=1e-12)
    found = np.exp(-2 * quantiles(PROBABILITIES, nodes, density, cumulative))
    reached = stats.gamma(shape, scale=2 / residual).sf(found)
    np.testing.assert_allclose(reached, PROBABILITIES, atol=CUMULATIVE)


CASES = {
    "half-t priors": (
        30.0,
        12.0,
        [0.1, 2.0],
        [1.0, -3.0],
        [0.5, 2.0],
        [(HALF_T, 3, 1), (HALF_T, 3, 2), (HALF_T, 3, 1)],
    ),
    "one degree of freedom": (5.0, 1.0, [], [], [], [(HALF_T, 3, 4)]),
    "prior far below the data": (1e6, 40.0, [], [], [], [(HALF_NORMAL, 1e-2, 0)]),
    "prior far above the data": (1e-6, 3.0, [1e-3], [50.0], [1e-3], [(HALF_T, 3, 1e5), (HALF_T, 3, 1e4)]),
    "coefficients pulled hard": (10.0, 20.0, [1e6, 0.0], [40.0, 7.0], [1.0], [(HALF_T, 3, 1), (HALF_T, 3, 1)]),
    "many rows": (7e4, 7e4, [1e-6], [3.0], [0.3], [(HALF_T, 3, 1), (HALF_T, 3, 1)]),
}


@pytest.mark.parametrize("case", CASES)
def test_against_a_dense_rule(case):
    residual, dof, pull, distance, ratios, priors = CASES[case]
    given = (residual, dof, *(np.array(values, dtype=float) for values in (pull, distance, ratios)))
    given = (*given, known_sd_codes(*priors))
    area, nodes, density, cumulative = integrate(*given)
    width = nodes[-1] - nodes[0]
    dense = np.linspace(nodes[0] - 0.1 * width, nodes[-1] + 0.1 * width, 40_001)
    logs = np.array([log_given_phi(x, *given)[0] for x in dense])
    peak = logs.max()
    steps = np.exp(logs - peak) * (dense[1] - dense[0])
    assert area == pytest.approx(peak + np.log(steps.sum()), abs=HEAVY_AREA if dof == 1 else AREA)
    below = (np.cumsum(steps) - 0.5 * steps) / steps.sum()
    reached = np.interp(quantiles(PROBABILITIES, nodes, density, cumulative), dense, below)
    np.testing.assert_allclose(reached, PROBABILITIES, atol=CUMULATIVE)
    assert np.all(logs[[0, -1]] < peak - 25)  # nothing is left out on either side


@pytest.mark.parametrize("case", CASES)
def test_the_derivative_is_that_of_the_value(case):
    residual, dof, pull, distance, ratios, priors = CASES[case]
    given = (residual, dof, *(np.array(values, dtype=float) for values in (pull, distance, ratios)))
    given = (*given, known_sd_codes(*priors))
    x, step = 0.5 * np.log(residual / dof), 1e-5
    ends = [log_given_phi(x + side * step, *given)[0] for side in (-1, 1)]
    size = 1 + abs(ends[0]) * 1e-11 / step
    assert log_given_phi(x, *given)[1] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5, abs=1e-5 * size)


def test_what_cannot_be_evaluated_has_no_nodes():
    area, nodes, *_ = integrate(0.0, 5.0, NOTHING, NOTHING, NOTHING, known_sd_codes((FLAT, 0, 0)))
    assert area == -np.inf and len(nodes) == 0


@pytest.mark.parametrize("order", [1, 2, 3, 7, 12])
def test_rotations_find_the_eigenvalues(order):
    root = np.random.default_rng(order).normal(size=(order, order)) * np.geomspace(1, 1e-4, order)
    matrix = root @ root.T
    found, vectors = matrix.copy(), np.empty((order, order))
    diagonalise(found, vectors)
    size = np.abs(matrix).max()
    np.testing.assert_allclose(np.sort(np.diag(found)), np.linalg.eigvalsh(matrix), atol=1e-14 * order * size)
    np.testing.assert_allclose(vectors @ np.diag(np.diag(found)) @ vectors.T, matrix, atol=1e-14 * order * size)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(order), atol=1e-13)


# -- the same density by three routes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(8)
    g, h = rng.integers(0, 7, 80), rng.integers(0, 5, 80)
    x = rng.normal(size=80)
    return pd.DataFrame({"g": g, "h": h, "x": x, "y": 3 + x + rng.normal(size=7)[g] + rng.normal(size=80)})


def make(frame, formula, priors=None, sigma=None):
    design = build_design(parse(formula), frame)
    return CovarianceDensity(build_kernel(design), resolve_priors(design, priors, sigma=sigma), sigma)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x | g) + (1 | h)", "y ~ x"])
def test_compiled_nodes_against_the_prior_objects(frame, formula, monkeypatch):
    """Priors that have codes are compiled; all others are asked themselves, on nodes of their own."""
    density = make(frame, formula)
    phi = np.random.default_rng(1).normal(size=density.n_phi) * 0.5
    compiled = density.grid(phi)
    monkeypatch.setitem(density.__dict__, "codes", None)
    asked = density.grid(phi)
    assert len(asked.log_sigma) != len(compiled.log_sigma)
    assert compiled.log_density == pytest.approx(asked.log_density, abs=1e-7)
    reached = np.interp(np.log(compiled.draw(PROBABILITIES)), asked.log_sigma, asked.cumulative)
    np.testing.assert_allclose(reached, PROBABILITIES, atol=REFERENCE_CUMULATIVE)


@pytest.mark.parametrize(
    "priors",
    [
        {"sd_g[x]": "Uniform(0, {upper})"},
        {"sd_g[x]": "Uniform({lower}, 100)"},
        {"sigma": "Uniform({s}, 100)"},
        {"sigma": "Uniform(0, {s})"},
        {"sd_g[x]": "Uniform({lower}, 100)", "sigma": "Uniform(0, {s})"},
        {"sigma": "Uniform(0, 0.2)"},
        {"sigma": "Uniform(8, 9)"},
    ],
)
def test_priors_that_end_within_the_density(frame, priors):
    """Against the density that priors without ends have, cut where they end; far in the tails, too."""
    formula, flat = "y ~ x + (x | g)", {"sd_g[x]": "Flat()", "sigma": "Flat()"}
    free, phi = make(frame, formula, flat), np.array([-0.2, -0.7, 0.3])
    middle = free.grid(phi).draw(np.array([0.4]))[0]
    sd = middle * np.exp(phi[1])
    cut = {name: text.format(s=middle, lower=0.95 * sd, upper=sd) for name, text in priors.items()}
    ends = {name: [float(end) for end in text[8:-1].split(",")] for name, text in cut.items()}
    found = make(frame, formula, flat | cut).grid(phi)
    ratios = {"sd_g[x]": np.exp(phi[1]), "sigma": 1.0}
    drawn = found.draw(np.r_[0.0, PROBABILITIES, 1.0])
    for name, (lower, upper) in ends.items():
        assert np.all((lower <= drawn * ratios[name]) & (drawn * ratios[name] <= upper))

    def integrate_free(low, high):
        nodes = np.linspace(low, high, 200_001)
        posterior = free.grid(phi).posterior
        logs = free._log_sd_prior(free.points(phi), np.exp(nodes)) - 0.5 * posterior.minus_two_log(np.exp(nodes))
        weights = np.exp(logs - logs.max())
        sums = np.concatenate([[0.0], np.cumsum(0.5 * (weights[1:] + weights[:-1]))]) * (nodes[1] - nodes[0])
        return nodes, sums / sums[-1], logs.max() + np.log(sums[-1])

    low = max(np.log(max(lower, 1e-3) / ratios[name]) for name, (lower, _) in ends.items())
    high = min(np.log(upper / ratios[name]) for name, (_, upper) in ends.items())
    nodes, cumulative, area = integrate_free(low, high)
    np.testing.assert_allclose(np.interp(np.log(drawn[1:-1]), nodes, cumulative), PROBABILITIES, atol=CUT)
    whole = integrate_free(np.log(middle) - 3.0, np.log(middle) + 3.0)[2]
    widths = sum(np.log(upper - lower) for lower, upper in ends.values())
    assert found.log_density == pytest.approx(free.grid(phi).log_density - whole + area - widths, abs=CUT)


@pytest.mark.parametrize("priors", [None, {"Intercept": "Normal(2, 0.1)", "x": "Flat()"}])
@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g)"])
def test_coefficients_of_one_term(frame, formula, priors):
    """Without noise the draws are the conditional modes; unit noises span the conditional covariance of beta."""
    density = make(frame, formula, priors, sigma=0.9)
    kernel, single = density.kernel, density.single
    phi = np.random.default_rng(2).normal(size=density.n_phi) * 0.5
    posterior = density.grid(phi).posterior
    fixed = np.vstack([np.zeros(2), np.eye(2)])[None]
    logs, sigma, beta, effects = single.draw(phi[None], np.full((1, 3), 0.5), fixed, np.zeros((1, 3, 7, 2)))
    assert logs[0] == pytest.approx(density.grid(phi).log_density, rel=1e-12)
    assert np.all(sigma == 0.9)
    mean = posterior.mean(0.9)
    np.testing.assert_allclose(beta[0, 0], mean, rtol=1e-9)
    spread = (beta[0, 1:] - beta[0, 0]).T
    R = posterior.factor.R_X
    covariance = 0.81 * np.linalg.inv(R @ R.T + 0.81 * density.fixed_prior.precision)
    np.testing.assert_allclose(spread @ spread.T, covariance, rtol=1e-8, atol=1e-10)
    spherical = solve_effects(posterior.factor, beta[0].T)[0]
    user = kernel.maps[0].matrix @ posterior.factor.lambdas[0]
    np.testing.assert_allclose(effects[0], np.einsum("st,jtm->mjs", user, spherical), rtol=1e-8, atol=1e-10)
    assert kernel.p == 2
