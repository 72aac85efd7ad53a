"""Many responses in compiled loops, against the search for each of them."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.nuts.starting import starting_factors, starting_factors_of_responses
from bayeslmm.inference.optimum.compiled_chart import turn
from bayeslmm.inference.optimum.compiled_point import empty_point
from bayeslmm.inference.optimum.compiled_search import search_factor
from bayeslmm.inference.optimum.compiled_terms import room, terms_of
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.intervals.refits import Refitter
from bayeslmm.results.refits import fitted_model

SAME_OBJECTIVE = 1e-6  # a diagonal that does not matter may be zero in one search: 2.5e-7 each
OBJECTIVE = 1e-7  # both searches stop where less than 1e-8 is left to gain


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(25), rng.integers(3, 9, 25))
    frame = pd.DataFrame({"g": group, "x": rng.normal(size=len(group)) + 2, "w": rng.uniform(0.5, 2, len(group))})
    frame["o"] = rng.normal(size=len(group))
    b = rng.normal(size=(25, 2)) * [1.0, 0.7]
    return frame.assign(y=1 + frame["x"] + b[group, 0] + b[group, 1] * frame["x"] + rng.normal(size=len(group)))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + (1 | g)", {}),
        ("y ~ x + (x | g)", {}),
        ("y ~ x + (x || g)", {"weights": "w"}),
        ("y ~ x + (x | g)", {"weights": "w", "offset": "o"}),
        ("y ~ 0 + x + (1 | g)", {}),
        ("y ~ x + (1 | g)", {"sigma": 1.1}),
        ("y ~ 0 + (1 | g)", {}),
    ],
)
def test_each_is_the_fit_of_its_response(data, method, formula, options):
    model = blm.Model(formula, data, **options)
    Y = model.fit(method).simulate(12, seed=1).to_numpy()
    found = model.fit_many(Y, method)
    for k in range(Y.shape[1]):
        one = model.refit(Y[:, k], method)
        assert found["objective"].iloc[k] == pytest.approx(one.objective, abs=OBJECTIVE * (1 + abs(one.objective)))
        assert found["status"].iloc[k] == one.status.code
        if one.status.code == "converged":
            row = found.iloc[k]
            errors = one.coef_table(ddf="normal")["std_error"]
            np.testing.assert_allclose(row[list(errors.index)].astype(float), one.fixef(), atol=1e-3)
            np.testing.assert_allclose([row[f"std_error[{name}]"] for name in errors.index], errors, rtol=2e-3)
            sds = one.varcorr()["sd"].dropna()
            places = [*(c for c in found.columns if c.startswith("sd_")), *(["sigma"] if "sigma" in found else [])]
            np.testing.assert_allclose(row[places].astype(float), sds[: len(places)], rtol=5e-3, atol=1e-3)


@pytest.fixture
def alone(monkeypatch):
    """The responses that are fitted one by one."""
    calls, real = [], Refitter.fit
    monkeypatch.setattr(Refitter, "fit", lambda self, kernel: calls.append(1) or real(self, kernel))
    return calls


def hard_responses(data, size):
    """Return noise, responses without variance between groups, of correlation one and minus one, and of the model."""
    rng = np.random.default_rng(7)
    groups, n = data["g"].to_numpy(), len(data)
    noise = rng.normal(size=(n, 6))
    within = noise[:, :3] - pd.DataFrame(noise[:, :3]).groupby(groups).transform("mean").to_numpy()
    columns = np.column_stack([np.ones(n), data["x"], data["x"] ** 2])[:, :size]
    weights = np.array([[0.8] * 4, [1.0, 1.0, -1.0, -1.0], [0.3] * 4])[:size]
    rank_one = rng.normal(size=(25, 4))[groups] * (columns @ weights)
    full = np.einsum("ns,nsm->nm", columns, rng.normal(size=(25, size, 3))[groups])
    return np.column_stack([noise, within, rank_one + rng.normal(size=(n, 4)), full + rng.normal(size=(n, 3))])


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(
    ("formula", "size"),
    [("y ~ x + (1 | g)", 1), ("y ~ x + (x | g)", 2), ("y ~ x + (x || g)", 2), ("y ~ x + (x + z | g)", 3)],
)
def test_noise_and_singular_responses_are_fitted_as_one_by_one(data, alone, formula, size, method):
    data = data.assign(z=data["x"] ** 2)
    Y = hard_responses(data, size)
    found = blm.Model(formula, data).fit_many(Y, method)
    assert len(alone) <= 2
    assert 4 <= (found["status"] == "boundary").sum() < len(found)
    for k, (_, row) in enumerate(found.iterrows()):
        one = blm.Model(formula, data.assign(y=Y[:, k])).fit(method)
        assert row["status"] == one.status.code
        assert row["objective"] == pytest.approx(one.objective, abs=SAME_OBJECTIVE)
        sds = one.varcorr()["sd"].dropna().to_numpy()
        places = [*(c for c in found.columns if c.startswith("sd_")), "sigma"]
        np.testing.assert_allclose(row[places].astype(float), sds, atol=1e-3 * one.sigma)
        errors = one.coef_table(ddf="normal")["std_error"]
        np.testing.assert_allclose(row[list(errors.index)].astype(float), one.fixef(), atol=1e-3 * errors.max())


def test_a_first_fit_on_the_boundary_is_no_obstacle(data, alone):
    noise = np.random.default_rng(2).normal(size=(len(data), 8))
    within = noise[:, 0] - pd.Series(noise[:, 0]).groupby(data["g"]).transform("mean").to_numpy()
    model = blm.Model("y ~ x + (1 | g)", data.assign(y=within))
    assert model.fit("reml").status.code == "boundary"
    expected = blm.Model("y ~ x + (1 | g)", data).fit_many(noise)
    pd.testing.assert_frame_equal(model.fit_many(noise), expected, rtol=1e-6)
    assert not alone


def test_a_false_boundary_is_left(data):
    """From a variance of zero the search has to find that the data have one."""
    kernel = blm.Model("y ~ x + (x | g)", data).kernel
    term = terms_of(kernel, "reml", None)
    expected = maximise(kernel, "reml")
    for start in (np.zeros((2, 2)), np.diag([0.0, 1.0]), np.array([[1.0, 0.0], [1.0, 0.0]])):
        work, point = room(term, 0), empty_point(2)
        point.factor[:] = start
        norm, held = search_factor(term, point, 1e-12, work)
        assert held
        assert norm < 1e-3
        value, sigma = point.numbers
        assert value - kernel.products.log_weights + kernel.shift("reml") == pytest.approx(expected.objective, abs=1e-8)
        assert sigma == pytest.approx(expected.sigma, rel=1e-5)


@pytest.mark.parametrize("width", [3, 4])
def test_a_root_is_made_triangular(width):
    root = np.random.default_rng(1).normal(size=(3, width))
    found, rotation = root.copy(), np.empty((width, width))
    turn(found, rotation)
    np.testing.assert_allclose(found @ rotation.T, root, atol=1e-14)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(width), atol=1e-14)
    assert (np.diag(found) >= 0).all()
    assert (np.triu(found, 1) == 0).all()


@pytest.mark.parametrize("sigma", [None, 0.7])
def test_starts_of_many_responses_are_those_of_each(data, sigma):
    structure = fitted_model(blm.Model("y ~ x + (x | g)", data).fit("reml")).structure
    Y = np.random.default_rng(5).normal(size=(len(data), 4))
    found = starting_factors_of_responses(structure.kernel.products, structure.response_products(Y), sigma)
    expected = [starting_factors(structure.at(y).products, sigma)[0] for y in Y.T]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_singular_constant_and_perfect_responses_among_others(data):
    model = blm.Model("y ~ x + (1 | g)", data)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=len(data))
    within = noise - pd.Series(noise).groupby(data["g"]).transform("mean").to_numpy()
    found = model.fit_many(np.column_stack([data["y"], within, np.ones(len(data)), 2 + 3 * data["x"]]))
    assert list(found["status"]) == ["converged", "boundary", "failed", "failed"]
    assert found["sd_g[Intercept]"].iloc[1] == 0
    assert found.iloc[2:].drop(columns="status").isna().all(axis=None)
