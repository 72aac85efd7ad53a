"""How families are found, read their response, name their parameters, start and simulate."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import DataError, OptionError
from bayeslmm.families import FAMILIES, Bernoulli, Cumulative, Poisson, Request, family

ROWS = ["a", "b", "c", "d"]


def test_registry_finds_families_and_links():
    assert isinstance(family("poisson"), Poisson)
    assert family("bernoulli", "probit").link.name == "probit"
    given = Bernoulli("cloglog")
    assert family(given) is given


def test_unknown_names_are_listed():
    with pytest.raises(OptionError, match=r"no family 'poison'.*'poisson' \(log\).*'gamma' \(log, inverse\)"):
        family("poison")
    with pytest.raises(OptionError, match="'poisson' has no link 'logit'; its links are 'log'"):
        family("poisson", "logit")
    with pytest.raises(OptionError, match="has the link 'log', and link='identity'"):
        family(Poisson(), "identity")


@pytest.mark.parametrize(
    ("values", "categories"),
    [
        ([True, False, True, True], (False, True)),
        ([1, 0, 1, 1], ()),
        (["yes", "no", "yes", "yes"], ("no", "yes")),
        (pd.Categorical(["yes", "no", "yes", "yes"], categories=["no", "yes"]), ("no", "yes")),
    ],
)
@pytest.mark.parametrize("name", ["bernoulli", "binomial"])
def test_binary_responses(values, categories, name):
    response = family(name).read(values)
    np.testing.assert_array_equal(response.y, [1, 0, 1, 1])
    assert response.categories == categories
    assert response.modelled == (categories[1] if categories else None)


def test_categories_are_ordered_by_the_request():
    response = family("bernoulli").read(["yes", "no"], Request(categories=["yes", "no"]))
    np.testing.assert_array_equal(response.y, [0, 1])
    assert response.modelled == "no"


@pytest.mark.parametrize(
    ("values", "request_"),
    [
        (np.array([[2, 3], [0, 4]]), Request()),
        ([2, 0], Request(trials=np.array([5, 4]))),
        ([0.4, 0.0], Request(weights=np.array([5, 4]))),
    ],
)
def test_trials_three_ways(values, request_):
    response = family("binomial").read(values, request_)
    np.testing.assert_array_equal(response.y, [2, 0])
    np.testing.assert_array_equal(response.size, [5, 4])
    assert response.weights is None
    np.testing.assert_allclose(response.base, np.log([10, 1]), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "values", "request_", "message"),
    [
        ("poisson", [1, -2, 0, -3], {}, r"y is negative in 2 rows: b \(-2.0\), d \(-3.0\). Counts are whole numbers"),
        ("poisson", [1, 2.5, 0, 3], {}, r"y is not a whole number in 1 row: b \(2.5\)"),
        ("negative_binomial", [1, np.nan, 0, 3], {}, r"is not a finite number in 1 row: b \(nan\). Drop these rows"),
        ("hurdle_poisson", ["x", "y", "z", "w"], {}, "y holds texts such as .x.; this family needs numbers"),
        ("gamma", [1, 0, 2, 3], {}, r"is not positive in 1 row: b \(0.0\).*model zeros apart"),
        ("lognormal", [1, 0, 2, 3], {}, r"is not positive in 1 row: b \(0.0\)"),
        ("beta", [0.2, 0, 1, 0.3], {}, r"not strictly between 0 and 1 in 2 rows: b \(0.0\), c \(1.0\).*'binomial'"),
        ("bernoulli", [0, 1, 2, 1], {}, r"is neither 0 nor 1 in 1 row: c \(2.0\).*'binomial'"),
        ("bernoulli", ["a", "b", "c", "a"], {}, "3 categories, 'a', 'b', 'c'.*'cumulative'"),
        ("poisson", ["1", "2", "0", "3"], {}, "y holds texts such as '1'; this family needs numbers"),
        ("poisson", [1, 2.123456789123, 0, 3], {}, r"y is not a whole number in 1 row: b \(2.12346\)"),
        ("bernoulli", ["a", "a", "a", "a"], {}, "y is 'a' in all rows; this family needs two categories"),
        ("bernoulli", ["a", "b", "c", "a"], {"categories": ["a", "b"]}, r"is none of the categories in 1 row: c \(c\)"),
        ("bernoulli", [[1, 2]] * 4, {}, "two columns.*'binomial'"),
        ("binomial", [[1, -2]] * 4, {}, "is negative in 4 rows: a"),
        (
            "binomial",
            [3, 0, 1, 1],
            {"trials": np.array([2, 1, 1, 1])},
            r"more than the number of trials in 1 row: a \(3.0\)",
        ),
        ("binomial", [0, 0, 1, 1], {"trials": np.array([2, 1, 0, 1])}, "is more than the number of trials in 1 row: c"),
        ("binomial", [0, 0, 0, 1], {"trials": np.array([2, 1, 0, 1])}, "has no trial in 1 row: c"),
        ("binomial", [0.5, 0.2, 1, 0], {}, "nothing says of how many trials.*weights.*'beta'"),
        ("binomial", [0.5, 1.5, 1, 0], {}, "is no proportion in 1 row: b"),
        (
            "binomial",
            [0.5, 0.5, 1, 0],
            {"weights": np.array([2, 3, 1, 1])},
            "not a whole number of successes in 1 row: b",
        ),
        ("poisson", [1, 2, 0, 3], {"weights": np.array([1, 0, 1, 1])}, "A weight of y is not positive in 1 row: b"),
        ("cumulative", ["lo", "hi", None, "lo"], {}, "y is missing in 1 row: c"),
        ("cumulative", ["lo", "hi", "hi", "lo"], {"categories": ["lo", "mid", "hi"]}, "no row of category 'mid'"),
    ],
)
def test_refusals_name_rows_and_remedy(name, values, request_, message):
    with pytest.raises(DataError, match=message):
        family(name).read(values, Request("y", ROWS, **request_))


def test_long_lists_of_rows_are_cut():
    with pytest.raises(DataError, match=r"12 rows: .* 4 \(-1.0\) and 7 more"):
        family("poisson").read(np.full(12, -1))


def test_ordinal_response_takes_the_order_it_is_given():
    values = pd.Categorical(["mid", "lo", "hi"], categories=["lo", "mid", "hi"], ordered=True)
    response = family("cumulative").read(values)
    np.testing.assert_array_equal(response.y, [1, 0, 2])
    assert Cumulative().for_response(response).n_dispersion == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_working_and_natural_values_are_inverse(name):
    chosen = Cumulative("logit", 4) if name == "cumulative" else family(name)
    natural = {"zero": 0.3}
    values = []
    for parameter in chosen.parameters:
        values += [-1.0, 0.5, 0.6] if parameter.size == 3 else [natural.get(parameter.name, 1.7)]
    found = chosen.natural(chosen.working(values))
    assert list(found) == [parameter.name for parameter in chosen.parameters]
    np.testing.assert_allclose(np.hstack([np.zeros(0), *found.values()]), values, rtol=1e-12)


ETA = 0.6
MANY = 40_000
SPREAD = 5.0  # standard errors of a mean of MANY draws, with a fixed seed


@pytest.mark.parametrize("name", FAMILIES)
def test_simulated_means_are_the_mean(name):
    rng = np.random.default_rng(11)
    values = {
        "gaussian": [0.7], "lognormal": [0.5], "negative_binomial": [2.0], "gamma": [3.0], "beta": [6.0],
        "student": [0.7, 6.0], "cumulative": [-0.5, 1.0], "zero_inflated_poisson": [0.2], "hurdle_poisson": [0.4],
        "zero_inflated_negative_binomial": [2.0, 0.2], "hurdle_negative_binomial": [2.0, 0.4],
    }.get(name, [])  # fmt: skip
    chosen = family(name)
    working = chosen.working(values)
    first = np.array([0.5, 0.6, 0.7]) if name == "beta" else np.array([1, 0, 2]) if name == "cumulative" else [1, 1, 1]
    seen = chosen.read(first)
    response = seen.with_y(np.zeros(MANY), np.zeros(MANY))
    response = type(response)(response.y, np.ones(MANY), response.base)
    eta = np.full(MANY, ETA)
    drawn = chosen.simulate(response, eta, working, rng)
    error = drawn.std() / np.sqrt(MANY)
    assert abs(drawn.mean() - chosen.mean(eta, working)[0]) < SPREAD * error


@pytest.mark.parametrize("name", FAMILIES)
def test_starts_have_a_density(name):
    values = {
        "bernoulli": [0, 1, 1], "binomial": [0, 1, 1], "cumulative": ["a", "b", "c"], "beta": [0.1, 0.5, 0.99],
    }.get(name, [1, 2, 40])  # fmt: skip
    chosen = family(name)
    response = chosen.read(values)
    eta = chosen.start_predictor(response)
    assert np.isfinite(chosen.log_density(response, eta, chosen.start(response))).all()
