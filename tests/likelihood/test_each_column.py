"""Parameters of its own for every column, against one system after the other and the dense matrix."""

import numpy as np
import pytest
from test_iterative import THETAS, make

from bayeslmm.likelihood.iterative.each_column import EliminatedEach
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts

KINDS = list(THETAS)


def systems(kind: str, count: int) -> tuple[EliminatedEach, list[Eliminated]]:
    """Return parameters scattered about the regular ones, and with them a zero variance, together and one by one."""
    kernel, _, _ = make(kind)
    theta = np.array(THETAS[kind]["regular"])
    rng = np.random.default_rng(8)
    thetas = [theta * rng.uniform(0.7, 1.4, len(theta)) for _ in range(count - 1)] + [
        np.array(THETAS[kind]["singular"])
    ]
    paired = PairedProducts.of(kernel.products)
    each = [kernel.lambdas(one) for one in thetas]
    central = Eliminated(paired, kernel.lambdas(theta))
    stacked = [np.array(of_term) for of_term in zip(*each, strict=True)]
    return EliminatedEach(central, stacked), [Eliminated(paired, lambdas) for lambdas in each]


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_has_its_own_system(kind: str) -> None:
    together, alone = systems(kind, 5)
    rng = np.random.default_rng(1)
    trailing = rng.normal(size=(together.paired.products.n_trailing, 5))
    lead = rng.normal(size=(*alone[0].middle.shape[:2], 5))
    product, scaled, eliminated = together(trailing), together.scale(trailing), together.eliminate(lead)
    coloured = together.colour_lead(lead)
    for c, one in enumerate(alone):
        np.testing.assert_allclose(product[:, c], one(trailing[:, [c]])[:, 0], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(scaled[:, c], one.scale(trailing[:, [c]])[:, 0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(eliminated[..., c], (one.middle @ lead)[..., c], rtol=1e-10, atol=1e-12)
        root = together.roots[..., c]
        np.testing.assert_allclose(root @ root.transpose(0, 2, 1), one.middle, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(coloured[..., c], (root @ lead)[..., c], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_covariance_of_their_column(kind: str) -> None:
    together, alone = systems(kind, 2)
    rng = np.random.default_rng(2)
    draws = np.array([together.draw_trailing(rng, 1e-5) for _ in range(3000)])
    q = draws.shape[1]
    for c, one in enumerate(alone):
        expected = one.scale(one.scale(np.linalg.inv(one(np.eye(q)))).T)
        found = np.cov(draws[:, :, c].T)
        size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        none = size == 0.0  # effects without variance
        np.testing.assert_array_equal(found[none], 0.0)
        assert np.abs((found - expected) / np.where(none, 1.0, size)).max() < 5.5 / np.sqrt(3000)
