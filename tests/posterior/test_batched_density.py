"""The density at many points at once, over numpy and over a card that is not there, against the density at each."""

import fake_cupy
import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import FittingError, ModelError, OptionError
from bayeslmm.likelihood.device import find_device
from bayeslmm.posterior.batched_density import BatchedDensity, batched_density
from bayeslmm.posterior.mixture_density import covariance_density

TOLERANCE = 1e-10  # relative: both round, in another order
MODELS = {
    "two intercepts": ("y ~ x + (1 | a) + (1 | b)", {}),
    "slopes": ("y ~ x + (x | a) + (x || b) + (1 | c)", {"weights": "w"}),
    "known sigma": ("y ~ 1 + (1 | a) + (x | b)", {"sigma": 0.8}),
    "no fixed part": ("y ~ 0 + (1 | a) + (1 | b)", {}),
    "flat": ("y ~ x + (1 | a) + (x | b)", {"priors": "flat"}),
    "priors without codes": ("y ~ x + (1 | a) + (x | b)", {"priors": "rstanarm"}),
    "a mixture": ("y ~ x + (1 | a) + (x | b)", {"priors": {"x": "StudentT(3, 0, 1)"}}),
}


def crossed_frame():
    rng = np.random.default_rng(4)
    n = 200
    data = pd.DataFrame({"x": rng.normal(1, 1, n), "a": rng.integers(0, 12, n), "b": rng.integers(0, 9, n)})
    data["c"], data["w"] = rng.integers(0, 5, n), rng.uniform(0.5, 2, n)
    data["y"] = data.x + rng.normal(size=12)[data.a] + 0.5 * rng.normal(size=9)[data.b] + rng.normal(size=n)
    return data


def density_of(name):
    formula, options = MODELS[name]
    model = blm.Model(formula, crossed_frame(), **options)
    return covariance_density(model.kernel, model.resolved_priors, model.spec.sigma)


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients(name, device):
    density = density_of(name)
    batches = BatchedDensity(density, device)
    x = 0.3 * np.random.default_rng(5).normal(size=(7, density.dimension)) - 0.3
    values, gradients = batches.values_and_gradients(x)
    for k, point in enumerate(x):
        value, gradient = density.reference_gradient(point)
        assert values[k] == pytest.approx(value, rel=TOLERANCE)
        np.testing.assert_allclose(gradients[k], gradient, rtol=TOLERANCE, atol=TOLERANCE * np.abs(gradient).max())


@pytest.mark.parametrize("name", MODELS)
def test_sigma_integrated_out(name, device):
    density = density_of(name)
    phi = 0.5 * np.random.default_rng(6).normal(size=(5, density.n_phi))
    found = np.full(len(phi), np.nan)

    def use(place, eliminated):
        found[place] = density.grid_at(phi[place], eliminated).log_density

    BatchedDensity(density, device).each_point(phi, use)
    np.testing.assert_allclose(found, [density.grid(point).log_density for point in phi], rtol=TOLERANCE)


def test_points_that_cannot_be_evaluated(device):
    density = density_of("two intercepts")
    x = np.zeros((3, density.dimension))
    x[1] = 800.0  # the standard deviations are infinite
    values, gradients = BatchedDensity(density, device).values_and_gradients(x)
    assert np.isfinite(values).tolist() == [True, False, True] and values[1] == -np.inf
    assert not gradients[1].any() and gradients[0].any()


def test_memory_that_runs_out_makes_batches_smaller(monkeypatch):
    """Other programs use the card, too: batches are halved until they fit, and every point is evaluated."""
    fake = fake_cupy.install(monkeypatch)
    density = density_of("two intercepts")
    batches = BatchedDensity(density, find_device("cuda"))
    x = np.random.default_rng(7).normal(size=(13, density.dimension))
    values, _ = batches.values_and_gradients(x)
    fake.most_matrices = 4
    done = []
    again, _ = batches.values_and_gradients(x)
    batches.each_point(x[:, :-1], lambda place, eliminated: done.append(place))
    np.testing.assert_allclose(again, values, rtol=TOLERANCE)
    assert batches.at_once == 3 and fake.released == 2 and done == list(range(13))
    fake.most_matrices = 0
    monkeypatch.setattr("bayeslmm.likelihood.device.Card._cholesky", lambda self, matrices: fake.cholesky(matrices))
    with pytest.raises(FittingError, match=r"ran out of memory on a single point.*device='cpu'"):
        batches.values_and_gradients(x)


def test_which_densities_are_for_a_card(monkeypatch):
    density = density_of("two intercepts")
    assert batched_density(density, "cpu") is None
    fake_cupy.install(monkeypatch)
    assert batched_density(density, "cuda").device.name == "cuda"
    assert batched_density(density, "auto") is None  # of order 11: a millisecond on the CPU
    monkeypatch.setattr("bayeslmm.posterior.batched_density.SMALLEST_ORDER", 1)
    assert batched_density(density, "auto").device.name == "cuda"
    fake_cupy.install(monkeypatch, free=100)
    assert batched_density(density, "auto") is None
    with pytest.raises(ModelError, match="no room"):
        batched_density(density, "cuda")
    model = blm.Model("y ~ x + (1 | a)", crossed_frame())
    single = covariance_density(model.kernel, model.resolved_priors)
    assert batched_density(single, "auto") is None
    with pytest.raises(OptionError, match=r"crossed random effects, which this fit does without.*'auto'\.$"):
        batched_density(single, "cuda")
