import arviz
import numpy as np
import pytest
from scipy.stats import rankdata

from bayeslmm.results.diagnostics import average_ranks, diagnose, effective_sizes

# Both sides do the same arithmetic in another order; the autocovariances go through another FFT length.
RELATIVE = 1e-8


def autoregressive(rng, chains, draws, size, rho):
    noise = rng.standard_normal((chains, draws, size))
    values = np.empty_like(noise)
    values[:, 0] = noise[:, 0]
    for t in range(1, draws):
        values[:, t] = rho * values[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    return values


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.98])
@pytest.mark.parametrize(("chains", "draws"), [(4, 250), (2, 101), (3, 20)])
def test_same_numbers_as_arviz(rho, chains, draws):
    values = autoregressive(np.random.default_rng(1), chains, draws, 5, rho)
    values[:, :, 1] += np.arange(chains)[:, None]  # chains that disagree
    values[:, :, 2] = np.round(values[:, :, 2])  # ties
    values[:, :, 3] = np.exp(3 * values[:, :, 3])  # heavy tail
    found, of_means = diagnose(values), effective_sizes(values)
    for k in range(5):
        one = values[:, :, k]
        np.testing.assert_allclose(found.rhat[k], arviz.rhat(one), rtol=RELATIVE)
        np.testing.assert_allclose(found.ess_bulk[k], arviz.ess(one, method="bulk"), rtol=RELATIVE)
        np.testing.assert_allclose(found.ess_tail[k], arviz.ess(one, method="tail"), rtol=RELATIVE)
        np.testing.assert_allclose(of_means[k], arviz.ess(one, method="mean"), rtol=RELATIVE)


def test_batches_and_shape_do_not_matter(monkeypatch):
    values = autoregressive(np.random.default_rng(2), 2, 60, 12, 0.3)
    whole = diagnose(values.reshape(2, 60, 3, 4))
    monkeypatch.setattr("bayeslmm.results.diagnostics.BATCH", 300)
    pieces = diagnose(values)
    np.testing.assert_array_equal(whole.rhat, pieces.rhat)
    np.testing.assert_array_equal(whole.ess_tail, pieces.ess_tail)


def test_constant_and_infinite_parameters_are_nan():
    values = np.random.default_rng(3).standard_normal((2, 50, 3))
    values[:, :, 0] = 1.0
    values[0, 3, 1] = np.inf
    found = diagnose(values)
    assert np.isnan(found.rhat[:2]).all()
    assert np.isnan(found.ess_bulk[:2]).all()
    assert np.isfinite(found.rhat[2])


def test_nothing_varies():
    assert np.isnan(diagnose(np.ones((2, 50, 3))).rhat).all()
    assert diagnose(np.ones((2, 50, 0))).rhat.shape == (0,)


def test_too_few_draws_give_nan():
    assert np.isnan(diagnose(np.zeros((2, 3, 4))).rhat).all()


def test_equal_values_share_their_rank():
    rows = np.random.default_rng(8).integers(0, 5, size=(3, 40)).astype(float)
    np.testing.assert_array_equal(average_ranks(rows), rankdata(rows, axis=1))
