"""Covariance parameters that no response of a design can tell apart, against the rank of dense matrices."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.design import build_design, confounding
from bayeslmm.design.checks import identifiability
from bayeslmm.design.confounding import confounded, has_telling_level
from bayeslmm.formula import parse

N = 60


def frame():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=N), "g": np.repeat(np.arange(12), 5), "k": rng.integers(0, 5, N)})
    data["y"] = 1 + data.x + rng.normal(size=12)[data.g] + rng.normal(size=N)
    return data.assign(
        zero=0.0, c=3.0, between=data.g % 2, many=np.cos(data.g),
        twice=2 * data.x, h=data.g + 100, row=np.arange(N), pair=np.arange(N) // 2,
        year=2000 + rng.integers(0, 10, N), w=rng.uniform(0.5, 2, N),
    )  # fmt: skip


def design(terms, data=None, **options):
    return build_design(parse(f"y ~ x + {terms}"), frame() if data is None else data, **options)


def dense_deficiency(found, sigma_known=False):
    """Number of linear dependencies among the matrices whose sum is the marginal covariance, by their dense rank."""
    matrices = [] if sigma_known else [np.diag(1 / found.weights) if found.weights is not None else np.eye(found.n)]
    for term in found.terms:
        same = (term.codes[:, None] == term.codes).astype(float)
        columns = term.centring.apply(term.columns)
        for s in range(term.n_columns):
            for r in range(s, term.n_columns if term.has_correlations else s + 1):
                outer = np.outer(columns[:, r], columns[:, s])
                matrices.append(same * (outer + outer.T))
    table = np.column_stack([m.ravel() / max(np.linalg.norm(m), 1e-300) for m in matrices])
    return len(matrices) - np.linalg.matrix_rank(table, tol=1e-8)


IDENTIFIED = [
    "(x | g)", "(1 | g) + (1 | k)", "(1 | g/k)", "(year | g)", "(C(k) | g)", "(0 + C(k) || g)", "(poly(x, 3) | g)",
    "(x || g) + (year | k)", "(1 | pair)",
]  # fmt: skip
CONFOUNDED = {
    "(zero | g)": ("cor_g[Intercept, zero]", "sd_g[zero]"),
    "(c | g)": ("sd_g[Intercept]", "cor_g[Intercept, c]", "sd_g[c]"),
    "(between | g)": ("cor_g[Intercept, between]", "sd_g[between]"),  # V = var0 + (2 cov + var) between
    "(1 | g) + (1 | h)": ("sd_g[Intercept]", "sd_h[Intercept]"),
    "(x | g) + (1 | g)": ("sd_g[Intercept]", "sd_g.1[Intercept]"),
    "(1 | g) + (0 + c | g)": ("sd_g[Intercept]", "sd_g.1[c]"),
    "(x | row)": ("sd_row[Intercept]", "sigma"),
    "(0 + x + twice || g)": ("sd_g[x]", "sd_g[twice]"),
}


@pytest.mark.parametrize("terms", IDENTIFIED)
def test_identified(terms):
    found = design(terms)
    assert dense_deficiency(found) == 0
    assert confounded(found.terms, None, N, False) == ()


@pytest.mark.parametrize("terms", CONFOUNDED)
def test_confounded(terms):
    found = design(terms)
    assert dense_deficiency(found) > 0
    assert confounded(found.terms, None, N, False) == CONFOUNDED[terms]


def test_a_column_that_is_constant_within_levels():
    """Its variances between levels are identified where it has three values or more, its effects are not."""
    found = design("(many | g)")
    assert dense_deficiency(found) == 0
    for terms in ("(many | g)", "(x + many | g)"):
        (finding,) = identifiability(design(terms))
        assert "many is constant within every level" in finding.message
    for terms in ("(x | g)", "(many || g)", "(0 + many | g)", "(many | k)"):
        assert identifiability(design(terms)) == []


def test_a_column_that_occurs_twice():
    found = confounded(design("(x + twice | g)").terms, None, N, False)
    assert {"sd_g[x]", "sd_g[twice]", "cor_g[x, twice]"} <= set(found)
    assert "sd_g[Intercept]" not in found


def test_weights_and_a_known_sigma():
    """One row per level: weights that differ, or a known sigma, set the levels' variance apart from the residual's."""
    found = design("(1 | row)", weights="w")
    assert dense_deficiency(found) == 0
    assert confounded(found.terms, found.weights, N, False) == ()
    found = design("(1 | row)")
    assert confounded(found.terms, None, N, False) != ()
    assert confounded(found.terms, None, N, True) == ()


@pytest.mark.parametrize("terms", [*CONFOUNDED, "(year | g)", "(1 | pair) + (x | g)"])
def test_rows_in_pieces_say_the_same(terms, monkeypatch):
    found = design(terms)
    expected = confounded(found.terms, None, N, False)
    monkeypatch.setattr(confounding, "CHUNK_ROWS", 7)
    assert confounded(found.terms, None, N, False) == expected


def test_the_status_names_them():
    for method in ("reml", "ml"):
        fit = blm.Model("y ~ x + (1 | g) + (1 | h)", frame()).fit(method)
        assert "do not determine sd_g[Intercept] and sd_h[Intercept]" in fit.status.message
    posterior = blm.Model("y ~ x + (1 | g) + (1 | h)", frame()).fit("importance", seed=1, draws=100, progressbar=False)
    assert posterior.status.code == "doubtful"
    assert "do not determine" in posterior.status.message
    assert "do not determine" not in blm.Model("y ~ x + (x | g)", frame()).fit("reml").status.message


@pytest.mark.parametrize("terms", ["(1 | pair)", "(x | g)", "(year | g)", "(poly(x, 3) | g)"])
def test_a_level_tells_all_parameters_of_a_single_term(terms):
    found = design(terms)
    assert has_telling_level(found.terms[0])
    assert dense_deficiency(found) == 0


@pytest.mark.parametrize("terms", [terms for terms in CONFOUNDED if terms.count("|") == 1])
def test_no_level_tells_parameters_apart_that_are_confounded(terms):
    assert not has_telling_level(design(terms).terms[0])


def test_the_largest_level_may_not_tell_what_others_do():
    data = frame().assign(x=lambda rows: np.where(rows.g == 0, 1.0, rows.x))
    data = pd.concat([data, data[data.g == 0]], ignore_index=True)
    found = design("(x | g)", data)
    assert not has_telling_level(found.terms[0])
    assert dense_deficiency(found) == 0
    assert identifiability(found) == []
