"""The part of the inverse that the sums of effects make, against dense matrices."""

import numpy as np
import pytest
from dense import Term

from bayeslmm.likelihood.iterative.common_part import CommonPart
from bayeslmm.likelihood.iterative.conjugate_gradients import conjugate_gradients
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.likelihood.iterative.evaluation import turned
from bayeslmm.likelihood.kernel import Kernel

THETAS = ([0.8, 0.2, 0.4, 0.6, 0.3, 0.5], [0.8, 0.2, 0.4, 0.6, 0.0, 0.0], [0.0] * 6)


def eliminated(theta: list[float], groups: int) -> Eliminated:
    """Return the system of three crossed terms, one of them with slopes, in groups that never meet."""
    rng = np.random.default_rng(5)
    n = 900
    group = rng.integers(0, groups, n)
    codes = [(group + groups * rng.integers(0, j, n)).astype(np.int32) for j in (14, 6, 3)]
    x = rng.normal(size=n)
    ones = np.ones((n, 1))
    both = np.column_stack([ones, x])
    levels = [groups * j for j in (14, 6, 3)]
    terms = [Term(codes[0], both, levels[0], True), Term(codes[1], both, levels[1], False)]
    terms.append(Term(codes[2], ones, levels[2], True))
    kernel = Kernel.build(rng.normal(size=n), both, terms, rng.uniform(0.5, 2.0, n))
    return Eliminated(PairedProducts.of(kernel.products), [turned(f) for f in kernel.lambdas(theta)])


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("theta", THETAS)
def test_inverse_and_determinant(theta: list[float], groups: int) -> None:
    system = eliminated(theta, groups)
    assert all(label.max() == groups - 1 for label in system.paired.components)
    q = system.paired.products.n_trailing
    dense = system(np.eye(q))
    common = CommonPart(system)
    preconditioner = np.linalg.inv(system.precondition(np.eye(q)))
    basis = np.asarray(common.basis.matrix() if groups == 1 else common.basis.matrix().todense())
    assert basis.shape == (q, 3 * groups)
    np.testing.assert_allclose(basis.T @ preconditioner @ basis, np.eye(3 * groups), atol=1e-10)
    tolerance = np.full(q, 1e-12)
    inverse = conjugate_gradients(common, system.precondition, common.project(np.eye(q)), tolerance).x
    solved = conjugate_gradients(common, system.precondition, common.coupling, tolerance[:3]).x
    exact = common.exact_part(solved)
    np.testing.assert_allclose(inverse + exact.solve(np.eye(q)), np.linalg.inv(dense), atol=1e-9)
    # log|S| = log|P| + log|D| + log|C|, D what the preconditioned system is beyond the sums
    root = np.linalg.cholesky(preconditioner)
    beyond = np.linalg.solve(root, common.project(np.linalg.solve(root, dense).T).T)
    sums = root.T @ basis
    whole = np.linalg.solve(root, dense) @ np.linalg.inv(root).T
    off = np.eye(q) - sums @ sums.T
    found = np.linalg.slogdet(off @ whole @ off + sums @ sums.T)[1] + exact.log_det
    assert found + system.log_det_preconditioner == pytest.approx(np.linalg.slogdet(dense)[1], abs=1e-8)
    assert common.missed == pytest.approx(np.trace(off @ whole @ off) - np.trace(off), abs=1e-8)
    assert beyond.shape == dense.shape


def test_groups_of_single_levels_leave_nothing_to_probes() -> None:
    rng = np.random.default_rng(1)
    codes = np.repeat(np.arange(5), 20).astype(np.int32)
    other = rng.integers(0, 8, 100).astype(np.int32) + 8 * codes
    third = np.where(rng.random(100) < 0.5, codes, codes + 5).astype(np.int32)
    ones = np.ones((100, 1))
    terms = [Term(other, ones, 40, True), Term(third % 5, ones, 5, True), Term(third, ones, 10, True)]
    kernel = Kernel.build(rng.normal(size=100), ones, terms, None)
    system = Eliminated(PairedProducts.of(kernel.products), kernel.lambdas([0.7, 0.5, 0.3]))
    common = CommonPart(system)
    q = len(common.coupling)
    solved = conjugate_gradients(common, system.precondition, common.coupling, np.full(2, 1e-12)).x
    inverse = conjugate_gradients(common, system.precondition, common.without_sums(np.eye(q)), np.full(q, 1e-12)).x
    whole = inverse + common.exact_part(solved).solve(np.eye(q))
    np.testing.assert_allclose(whole, np.linalg.inv(system(np.eye(q))), atol=1e-9)
