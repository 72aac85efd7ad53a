"""The first guess of the covariance parameters."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "likelihood"))
import dense

from bayeslmm.inference.nuts.starting import SMALLEST_SHARE, starting_factors
from bayeslmm.likelihood import Kernel

SAMPLING = 0.1  # relative: a moment of 2,000 groups is known to a few percent


def one_way(theta, sigma=1.0, n_groups=2000, per_group=5, seed=1):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), per_group)
    y = sigma * (theta * rng.normal(size=n_groups)[groups] + rng.normal(size=len(groups)))
    ones = np.ones((len(y), 1))
    return Kernel.build(y, ones, [dense.Term(groups.astype(np.int32), ones, n_groups, True)])


@pytest.mark.parametrize("theta", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("sigma", [1e-3, 1.0, 1e3])
def test_one_way_layout(theta, sigma):
    (found,) = starting_factors(one_way(theta, sigma).products)
    assert found[0, 0] == pytest.approx(theta, rel=SAMPLING)


def test_known_sigma():
    (found,) = starting_factors(one_way(1.0, 2.0).products, sigma=4.0)
    assert found[0, 0] == pytest.approx(0.5, rel=SAMPLING)


def test_no_variance_starts_inside():
    (found,) = starting_factors(one_way(0.0).products)
    assert np.sqrt(SMALLEST_SHARE) <= found[0, 0] < 0.15


@pytest.mark.parametrize("layout", dense.LAYOUTS)
def test_every_layout_has_a_start_inside(layout):
    y, X, terms, weights = dense.simulate(2, layout, weights=True)
    kernel = Kernel.build(y, X, terms, weights)
    found = starting_factors(kernel.products)
    assert [f.shape for f in found] == [(s.n_columns, s.n_columns) for s in kernel.shapes]
    for factor in found:
        assert (np.diag(factor) >= np.sqrt(SMALLEST_SHARE)).all()
        assert (np.diag(factor) <= 3.0).all()
        assert (factor == np.diag(np.diag(factor))).all()


def test_a_constant_response_starts_at_one():
    kernel = one_way(1.0)
    zero = Kernel.build(np.zeros(kernel.n), np.zeros((kernel.n, 0)), [])
    assert starting_factors(zero.products) == []
