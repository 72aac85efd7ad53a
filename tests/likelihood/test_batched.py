"""The factor at many points at once against the factor at each, which is checked against dense matrices elsewhere."""

import dense
import fake_cupy
import numpy as np
import pytest

from bayeslmm.errors import ModelError
from bayeslmm.likelihood import batched
from bayeslmm.likelihood.batched import BatchedProducts, PointOfBatch
from bayeslmm.likelihood.conditional import effect_modes, solve_effects
from bayeslmm.likelihood.device import find_device
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.selected_inverse import inverse_blocks

CROSSED = ("crossed", "crossed vector", "crossed sparse", "three factors", "nested and crossed")
POINTS = 4
TOLERANCE = 1e-10  # relative to the largest number: both round, in another order


def kernel_and_points(layout, seed=1):
    y, X, terms, weights = dense.simulate(seed, layout, weights=True)
    kernel = Kernel.build(y, X, terms, weights)
    rng = np.random.default_rng(seed)
    return kernel, [kernel.lambdas(rng.uniform(0.2, 1.5, kernel.n_theta)) for _ in range(POINTS)]


def stack(points):
    return [np.array(factors) for factors in zip(*points, strict=True)]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max(initial=1.0))


@pytest.mark.parametrize("slab", [1, 5, 4096])
@pytest.mark.parametrize("layout", CROSSED)
def test_factor_and_inverse(layout, slab, device, monkeypatch):
    monkeypatch.setattr(batched, "SLAB_ROWS", slab)
    kernel, points = kernel_and_points(layout)
    found = BatchedProducts(kernel.products, device).factorise(stack(points))
    assert found.good.all()
    singles = [factorise(kernel.products, lambdas) for lambdas in points]
    roots = np.array([single.R_X for single in singles])
    for R_X in (None, 1.3 * roots):
        sums = found.inverse_sums(R_X)
        for k, single in enumerate(singles):
            expected = inverse_blocks(single, None if R_X is None else R_X[k]).sums()
            for one, other in zip(sums, expected, strict=True):
                close(one[k], other)
    squares = found.effect_squares(np.array([single.beta for single in singles]))
    for k, single in enumerate(singles):
        point = PointOfBatch(found, k)
        for name in ("log_det", "r_squared", "beta", "R_X", "log_det_X"):
            close(getattr(point, name), getattr(single, name))
        for one, u in zip(squares, effect_modes(single, single.beta), strict=True):
            close(one[k], u.T @ u)


@pytest.mark.parametrize("layout", CROSSED)
def test_draws_from_the_same_numbers(layout, device):
    kernel, points = kernel_and_points(layout, 2)
    found = BatchedProducts(kernel.products, device).factorise(stack(points))
    rng = np.random.default_rng(3)
    beta = rng.normal(size=(kernel.p, 6))
    noise = [rng.normal(size=(shape.n_levels, shape.n_columns, 6)) for shape in kernel.shapes]
    for k, lambdas in enumerate(points):
        solved = solve_effects(factorise(kernel.products, lambdas), beta, noise)
        drawn = PointOfBatch(found, k).draw(beta, noise, lambdas, [True] * len(lambdas))
        for one, u, factor in zip(drawn, solved, lambdas, strict=True):
            close(one, np.einsum("st,jtm->mjs", factor, u))
    first = PointOfBatch(found, 0).draw(beta, noise, points[0], [False] + [True] * (len(points[0]) - 1))
    assert first[0].shape == (6, 0, kernel.shapes[0].n_columns)


def test_one_bad_point_among_good_ones(device):
    """Points with values that are not finite, in the leading or in a trailing term, leave the others as they are."""
    kernel, points = kernel_and_points("crossed vector")
    for term, place in ((0, 1), (1, 2)):
        points[place] = [np.full_like(f, np.nan) if k == term else f for k, f in enumerate(points[place])]
    with np.errstate(all="ignore"):
        found = BatchedProducts(kernel.products, device).factorise(stack(points))
    assert found.good.tolist() == [True, False, False, True]
    for k in (0, 3):
        close(found.log_det[k], factorise(kernel.products, points[k]).log_det)


def test_nothing_large_moves_after_the_start(monkeypatch):
    """Per batch: the factors of the terms go to the card; log-determinants and corners come back."""
    fake = fake_cupy.install(monkeypatch)
    kernel, points = kernel_and_points("three factors")
    products = BatchedProducts(kernel.products, find_device("cuda"))
    before = (fake.moves.to_card, fake.moves.from_card)
    found = products.factorise(stack(points))
    assert (fake.moves.to_card, fake.moves.from_card) == (before[0] + 3, before[1] + 2)
    found.inverse_sums(found.corner[:, :-1, :-1])
    assert (fake.moves.to_card, fake.moves.from_card) == (before[0] + 4, before[1] + 5)


def test_batches_are_as_large_as_the_card_has_room(monkeypatch):
    kernel, _ = kernel_and_points("crossed sparse")
    rooms = []
    for free in (1 << 22, 1 << 23):
        fake_cupy.install(monkeypatch, free=free)
        rooms.append(BatchedProducts(kernel.products, find_device("cuda")).most_points)
    assert rooms[0] >= 1 and rooms[1] == pytest.approx(2 * rooms[0], abs=1)
    fake_cupy.install(monkeypatch, free=1000)
    with pytest.raises(ModelError, match=r"of order 54, for which device='cuda' has no room.*solver='iterative'\.$"):
        BatchedProducts(kernel.products, find_device("cuda"))
