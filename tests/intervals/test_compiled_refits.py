"""Many responses in compiled loops, against the search for each of them."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

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


def test_most_responses_take_the_compiled_way(data, monkeypatch):
    model = blm.Model("y ~ x + (x | g)", data)
    Y = model.fit("reml").simulate(40, seed=1)
    calls = []
    from bayeslmm.intervals.refits import Refitter

    real = Refitter.fit
    monkeypatch.setattr(Refitter, "fit", lambda self, kernel: calls.append(1) or real(self, kernel))
    found = model.fit_many(Y)
    assert len(calls) <= (found["status"] != "converged").sum() + 2


def test_singular_constant_and_perfect_responses_among_others(data):
    model = blm.Model("y ~ x + (1 | g)", data)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=len(data))
    within = noise - pd.Series(noise).groupby(data["g"]).transform("mean").to_numpy()
    found = model.fit_many(np.column_stack([data["y"], within, np.ones(len(data)), 2 + 3 * data["x"]]))
    assert list(found["status"]) == ["converged", "boundary", "failed", "failed"]
    assert found["sd_g[Intercept]"].iloc[1] == 0
    assert found.iloc[2:].drop(columns="status").isna().all(axis=None)
