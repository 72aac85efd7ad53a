"""arviz's tables and pictures run on every kind of idata without a warning (warnings are errors here)."""

import json

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.covariance.pairs import correlation_matrices, pair_labels, pair_values

FUNCTIONS = ("summary", "plot_trace", "plot_forest", "plot_pair", "plot_rank", "plot_ppc", "plot_loo_pit", "loo")
METHODS = {
    "importance": {"draws": 200, "chains": 2},
    "nuts": {"draws": 200, "tune": 300, "chains": 2},
    "advi": {"draws": 200, "chains": 2, "iterations": 2000},
}


@pytest.fixture(scope="module")
def fits():
    model = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    found = {method: model.fit(method, seed=1, progressbar=False, **options) for method, options in METHODS.items()}
    for fit in found.values():
        fit.add("log_likelihood", "posterior_predictive", seed=1)
    return found


@pytest.mark.filterwarnings("default:The figure layout has changed to tight:UserWarning")
@pytest.mark.filterwarnings(
    "default:Estimated shape parameter of Pareto:UserWarning"
)  # arviz's, of the conditional likelihood
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_function(fits, method, function):
    import arviz as az
    import matplotlib.pyplot as plt

    options = {
        "summary": {"var_names": ["beta", "sigma", "sd_Subject", "cor_Subject"]},
        "plot_trace": {"var_names": ["sd_Subject", "cor_Subject"]},
        "plot_pair": {"var_names": ["sd_Subject", "cor_Subject"]},
        "plot_rank": {"var_names": ["cor_Subject"]},
        "plot_ppc": {"num_pp_samples": 10},
        "plot_loo_pit": {"y": "Reaction"},
    }
    found = getattr(az, function)(fits[method].idata, **options.get(function, {}))
    plt.close("all")
    if function == "summary":
        assert not found.isna().any().any()
        assert list(found.index).count("cor_Subject[Intercept, Days]") == 1


@pytest.mark.filterwarnings("default:Estimated shape parameter of Pareto:UserWarning")
@pytest.mark.filterwarnings("default:The inplace keyword")  # arviz 0.23 with pandas 3
def test_compare(fits):
    import arviz as az

    table = az.compare({name: fit.idata for name, fit in fits.items() if name != "advi"}, ic="loo")
    assert set(table.index) == {"importance", "nuts"}


def test_correlation_draws_are_the_matrices_of_the_pairs(fits):
    fit = fits["importance"]
    (matrices,) = fit.correlation_draws().values()
    assert matrices.shape == (2, 200, 2, 2)
    np.testing.assert_array_equal(matrices[..., 0, 0], 1.0)
    np.testing.assert_array_equal(matrices[..., 0, 1], fit.idata.posterior["cor_Subject"].values[..., 0])


def test_facts_in_attributes_are_plain(fits):
    """What goes into netCDF as attributes comes back the same: texts and numbers only."""
    for fit in fits.values():
        for group in fit.idata.groups():
            json.dumps(dict(fit.idata[group].attrs))


def test_pairs_and_matrices_are_inverse():
    rng = np.random.default_rng(0)
    values = rng.uniform(-0.3, 0.3, size=(5, 6))
    matrices = correlation_matrices(values, 4)
    np.testing.assert_array_equal(pair_values(matrices), values)
    np.testing.assert_array_equal(matrices, matrices.swapaxes(-1, -2))
    assert pair_labels(["a", "b", "c"]) == ["a, b", "a, c", "b, c"]
    assert matrices[0, 1, 0] == values[0, 0] and matrices[0, 2, 1] == values[0, 3]
