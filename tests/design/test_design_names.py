"""Names that results have a meaning for, and labels that files cannot hold."""

import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design
from bayeslmm.design.names import RESERVED_FACTORS, RESERVED_RESPONSES, safe_labels, safe_name
from bayeslmm.errors import DataError, ModelError
from bayeslmm.formula import parse


def table(**names):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.standard_normal(40), "g": np.arange(40) % 5, "h": np.arange(40) % 4})
    return frame.rename(columns=names)


@pytest.mark.parametrize("name", RESERVED_FACTORS)
def test_factors_with_a_name_of_results(name):
    with pytest.raises(DataError, match=f"{name}.*rename the column"):
        build_design(parse(f"y ~ 1 + (1 | `{name}`)"), table(g=name))


@pytest.mark.parametrize("name", RESERVED_RESPONSES)
def test_responses_with_a_name_of_dimensions(name):
    with pytest.raises(DataError, match=f"{name}.*rename the column"):
        build_design(parse(f"`{name}` ~ 1 + (1 | g)"), table(y=name))
    assert build_design(parse(f"log(exp(`{name}`)) ~ 1 + (1 | g)"), table(y=name)).n == 40


@pytest.mark.parametrize("name", ["sd_g", "cor_g", "r_g", "g_effect", "g_pair"])
def test_factors_named_like_parts_of_another(name):
    with pytest.raises(ModelError, match="rename the column"):
        build_design(parse(f"y ~ 1 + (1 | g) + (1 | {name})"), table(h=name))
    assert build_design(parse(f"y ~ 1 + (1 | {name})"), table(h=name)).terms[0].name == name


def test_a_response_is_called_like_its_column():
    assert build_design(parse("`my y` ~ 1 + (1 | g)"), table(y="my y")).response == "my y"


def test_safe_names():
    assert safe_name("sd_site/plot") == "sd_site\N{DIVISION SLASH}plot"
    assert safe_name("Days") == "Days"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pd.Index([3, 5]), [3, 5]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        (pd.Index([1, "1"]), ["1", "'1'"]),
        (pd.Index([("a", 1), ("b", 2)], tupleize_cols=False), ["('a', 1)", "('b', 2)"]),
        (pd.interval_range(0, 2), ["(0, 1]", "(1, 2]"]),
        (pd.period_range("2020-01", periods=2, freq="M"), ["2020-01", "2020-02"]),
        (pd.date_range("2020", periods=1, tz="UTC"), ["2020-01-01 00:00:00+00:00"]),
        (pd.Index([uuid.UUID(int=1)]), [str(uuid.UUID(int=1))]),
        (pd.Index([Decimal("1.5"), 2]), ["1.5", "2"]),
        (pd.CategoricalIndex(["b", "a"]), ["b", "a"]),
    ],
)
def test_safe_labels(labels, expected):
    found = safe_labels(labels)
    assert found.shape == (len(labels),)
    assert found.tolist() == expected
