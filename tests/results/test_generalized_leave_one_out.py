"""Leave-one-out of counts and trials against exact refits: evidence of all rows over that of the others."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.comparison.generalized import normal_nodes
from bayeslmm.errors import OptionError

PRIORS = {"Intercept": "Normal(1, 1)", "x": "Normal(0, 1)", "sd_g": "HalfNormal(1)"}
REFIT_ERROR = 0.03  # of a log evidence by a thousand points


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.repeat(np.arange(8), 6), "x": rng.uniform(-1, 1, 48)})
    frame["y"] = rng.poisson(np.exp(0.8 + 0.3 * frame.x + 0.6 * rng.normal(size=8)[frame.g]))
    return frame


def fitted(data):
    return blm.Model("y ~ x + (1 | g)", data, family="poisson", priors=PRIORS).fit("importance", seed=1, draws=500)


def test_rows_and_groups_against_exact_refits(data):
    fit = fitted(data)
    rows, groups = blm.loo(fit), blm.loo(fit, unit="group")
    # intercepts are stated at the mean of x: refits have to mean the same by it
    centred = data.assign(x=data.x - data.x.mean())
    whole = fitted(centred).log_evidence

    def without(keep):
        model = blm.Model("y ~ 0 + one + x + (1 | g)", centred.assign(one=1.0)[keep], family="poisson",
                          priors={"one": "Normal(1, 1)", "x": "Normal(0, 1)", "sd_g": "HalfNormal(1)"})  # fmt: skip
        return model.fit("importance", seed=1, draws=100).log_evidence

    assert abs(without(np.ones(48, dtype=bool)) - whole) < 4 * REFIT_ERROR
    worst = np.argsort(rows["loo_i"].values)[[0, 20]]
    exact = [whole - without(np.arange(48) != i) for i in worst]
    np.testing.assert_array_less(
        np.abs(rows["loo_i"].values[worst] - exact), 4 * np.hypot(rows["mcse_i"].values[worst], REFIT_ERROR)
    )
    exact = [whole - without(data.g.to_numpy() != g) for g in (0, 7)]
    np.testing.assert_array_less(
        np.abs(groups["loo_i"].values[[0, 7]] - exact), 4 * np.hypot(groups["mcse_i"].values[[0, 7]], REFIT_ERROR)
    )
    assert rows["pareto_k"].max() < 0.7 and groups["pareto_k"].max() < 0.7
    assert rows["elpd_loo"] > groups["elpd_loo"]
    assert 2 < rows["p_loo"] < 10


def test_levels_of_one_row_have_weights_that_hold():
    """A random effect for every row: the conditional likelihood's weights would fail everywhere."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"i": np.arange(60), "y": rng.poisson(np.exp(1 + 0.8 * rng.normal(size=60)))})
    fit = blm.Model("y ~ 1 + (1 | i)", data, family="poisson").fit("importance", seed=1, draws=250)
    rows = blm.loo(fit)
    assert rows["pareto_k"].max() < 0.7
    np.testing.assert_allclose(rows["loo_i"], blm.loo(fit, unit="i")["loo_i"], rtol=1e-9)
    wide = blm.Model("y ~ 1 + (1 | i)", data, family="poisson", priors={"Intercept": "Normal(0, 20)"})
    table = blm.compare_models({"default": fit, "wide": wide.fit("importance", seed=1, draws=250)})
    assert table["elpd_diff"].max() < 1


def test_nodes_integrate_polynomials():
    x, logs = normal_nodes(9, 2)
    density = np.exp(logs)
    assert density.sum() == pytest.approx(1.0)
    assert density @ (x[:, 0] ** 2 * x[:, 1] ** 4) == pytest.approx(3.0)


def test_what_cannot_be_integrated_names_the_remedy(data):
    nested = data.assign(h=np.arange(48) // 3)
    fit = blm.Model("y ~ 1 + (1 | g) + (1 | h)", nested, family="poisson").fit("importance", seed=1, draws=250)
    with pytest.raises(OptionError, match="cross_validate"):
        blm.loo(fit, unit="g")
    with pytest.raises(OptionError, match="no grouping factor"):
        blm.loo(blm.Model("y ~ x + (1 | g)", data, family="poisson").fit("importance", seed=1, draws=250), unit="x")
