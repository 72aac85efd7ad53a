"""Hard cases of the solver without a factor: weak and strong signals, unbalanced and unconnected levels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.optimum import average_information
from bayeslmm.inference.optimum.average_information import maximise_iteratively
from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.evaluation import evaluate_iteratively, rademacher
from bayeslmm.likelihood.marginal import evaluate, factor_gradients

SETS = 60  # of probes at one point
SEEDS = 5  # sets of probes whose fits are compared
ROUNDING = 1e-9  # of a gradient's terms, that solves leave
NEWTON = 0.005  # of a standard error, at which both searches are content


def frame(kind: str) -> pd.DataFrame:
    """Simulate 4,000 rows of 200 by 150 levels."""
    rng = np.random.default_rng(11)
    n, a_levels, b_levels = 4000, 200, 150
    a, b, c = rng.integers(0, a_levels, n), rng.integers(0, b_levels, n), rng.integers(0, 30, n)
    if kind == "unbalanced":
        a[: n // 2] = 0
        b[n // 4 : 3 * n // 4] = 0
    if kind == "unconnected":  # four groups of levels that never meet
        group = rng.integers(0, 4, n)
        a, b = 4 * (a // 4) + group, 4 * (b // 4) + group
        b_levels += 2
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    effects = [rng.normal(size=j) for j in (a_levels, b_levels, 30)]
    slopes = rng.normal(size=a_levels)
    strength = 100.0 if kind == "strong" else 1.0  # a ratio of variances of 10,000
    y = 1 + 0.5 * x + strength * (effects[0][a] + (0.0 if kind == "zero" else 0.7) * effects[1][b])
    y += rng.normal(size=n) / np.sqrt(w if kind == "weighted" else 1.0)
    if kind in ("slopes", "weighted"):
        y += 0.5 * slopes[a] * x
    if kind == "three":
        y += 0.4 * effects[2][c]
    return pd.DataFrame({"y": y, "x": x, "w": w, "o": 0.3 * x, "a": a, "b": b, "c": c})


PLAIN = "y ~ x + (1 | a) + (1 | b)"
CASES = {
    "strong": (PLAIN, {}, "reml"),
    "zero": (PLAIN, {}, "reml"),
    "unbalanced": (PLAIN, {}, "reml"),
    "unconnected": (PLAIN, {}, "ml"),
    "slopes": ("y ~ x + (x | a) + (1 | b)", {}, "reml"),
    "three": ("y ~ x + (1 | a) + (1 | b) + (1 | c)", {}, "ml"),
    "weighted": ("y ~ x + (x | a) + (1 | b)", {"weights": "w", "offset": "o", "sigma": 1.0}, "reml"),
}


def free_entries(model: blm.Model, lambdas: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([f[s.free_entries] for f, s in zip(lambdas, model.kernel.shapes, strict=True)])


@pytest.mark.parametrize("kind", list(CASES))
def test_stated_errors_are_those_of_other_probes(kind: str) -> None:
    """Evaluate with sets of probes of their own and compare the spread about the exact values with those stated."""
    formula, arguments, method = CASES[kind]
    model = blm.Model(formula, frame(kind), **arguments)
    kernel, sigma = model.kernel, model.spec.sigma
    theta = model.fit(method).theta
    lambdas, paired = kernel.lambdas(theta), PairedProducts.of(kernel.products)
    exact = evaluate(kernel.products, lambdas, method, sigma, gradient=True)
    slopes = factor_gradients(kernel.products, lambdas, method, sigma, exact)
    wanted = free_entries(model, slopes)
    objectives, gradients = [], []
    for k in range(SETS):
        signs = rademacher(kernel.products.n_trailing, 16, 16 * k)
        found = evaluate_iteratively(paired, lambdas, method, sigma, signs)
        objectives.append((found.value - exact.value) / found.value_error)
        errors = np.sqrt(np.diag(found.gradient_error)) + ROUNDING * np.abs(wanted).max()
        gradients.append((found.gradient - wanted) / errors)
    # t statistics of 14 degrees of freedom have a root mean square of 1.08
    for scores in (np.array(objectives)[:, None], np.array(gradients)):
        spread = np.sqrt(np.mean(np.square(scores), axis=0))
        assert (spread < 1.5).all()
        assert (spread[np.abs(scores).max(axis=0) > 1e-3] > 0.6).all()


@pytest.mark.parametrize("kind", list(CASES))
def test_estimates_are_within_the_errors_stated(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit with sets of probes of their own: estimates are at most a hundredth of their standard errors off."""
    formula, arguments, method = CASES[kind]
    model = blm.Model(formula, frame(kind), **arguments)
    exact = model.fit(method)
    wanted = free_entries(model, model.kernel.lambdas(exact.theta))
    for seed in range(SEEDS):
        monkeypatch.setattr(
            average_information,
            "rademacher",
            lambda q, count, first=0, seed=seed: rademacher(q, count, 1000 * seed + first),
        )
        found = maximise_iteratively(model.kernel, method, sigma=model.spec.sigma)
        assert found.maximum.code == exact.status.code
        assert found.n_probes == 16 and found.largest_error < 0.01
        made, statistical = np.sqrt(np.diag(found.theta_error)), np.sqrt(np.diag(found.theta_cov))
        known = statistical > 0
        difference = free_entries(model, found.lambdas) - wanted
        assert (np.abs(difference[known]) < NEWTON * statistical[known] + 4 * made[known]).all()
        at_estimate = model.objective(found.maximum.theta, method)
        assert abs(found.maximum.objective - at_estimate) < 6 * found.objective_error
        assert found.objective_error < 0.1


def unconnected_groups() -> pd.DataFrame:
    """Simulate 60 groups of 7 by 5 levels that never meet, of unequal size."""
    rng = np.random.default_rng(3)
    n = 4000
    group = np.minimum((60 * rng.random(n) ** 2).astype(int), 59)
    a, b = 7 * group + rng.integers(0, 7, n), 5 * group + rng.integers(0, 5, n)
    y = rng.normal(size=420)[a] + 0.7 * rng.normal(size=300)[b] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "a": a, "b": b})


# of an sd by probes: 64 probes leave an eighth of what the levels say of each other beyond their sums
SDS = {
    "strong": 1e-4,
    "zero": 0.005,
    "unbalanced": 0.02,
    "unconnected": 0.02,
    "slopes": 0.02,
    "three": 0.06,
    "groups": 0.04,
}


@pytest.mark.parametrize("kind", list(SDS))
def test_sds_of_effects(kind: str) -> None:
    formula, arguments, method = CASES.get(kind, ("y ~ (1 | a) + (1 | b)", {}, "reml"))
    model = blm.Model(formula, unconnected_groups() if kind == "groups" else frame(kind), **arguments)
    exact, fit = model.fit(method), model.fit(method, solver="iterative")
    for coefficients in ("known", "estimated"):
        found, wanted = (f.ranef_sd(coefficients=coefficients) for f in (fit, exact))
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=SDS[kind])
