"""Many responses of models with several random terms in compiled loops, against the search for each of them."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.nuts.starting import starting_factors, starting_factors_of_responses
from bayeslmm.inference.optimum.profiled import is_small
from bayeslmm.intervals.refits import Refitter
from bayeslmm.results.refits import fitted_model

SAME_OBJECTIVE = 1e-6  # a diagonal that does not matter may be zero in one search: 2.5e-7 each

FORMULAS = [
    "y ~ x + (1 | a) + (1 | b)",
    "y ~ x + (x | a) + (1 | b)",
    "y ~ x + (x | a) + (x | b)",
    "y ~ x + (x || a) + (1 | b)",
    "y ~ x + (1 | a) + (0 + x | a)",
    "y ~ x + (1 | a / c)",
    "y ~ x + (x | a / c)",
    "y ~ x + (1 | a / c) + (1 | b)",
    "y ~ 0 + (1 | b) + (1 | a)",
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame([(a, b) for a in range(18) for b in range(8)] * 2, columns=["a", "b"])
    frame = frame.sample(240, random_state=1).reset_index(drop=True)
    n = len(frame)
    frame = frame.assign(c=frame["b"] % 3, x=rng.normal(size=n) + 1, w=rng.uniform(0.5, 2, n), o=rng.normal(size=n))
    return frame.assign(y=responses(frame, 1, 4)[:, 0])


def responses(frame, m, seed):
    """Return responses with variance of every kind."""
    rng = np.random.default_rng(seed)
    a, b, x = (frame[name].to_numpy() for name in "abx")
    inner = a * 3 + frame["c"].to_numpy()
    total = rng.normal(size=(len(frame), m)) + x[:, None]
    for codes, sd in ((a, 0.8), (b, 0.6), (inner, 0.5)):
        total += sd * rng.normal(size=(codes.max() + 1, m))[codes]
        total += 0.4 * x[:, None] * rng.normal(size=(codes.max() + 1, m))[codes]
    return total


@pytest.fixture
def alone(monkeypatch):
    """The responses that are fitted one by one."""
    calls, real = [], Refitter.fit
    monkeypatch.setattr(Refitter, "fit", lambda self, kernel: calls.append(1) or real(self, kernel))
    return calls


def assert_same_fits(model, found, Y, method):
    for k, (_, row) in enumerate(found.iterrows()):
        one = model.refit(Y[:, k], method)
        assert row["objective"] == pytest.approx(one.objective, abs=SAME_OBJECTIVE)
        assert row["status"] == one.status.code
        sds = one.varcorr()["sd"].dropna().to_numpy()
        places = [*(c for c in found.columns if c.startswith("sd_")), *(["sigma"] if "sigma" in found else [])]
        np.testing.assert_allclose(row[places].astype(float), sds[: len(places)], atol=2e-3 * one.sigma)
        if len(one.fixef()):
            errors = one.coef_table(ddf="normal")["std_error"]
            np.testing.assert_allclose(row[list(errors.index)].astype(float), one.fixef(), atol=1e-3 * errors.max())
            np.testing.assert_allclose([row[f"std_error[{name}]"] for name in errors.index], errors, rtol=2e-3)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_each_is_the_fit_of_its_response(data, alone, formula, method):
    model = blm.Model(formula, data)
    noise = np.random.default_rng(6).normal(size=(len(data), 4))
    Y = np.column_stack([responses(data, 4, 5), noise])
    found = model.fit_many(Y, method)
    assert not alone
    assert (found["status"] == "boundary").any()
    assert_same_fits(model, found, Y, method)


@pytest.mark.parametrize("options", [{"weights": "w", "offset": "o"}, {"sigma": 1.1}])
def test_weights_offset_and_known_sigma(data, alone, options):
    model = blm.Model("y ~ x + (x | a) + (1 | b)", data, **options)
    Y = responses(data, 4, 8)
    found = model.fit_many(Y)
    assert not alone
    assert_same_fits(model, found, Y, "reml")


def test_numbers_of_one_response_do_not_depend_on_others(data):
    model, Y = blm.Model("y ~ x + (1 | a) + (1 | b)", data), responses(data, 5, 9)
    backwards = model.fit_many(Y[:, ::-1]).iloc[::-1].set_axis(range(5))
    pd.testing.assert_frame_equal(backwards, model.fit_many(Y), check_names=False, check_index_type=False)


def test_constant_and_perfect_responses_among_others(data):
    model = blm.Model("y ~ x + (1 | a) + (1 | b)", data)
    found = model.fit_many(np.column_stack([data["y"], np.ones(len(data)), 2 + 3 * data["x"], data["a"], data["y"]]))
    assert list(found["status"]) == ["converged", "failed", "failed", "failed", "converged"]
    assert found.iloc[1:4].drop(columns="status").isna().all(axis=None)


@pytest.mark.parametrize("formula", ["y ~ x + (x | a) + (1 | b)", "y ~ x + (1 | a / c)"])
@pytest.mark.parametrize("sigma", [None, 0.7])
def test_starts_of_many_responses_are_those_of_each(data, formula, sigma):
    structure = fitted_model(blm.Model(formula, data).fit("reml")).structure
    Y = responses(data, 3, 5)
    found = starting_factors_of_responses(structure.kernel.products, structure.response_products(Y), sigma)
    for y, together in zip(Y.T, found, strict=True):
        first = 0
        for factor in starting_factors(structure.at(y).products, sigma):
            own = slice(first, first + len(factor))
            np.testing.assert_allclose(together[own, own], factor, rtol=1e-9)
            first = own.stop
        assert np.count_nonzero(together) == first


def test_the_bootstrap_takes_the_same_way(data, alone):
    fit = blm.Model("y ~ x + (1 | a) + (1 | b)", data).fit("reml")
    found = fit.bootstrap(6, seed=2)
    assert not alone
    Y = fit.simulate(6, seed=2)
    assert found.replicates.shape == (6, 5)
    assert np.isfinite(found.replicates.to_numpy()).all()
    assert len(Y) == fit.nobs


def test_many_effects_go_to_lapack():
    a, b = np.divmod(np.arange(40_000), 200)
    frame = pd.DataFrame({"a": a, "b": b, "y": np.sin(np.arange(40_000.0))})
    assert not is_small(blm.Model("y ~ 1 + (1 | a) + (1 | b)", frame).kernel)
    assert is_small(blm.Model("y ~ 1 + (1 | a) + (1 | b)", frame[(a < 50) & (b < 50)]).kernel)
    assert not is_small(blm.Model("y ~ 1 + (1 | a)", frame).kernel)
