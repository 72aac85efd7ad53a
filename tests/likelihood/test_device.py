"""Devices: the refusals of a card that is not there, and factors of which some do not exist."""

import fake_cupy
import numpy as np
import pytest

from bayeslmm.errors import MissingDependencyError, OptionError
from bayeslmm.likelihood.device import Host, find_device


def test_the_default_needs_nothing(monkeypatch):
    fake_cupy.remove(monkeypatch)
    assert find_device("cpu") is None and find_device("auto") is None


def test_without_cupy(monkeypatch):
    fake_cupy.remove(monkeypatch)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bayeslmm\[gpu\]'.*\.$"):
        find_device("cuda")


def test_without_a_card(monkeypatch):
    fake_cupy.install(monkeypatch, cards=0)
    assert find_device("auto") is None
    with pytest.raises(OptionError, match=r"nvidia-smi.*device='cpu'"):
        find_device("cuda")


def test_with_a_driver_that_fails(monkeypatch):
    """CuPy raises a kind of RuntimeError where it meets a driver that is too old."""
    fake = fake_cupy.install(monkeypatch)
    monkeypatch.setattr(fake, "cholesky", lambda matrices: (_ for _ in ()).throw(RuntimeError("driver is too old")))
    for name, module in fake.modules().items():
        monkeypatch.setitem(fake_cupy.sys.modules, name, module)
    assert find_device("auto") is None
    with pytest.raises(OptionError, match="nvidia-smi") as caught:
        find_device("cuda")
    assert "too old" in str(caught.value.__cause__)


def test_arrays_of_a_card_are_not_numpys(monkeypatch):
    """The fake refuses what CuPy refuses, so that the tests with it can fail."""
    fake_cupy.install(monkeypatch)
    card = find_device("cuda")
    there = card.to_device(np.ones(3))
    for mixed in (
        lambda: np.sum(there),
        lambda: np.asarray(there),
        lambda: there + np.ones(3),
        lambda: np.ones(3) * there,
        lambda: there[np.arange(2)],
        lambda: card.xp.matmul(np.eye(3), there),
    ):
        with pytest.raises(TypeError):
            mixed()
    np.testing.assert_array_equal(card.to_host(2.0 * there), np.full(3, 2.0))


@pytest.mark.parametrize("kind", ["numpy", "fake card"])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_matrices_without_a_factor(kind, one_by_one, monkeypatch):
    """The second of three is not positive definite: it is told apart, and the others are factored."""
    if kind == "fake card":
        fake_cupy.install(monkeypatch)
    if one_by_one:  # as matrices are that are large for a card
        monkeypatch.setattr("bayeslmm.likelihood.device.LARGE_ORDER", 2)
    device = Host() if kind == "numpy" else find_device("cuda")
    matrices = np.stack([4.0 * np.eye(3), np.diag([1.0, -1.0, 1.0]), 9.0 * np.eye(3)])
    factors, good = device.cholesky(device.to_device(matrices))
    assert good.tolist() == [True, False, True]
    np.testing.assert_allclose(device.to_host(factors), [2.0 * np.eye(3), np.eye(3), 3.0 * np.eye(3)])
    right = device.to_device(np.ones((3, 3, 2)))
    found = device.to_host(device.solve_lower(factors, right, transposed=True))
    np.testing.assert_allclose(found[2], 1 / 3)
