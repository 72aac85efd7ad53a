"""Values that have no order are refused as categories of a response, with the remedy."""

import warnings

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm


@pytest.mark.parametrize("family", ["bernoulli", "cumulative"])
@pytest.mark.parametrize(
    ("values", "kinds"), [([1, "a"], "int, str"), ([1 + 1j, 2 + 1j], "complex"), ([(1, 2), "b"], "str, tuple")]
)
def test_no_order(family, values, kinds):
    column = np.empty(20, dtype=object)
    column[:] = values * 10
    data = pd.DataFrame({"y": column, "x": np.arange(20.0), "g": np.arange(20) % 4})
    with pytest.raises(blm.DataError, match=rf"y \({kinds}\) have no order: make them texts"):
        blm.Model("y ~ x + (1 | g)", data, family=family)


@pytest.mark.parametrize(("n_categories", "warned"), [(20, False), (21, True), (60, True)])
def test_a_measurement_as_categories_is_told(n_categories, warned):
    data = pd.DataFrame({"y": np.arange(60) * n_categories // 60, "x": np.arange(60) % 7.0, "g": np.arange(60) % 4})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        blm.Model("y ~ x + (1 | g)", data, family="cumulative")
    assert [str(one.message)[:40] for one in told] == [
        f"y has {n_categories} categories in 60 rows, and a thr"[:40]
    ] * warned


@pytest.mark.parametrize(
    ("grades", "categories", "order"),
    [
        (["low", "mid", "high"], None, "high < low < mid"),  # texts: by the alphabet, which is not meant
        (["low", "mid", "high"], ["low", "mid", "high"], "low < mid < high"),
        (list(range(1, 11)), None, "1 < 2 < 3 < 4 < 5 < 6 < ... < 10"),
    ],
)
@pytest.mark.parametrize("options", [{"method": "ml"}, {"method": "importance", "draws": 50, "seed": 1}])
def test_the_order_taken_is_shown(grades, categories, order, options):
    y = grades * (120 // len(grades))
    data = pd.DataFrame({"y": y, "x": np.sin(np.arange(120)), "g": np.arange(120) // 20})
    if categories is not None:
        data["y"] = pd.Categorical(data["y"], categories, ordered=True)
    fit = blm.Model("y ~ x + (1 | g)", data, family="cumulative").fit(**options)
    assert ("Order", order) in fit.summary().facts
