"""Another response of a generalized model gives what a new model of it gives, in every form a response can have."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

OBJECTIVE = 1e-5  # searches from two starts end where the objective is flat to less than this
COEFFICIENTS = 2e-3  # in units of the link


def rows(seed=2, groups=24, each=8):
    """Return groups, a predictor, and a linear predictor of sd 0.6 about 0.3."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), each)
    x = rng.normal(size=len(g))
    eta = 0.3 + 0.4 * x + 0.6 * rng.normal(size=groups)[g]
    return rng, pd.DataFrame({"g": g, "x": x}), eta


def grades(rng, eta):
    return np.digitize(eta + rng.logistic(size=len(eta)), [-0.5, 1.0])


CASES = {
    "poisson": ("y ~ x + (1 | g)", lambda rng, eta: rng.poisson(np.exp(eta))),
    "bernoulli": ("y ~ x + (1 | g)", lambda rng, eta: rng.random(len(eta)) < 1 / (1 + np.exp(-eta))),
    "gamma": ("y ~ x + (1 | g)", lambda rng, eta: rng.gamma(3.0, np.exp(eta) / 3.0)),
    "cumulative": ("y ~ x + (1 | g)", lambda rng, eta: np.array(["low", "mid", "top"])[grades(rng, eta)]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_refit_is_the_fit_of_a_new_model_and_can_be_saved(name, tmp_path):
    formula, draw = CASES[name]
    rng, data, eta = rows()
    data["y"] = draw(rng, eta)
    other = draw(rng, eta)
    model = blm.Model(formula, data, family=name)
    fit = model.fit("ml")
    before = fit.objective
    new = blm.Model(formula, data.assign(y=other), family=name).fit("ml")
    for again in (fit.refit(other), model.refit(pd.Series(other)[::-1])):
        assert again.objective == pytest.approx(new.objective, abs=OBJECTIVE)
        np.testing.assert_allclose(again.fixef(), new.fixef(), atol=COEFFICIENTS)
        np.testing.assert_allclose(again.coef_table()["std_error"], new.coef_table()["std_error"], rtol=1e-2)
        np.testing.assert_array_equal(again.outcome.y, new.outcome.y)
    loaded = blm.load(fit.refit(other).save(tmp_path / "fit"))
    assert loaded.objective == pytest.approx(new.objective, abs=OBJECTIVE)
    np.testing.assert_allclose(loaded.predict(), new.predict(), atol=COEFFICIENTS)
    assert fit.objective == before


def test_what_simulate_gives_can_be_fitted():
    for name in ("cumulative", "bernoulli"):
        formula, draw = CASES[name]
        rng, data, eta = rows()
        answers = draw(rng, eta)
        data["y"] = np.where(answers, "yes", "no") if name == "bernoulli" else answers
        fit = blm.Model(formula, data, family=name).fit("ml")
        y = fit.simulate(1, seed=4).iloc[:, 0]
        again = fit.refit(y)
        np.testing.assert_array_equal(again.outcome.y, y)
        assert again.outcome.categories == fit.outcome.categories
        with pytest.raises(blm.DataError, match="holds 7, which is no category"):
            fit.refit(y * 0 + 7)


@pytest.mark.parametrize("way", ["cbind", "p", "weights"])
def test_successes_of_the_same_trials_in_every_spelling(way, tmp_path):
    rng, data, eta = rows()
    data["n"] = rng.integers(3, 12, len(data))
    k, other = (rng.binomial(data["n"], 1 / (1 + np.exp(-eta))) for _ in range(2))
    data["k"], data["share"] = k, k / data["n"]
    left = {"cbind": "cbind(k, n - k)", "p": "p(k, n)", "weights": "share"}[way]
    options = {"weights": "n"} if way == "weights" else {}
    fit = blm.Model(f"{left} ~ x + (1 | g)", data, family="binomial", **options).fit("ml")
    new = blm.Model("cbind(k, n - k) ~ x + (1 | g)", data.assign(k=other), family="binomial").fit("ml")
    responses = [other, np.column_stack([other, data["n"] - other])]
    for y in [*responses, other / data["n"]] if way == "weights" else responses:
        again = fit.refit(y)
        assert again.objective == pytest.approx(new.objective, abs=OBJECTIVE)
        np.testing.assert_allclose(again.fixef(), new.fixef(), atol=COEFFICIENTS)
    loaded = blm.load(again.save(tmp_path / way))
    assert loaded.objective == pytest.approx(new.objective, abs=OBJECTIVE)
    with pytest.raises(blm.DataError, match="more than the number of trials in 1 row: 3 "):
        fit.refit(np.where(np.arange(len(data)) == 3, 99, other))
    if way == "weights":
        with pytest.raises(blm.DataError, match="other trials"):
            fit.refit(np.column_stack([other, data["n"] - other + 1]))


def test_trials_may_change_where_they_are_part_of_the_response(tmp_path):
    rng, data, eta = rows()
    data["y"] = CASES["bernoulli"][1](rng, eta).astype(int)
    pairs = np.column_stack([rng.integers(0, 4, len(data)), rng.integers(1, 4, len(data))])
    again = blm.Model("y ~ x + (1 | g)", data, family="binomial").fit("ml").refit(pairs)
    data = data.assign(k=pairs[:, 0], m=pairs[:, 1])
    new = blm.Model("cbind(k, m) ~ x + (1 | g)", data, family="binomial").fit("ml")
    assert again.objective == pytest.approx(new.objective, abs=OBJECTIVE)
    assert blm.load(again.save(tmp_path / "pairs")).objective == pytest.approx(new.objective, abs=OBJECTIVE)


def test_transformed_responses_offsets_zeros_and_quadrature(tmp_path):
    rng, data, eta = rows()
    data["y"] = rng.poisson(np.exp(eta)) * (rng.random(len(data)) < 0.8)
    other = rng.poisson(2 * np.exp(eta)) * (rng.random(len(data)) < 0.7)
    options = {"family": "zero_inflated_poisson", "zero": "~ x", "offset": data["x"] / 5}
    fit = blm.Model("y ~ x + (1 | g)", data, **options).fit("ml")
    new = blm.Model("y ~ x + (1 | g)", data.assign(y=other), **options).fit("ml")
    assert fit.refit(other).objective == pytest.approx(new.objective, abs=OBJECTIVE)
    doubled = blm.Model("I(2 * y) ~ x + (1 | g)", data, family="poisson")
    fit = doubled.fit("ml", n_quad=9)
    again = fit.refit(other)
    assert again.maximum.n_quad == 9
    new = blm.Model("y ~ x + (1 | g)", data.assign(y=other), family="poisson").fit("ml", n_quad=9)
    assert again.objective == pytest.approx(new.objective, abs=OBJECTIVE)
    assert blm.load(again.save(tmp_path / "fit")).objective == pytest.approx(new.objective, abs=OBJECTIVE)


def test_rows_left_out_are_no_part_of_a_new_response():
    rng, data, eta = rows()
    data["y"] = rng.poisson(np.exp(eta))
    gaps = data.assign(x=data["x"].where(data.index > 3))
    fit = blm.Model("y ~ x + (1 | g)", gaps, family="poisson").fit("ml")
    assert fit.refit(data["y"]).objective == pytest.approx(fit.objective, abs=OBJECTIVE)


def test_refusals():
    rng, data, eta = rows()
    data["y"] = rng.poisson(np.exp(eta))
    model = blm.Model("y ~ x + (1 | g)", data, family="poisson")
    fit = model.fit("ml")
    with pytest.raises(blm.DataError, match=r"The new response is negative in 1 row: 5 \(-1\.0\)"):
        fit.refit(data["y"].where(data.index != 5, -1))
    with pytest.raises(blm.DataError, match="one value for each of 192 rows"):
        fit.refit([1, 2])
    with pytest.raises(blm.DataError, match="labels of the new response"):
        fit.refit(data["y"].set_axis(data.index + 7))
    with pytest.raises(blm.OptionError, match="use 'ml'"):
        model.refit(data["y"], "reml")
    with pytest.raises(blm.OptionError, match="priors of a posterior mode follow the response"):
        model.fit("map").refit(data["y"])


def test_a_dispersion_at_its_limit_comes_back():
    """A shape that ran to infinity, Poisson's limit, says nothing of the next response's."""
    rng, data, eta = rows()
    data["y"] = np.round(np.exp(eta))  # less spread than Poisson's
    other = rng.negative_binomial(1.5, 1.5 / (1.5 + np.exp(eta)))
    fit = blm.Model("y ~ x + (1 | g)", data, family="negative_binomial").fit("ml")
    assert fit.dispersion["shape"] > 1e4
    new = blm.Model("y ~ x + (1 | g)", data.assign(y=other), family="negative_binomial").fit("ml")
    again = fit.refit(other)
    assert again.objective == pytest.approx(new.objective, abs=OBJECTIVE)
    assert again.dispersion["shape"] == pytest.approx(new.dispersion["shape"], rel=1e-2)
