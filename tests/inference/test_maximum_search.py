"""The search: hard starts, boundaries, saddle points, and how many evaluations it takes."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "likelihood"))
import dense

from bayeslmm.covariance import FULL
from bayeslmm.datasets import load_dataset
from bayeslmm.design import build_design
from bayeslmm.errors import FittingError
from bayeslmm.formula import parse
from bayeslmm.inference.optimum.curvature import hessian, smallest_curvature
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.inference.optimum.profiled import Likelihood
from bayeslmm.inference.optimum.search import Record, minimise
from bayeslmm.likelihood import Kernel

OBJECTIVE = 1e-6  # how far two searches for one minimum may differ
BALANCED = 1e-9  # relative, where the answer is a closed form

ones = np.ones


def maximal(seed, levels=(20, 12), size=3, n=240, rank=None, correlated=True):
    """Two crossed factors, `size` effects each, the true covariance of the given rank."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.choice([-0.5, 0.5], size=(n, size - 1))])
    y = X @ rng.normal(size=size)
    cells = rng.permutation(levels[0] * levels[1])[:n]
    terms = []
    for codes, count in zip((cells // levels[1], cells % levels[1]), levels, strict=True):
        root = rng.normal(size=(size, size if rank is None else rank)) * np.r_[1.0, np.full(size - 1, 0.4)][:, None]
        y = y + np.einsum("ns,ns->n", X, (rng.normal(size=(count, root.shape[1])) @ root.T)[codes])
        terms.append(dense.Term(codes.astype(np.int32), X.copy(), count, correlated))
    return Kernel.build(y + rng.normal(size=n), X, terms)


def restarted(kernel, method, seed, starts=4):
    """The lowest objective from random starts."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(starts):
        start = []
        for shape in kernel.shapes:
            draws = rng.normal(size=(shape.n_columns, shape.n_columns + 2)) * 10 ** rng.uniform(-1, 0.5)
            root = np.linalg.cholesky(draws @ draws.T / shape.n_columns)
            start.append(root if shape.structure is FULL else np.diag(np.diag(root)))
        values.append(minimise(Likelihood(kernel, method, None), start, Record()).value)
    return min(values) + kernel.shift(method)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("rank", [None, 0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_no_start_ends_lower(seed, rank, method):
    kernel = maximal(seed, rank=rank)
    found = maximise(kernel, method)
    assert found.code in ("converged", "boundary")
    assert found.objective <= restarted(kernel, method, seed) + OBJECTIVE


def test_false_stationary_point_of_the_triangular_factor():
    # rank one in four columns: triangular steps alone stop 2.6e-6 above the minimum of this model
    kernel = maximal(4, levels=(60, 32), size=4, n=1800, rank=1)
    assert maximise(kernel, "reml").objective <= restarted(kernel, "reml", 4, starts=2) + OBJECTIVE


@pytest.mark.parametrize("layout", ["scalar", "vector", "uncorrelated", "nested vector", "crossed vector"])
def test_leaves_the_saddle_point_at_zero(layout):
    # at lambda = 0 the gradient vanishes whatever the data say
    y, X, terms, _ = dense.simulate(11, layout)
    kernel = Kernel.build(y, X, terms)
    zero = [np.zeros((s.n_columns, s.n_columns)) for s in kernel.shapes]
    found = minimise(Likelihood(kernel, "ml", None), zero, Record())
    assert found.converged
    assert found.value == pytest.approx(maximise(kernel, "ml").objective, abs=OBJECTIVE)


def test_leaves_a_column_that_is_zero():
    y, X, terms, _ = dense.simulate(12, "vector")
    kernel = Kernel.build(y, X, terms)
    start = [np.array([[1.0, 0.0], [0.3, 0.0]])]
    found = minimise(Likelihood(kernel, "ml", None), start, Record())
    assert found.value == pytest.approx(maximise(kernel, "ml").objective, abs=OBJECTIVE)
    assert not found.singular


def balanced(n_groups, per_group, between, seed=13):
    """One-way layout with group means of the given spread; returns kernel, mean squares between and within."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n_groups, per_group))
    y -= y.mean(axis=1, keepdims=True)
    means = rng.normal(size=n_groups)
    y += (means - means.mean())[:, None] * between
    term = dense.Term(np.repeat(np.arange(n_groups), per_group).astype(np.int32), ones((y.size, 1)), n_groups, True)
    kernel = Kernel.build(y.ravel(), ones((y.size, 1)), [term])
    within = np.sum((y - y.mean(axis=1, keepdims=True)) ** 2) / (n_groups * (per_group - 1))
    return kernel, per_group * np.var(y.mean(axis=1), ddof=1), within


@pytest.mark.parametrize(("n_groups", "per_group"), [(6, 5), (200, 2), (3, 2000)])
def test_balanced_one_way_layout(n_groups, per_group):
    # REML of a balanced one-way layout is the analysis of variance
    kernel, between, within = balanced(n_groups, per_group, 2.0)
    found = maximise(kernel, "reml")
    assert found.sigma**2 == pytest.approx(within, rel=1e-5)
    assert (found.theta[0] * found.sigma) ** 2 == pytest.approx((between - within) / per_group, rel=1e-4)


@pytest.mark.parametrize("ratio", [1e3, 1e5])
def test_very_large_theta(ratio):
    kernel, between, within = balanced(50, 4, ratio)
    found = maximise(kernel, "reml")
    assert found.theta[0] == pytest.approx(np.sqrt((between - within) / (4 * within)), rel=1e-4)
    assert found.n_evaluations <= 60  # the coordinates follow: theta grows threefold with every step


def test_many_rows_per_group_stop_at_rounding():
    # the objective is known to 1e-13 of 3e6: the search must see that and not go on
    rng = np.random.default_rng(22)
    groups = rng.integers(0, 3, 300_000).astype(np.int32)
    y = rng.normal(size=300_000) + np.array([100.0, -200.0, 300.0])[groups]
    term = dense.Term(groups, ones((len(y), 1)), 3, True)
    found = maximise(Kernel.build(y, ones((len(y), 1)), [term]), "reml")
    assert found.code == "converged"
    assert found.n_evaluations <= 40


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_no_variance_between_groups_is_the_boundary(method):
    kernel, _, _ = balanced(10, 4, 0.0)
    found = maximise(kernel, method)
    assert found.code == "boundary"
    assert found.theta[0] == 0.0
    assert found.objective == pytest.approx(kernel.objective([0.0], method), rel=BALANCED)


def test_known_sigma():
    y, X, terms, _ = dense.simulate(14, "crossed vector")
    kernel = Kernel.build(y, X, terms)
    free = maximise(kernel, "ml")
    fixed = maximise(kernel, "ml", sigma=free.sigma)
    assert fixed.objective == pytest.approx(free.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(fixed.theta, free.theta, atol=1e-3)
    assert maximise(kernel, "ml", sigma=3.0).objective > free.objective


def test_one_row_per_group_with_known_sigma():
    rng = np.random.default_rng(15)
    y = rng.normal(size=50) * 2.0
    kernel = Kernel.build(y, np.zeros((50, 0)), [dense.Term(np.arange(50, dtype=np.int32), ones((50, 1)), 50, True)])
    found = maximise(kernel, "ml", sigma=1.0)
    # y ~ N(0, 1 + theta^2)
    assert found.theta[0] ** 2 + 1.0 == pytest.approx(np.mean(y**2), rel=1e-4)


def test_perfect_fit_says_so():
    groups = np.repeat(np.arange(5), 4).astype(np.int32)
    X = np.column_stack([ones(20), np.tile(np.arange(4.0), 5)])
    kernel = Kernel.build(X @ [1.0, 2.0], X, [dense.Term(groups, ones((20, 1)), 5, True)])
    with pytest.raises(FittingError, match=r"residual sum of squares is zero|fits the response perfectly"):
        maximise(kernel, "ml")


@pytest.mark.parametrize("scales", [(1.0, 1e-9), (1e9, 1.0), (1e-7, 1e8)])
def test_wildly_scaled_columns(scales):
    y, X, terms, _ = dense.simulate(16, "crossed vector")
    expected = maximise(Kernel.build(y, X, terms), "ml")
    scaled = [dense.Term(t.codes, t.columns * np.array(scales), t.n_levels, True) for t in terms]
    found = maximise(Kernel.build(y, X * np.array([1.0, *scales]), scaled), "ml")
    assert found.objective == pytest.approx(expected.objective, abs=OBJECTIVE)


def test_history_ends_where_the_fit_does():
    y, X, terms, _ = dense.simulate(17, "three factors")
    kernel = Kernel.build(y, X, terms)
    seen = []
    found = maximise(kernel, "reml", progress=lambda number, value: seen.append(number))
    assert found.thetas.shape == (found.n_evaluations, kernel.n_theta)
    assert seen == list(range(1, found.n_evaluations + 1))
    assert found.objectives.min() == pytest.approx(found.objective, abs=OBJECTIVE)
    values = [kernel.objective(theta, "reml") for theta in found.thetas]
    np.testing.assert_allclose(found.objectives, values, rtol=1e-9)


@pytest.mark.parametrize(
    ("data", "formula", "most"),
    [
        ("dyestuff", "Yield ~ 1 + (1 | Batch)", 7),
        ("sleepstudy", "Reaction ~ 1 + Days + (1 + Days | Subject)", 14),
        ("ratpup", "weight ~ litsize + treatment + sex + (1 + sex | litter)", 40),
        ("insteval", "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)", 8),
    ],
)
def test_number_of_evaluations(data, formula, most):
    design = build_design(parse(formula), load_dataset(data))
    kernel = Kernel.build(design.y, design.X, design.terms)
    for method in ("ml", "reml"):
        assert maximise(kernel, method).n_evaluations <= most


def test_maximal_model_takes_few_evaluations():
    assert maximise(maximal(1, (60, 32), 4, 1800), "reml").n_evaluations <= 80  # 20 covariance parameters


@pytest.mark.parametrize("layout", ["scalar", "vector", "crossed vector", "three factors"])
def test_hessian(layout):
    y, X, terms, _ = dense.simulate(18, layout, n=200)
    kernel = Kernel.build(y, X, terms)
    theta = maximise(kernel, "reml").theta
    found = hessian(kernel, theta, "reml")
    step = 1e-3
    for k, direction in enumerate(np.eye(len(theta))):
        values = [kernel.objective(theta + m * step * direction, "reml") for m in (-2, -1, 0, 1, 2)]
        expected = np.array([-1, 16, -30, 16, -1]) @ values / (12 * step**2)
        # rounding of f over the square of the step, truncation of fourth order
        assert found[k, k] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_smallest_curvature_tells_a_minimum_from_a_saddle():
    y, X, terms, _ = dense.simulate(19, "vector", n=200)
    kernel = Kernel.build(y, X, terms)
    assert smallest_curvature(kernel, hessian(kernel, maximise(kernel).theta)) > 1.0
    assert smallest_curvature(kernel, hessian(kernel, np.zeros(3))) < -1.0


def test_smallest_curvature_does_not_depend_on_units():
    y, X, terms, _ = dense.simulate(20, "uncorrelated", n=200)
    scaled = [dense.Term(t.codes, t.columns * np.array([1.0, 1e4]), t.n_levels, False) for t in terms]
    kernels = [Kernel.build(y, X, t) for t in (terms, scaled)]
    found = [smallest_curvature(k, hessian(k, maximise(k).theta)) for k in kernels]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_bad_method_lists_the_good_ones():
    y, X, terms, _ = dense.simulate(21, "scalar")
    with pytest.raises(ValueError, match="'ml' or 'reml'"):
        maximise(Kernel.build(y, X, terms), "bayes")
