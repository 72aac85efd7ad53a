"""Names, dimensions and labels of the hierarchical model, and what it is made of."""

import sys

import numpy as np
import pandas as pd
import pytest
from handmade import make_design, make_term, sleepstudy_design

from bayeslmm.errors import MissingDependencyError, ModelError
from bayeslmm.priors import resolve_priors


@pytest.fixture
def y(rng):
    return rng.normal(size=12)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def build(design, stated=None, *, sigma=None, centered=False):
    from bayeslmm.pymc_models import build_hierarchical

    return build_hierarchical(design, resolve_priors(design, stated, sigma=sigma), sigma=sigma, centered=centered)


@pytest.mark.parametrize("centered", [False, True])
def test_names_dimensions_and_labels(centered):
    model = build(sleepstudy_design(), centered=centered)
    assert {v.name for v in model.deterministics} == {
        "beta",
        "sigma",
        "sd_Subject",
        "cor_Subject",
        "r_Subject",
    }
    assert all(v.name.startswith("raw[") for v in model.free_RVs)
    dims = model.named_vars_to_dims
    assert dims["beta"] == ("fixed",)
    assert dims["sd_Subject"] == ("Subject_effect",)
    assert dims["cor_Subject"] == ("Subject_pair",)
    assert dims["r_Subject"] == ("Subject", "Subject_effect")
    assert list(model.coords["Subject"][:2]) == [308, 309]
    assert model.coords["Subject_effect"] == ("Intercept", "Days")
    assert [v.name for v in model.observed_RVs] == ["y"]


def test_no_correlations_where_there_are_none():
    model = build(sleepstudy_design(correlated=False))
    assert "cor_Subject" not in model.named_vars
    assert not any("cov" in v.name or "cor" in v.name for v in model.free_RVs)


def test_no_indicator_matrix():
    design = sleepstudy_design()
    shapes = [value.get_value().shape for value in build(design).named_vars.values() if hasattr(value, "get_value")]
    assert shapes and max(np.prod(shape, dtype=int) for shape in shapes) == design.n * 2


def test_terms_on_one_factor_share_its_levels(y):
    labels = np.repeat(["a", "b", "c"], 4)
    one = make_term(labels, [np.ones(12)], ["Intercept"])
    slope = make_term(labels, [y**2], ["x"], name="g.1")
    object.__setattr__(slope, "factor", "g")
    model = build(make_design(y, [np.ones(12)], ["Intercept"], [one, slope]))
    assert model.named_vars_to_dims["r_g.1"] == ("g", "g.1_effect")


@pytest.mark.parametrize("name", ["a b", "größe", "x[1]", "y", "a:b", "raw[beta]", "data[X]", "__obs__"])
def test_odd_factor_names(name, y):
    levels = pd.date_range("2024-01-01", periods=3)
    term = make_term(np.repeat(levels, 4), [np.ones(12), y], ["Intercept", "C(f)[T.x y]"], name=name)
    model = build(make_design(y, [np.ones(12), np.arange(12.0)], ["Intercept", name], [term]))
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point(0)))
    assert model.coords[name][0] == levels[0]


def test_dimensions_that_would_coincide(y):
    terms = [make_term(np.arange(12) % 3, [np.ones(12)], ["Intercept"], name=name) for name in ("a", "a_effect")]
    with pytest.raises(ModelError, match=r"a_effect.*rename"):
        build(make_design(y, [np.ones(12)], ["Intercept"], terms))


def test_nothing_to_estimate(y):
    with pytest.raises(ModelError, match="nothing to estimate"):
        build(make_design(y, [], []), sigma=1.0)


def test_fixed_sigma_is_data(y):
    model = build(make_design(y, [np.ones(12)], ["Intercept"]), sigma=2.0)
    assert model["sigma"].get_value() == 2.0
    assert [v.name for v in model.free_RVs] == ["raw[beta]"]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_start_is_sensible_in_any_units(factor):
    """Moving and rescaling y moves and rescales the start, so that its density changes by the units alone."""
    design = sleepstudy_design()
    moved = make_design(factor * (design.y + 1e4), [*design.X.T], list(design.fixed_names), list(design.terms))
    densities = []
    for case in (design, moved):
        model = build(case)
        densities.append(float(model.compile_logp(mode="FAST_COMPILE")(model.initial_point(0))))
    assert densities[1] == pytest.approx(densities[0] - design.n * np.log(factor), abs=1e-5)


def test_graph_draws_the_model(y):
    from bayeslmm.pymc_models import graph

    source = graph(build(sleepstudy_design())).source
    assert "sd_Subject" in source and "Subject (18)" in source


def test_graph_without_graphviz(monkeypatch):
    from bayeslmm.pymc_models import graph

    model = build(sleepstudy_design())
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(MissingDependencyError, match="pip install graphviz"):
        graph(model)
