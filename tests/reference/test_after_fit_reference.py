"""What is read after a fit, against lmerTest, pbkrtest, emmeans, performance and glmmTMB on unbalanced simulated data.

Numbers are from after_fit_reference.json (make_after_fit_reference.R) on data/after_fit.csv (make_after_fit_data.py).
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.effects.adjustment import critical_values

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "after_fit_reference.json").read_text(encoding="utf-8"))
FORMULAS = {
    "crossed": "y ~ A * B + x + (1 | school) + (1 | item)",
    "nested": "y ~ A + B + (1 | school/klass)",
    "slopes": "y ~ poly(x, 2) + A + (x | school)",
    "weighted": "y ~ A * B + (1 | school)",
    "empty": "y ~ A * C + (1 | school)",
    "deficient": "y ~ A + x + x2 + (1 | school)",
    "singular": "flat ~ A + x + (1 | klass)",
    "relevelled": "y ~ C(A, Treatment('b')) * B + (1 | school)",
    "logged": "log(yp) ~ A * B + x + (1 | school)",
    "by_slope": "y ~ A * x + B + (1 | school)",
}
FAMILIES = {
    "binomial": "cbind(k, n - k) ~ A * B + x + (1 | school)",
    "poisson": "cnt ~ A + B + x + (1 | school) + (1 | item)",
}
DF = 1e-3  # relative: lmerTest differentiates numerically
STATISTIC = 1e-4  # relative
TINY = 1e-6  # absolute, where numbers may be zero
P = 2e-3  # relative, what DF and STATISTIC leave of a p value
WIDTH = 1e-2  # of an interval: lme4 interpolates between fewer points of a profile
DDF = {"satterthwaite": "satterthwaite", "kenward_roger": "kenward-roger"}


def data():
    return pd.read_csv(HERE / "data" / "after_fit.csv")


@cache
def fit_of(name):
    return blm.Model(FORMULAS[name], data(), weights="w" if name == "weighted" else None).fit("reml")


@cache
def family_fit(name):
    return blm.Model(FAMILIES[name], data(), family=name).fit("ml")


def column(rows, *names):
    """Return a column by the first of its names that there is; nulls and "nonEst" are NaN."""
    name = next(name for name in names if name in rows[0])
    return np.array([np.nan if row.get(name) in (None, "NA", "nonEst") else row[name] for row in rows], dtype=float)


def same(ours, theirs, rel, tiny=TINY):
    np.testing.assert_allclose(np.asarray(ours, dtype=float), theirs, rtol=rel, atol=tiny)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("ddf", DDF)
def test_coefficients(name, ddf):
    rows = REFERENCE["tests"][name].get(ddf)
    if rows is None:
        pytest.skip("pbkrtest leaves prior weights out")
    table = fit_of(name).coef_table(ddf=DDF[ddf])
    for ours, theirs in (("estimate", "Estimate"), ("std_error", "Std. Error"), ("t", "t value")):
        same(table[ours], column(rows, theirs), STATISTIC, 1e-5)
    same(table["df"], column(rows, "df"), DF)
    same(table["p"], column(rows, "Pr(>|t|)"), P)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("key", "type_", "ddf"), [
    ("anova_1", 1, "satterthwaite"), ("anova_2", 2, "satterthwaite"), ("anova_3", 3, "satterthwaite"),
    ("anova_2_kr", 2, "kenward-roger"),
])  # fmt: skip
def test_terms(name, key, type_, ddf):
    rows = REFERENCE["tests"][name].get(key)
    if rows is None:
        pytest.skip("not defined, or wrong there")
    rows = [row for row in rows if row.get("F value") is not None]  # a term left out altogether has no row here
    table = fit_of(name).anova(type_, ddf=ddf)
    assert list(table["df_num"]) == [row["NumDF"] for row in rows]
    same(table["df_den"], column(rows, "DenDF"), DF)
    same(table["F"], column(rows, "F value"), STATISTIC)
    same(table["p"], column(rows, "Pr(>F)"), P)


@pytest.mark.parametrize("name", FORMULAS)
def test_random_terms_and_rows(name):
    expected, fit = REFERENCE["tests"][name], fit_of(name)
    chisq = np.sort(column(expected["ranova"], "LRT")[1:])  # there the larger grouping factor comes first
    same(np.sort(fit.ranova()["chisq"].iloc[1:]), chisq, STATISTIC, 1e-4)
    same(fit.leverage().iloc[:8], expected["hat"], 1e-3)
    same(fit.residuals(kind="pearson").iloc[:8], expected["pearson"], STATISTIC, 1e-4)
    same(fit.fitted().iloc[:8], expected["fitted"], STATISTIC)
    same(fit.predict(random="none").iloc[:8], expected["typical"], STATISTIC)
    if "r2" in expected:
        same(fit.r2()[["conditional", "marginal"]], expected["r2"], 1e-3)
        same(fit.icc()["(all)"], expected["icc"], 1e-3)
    if "cooks" in expected:  # theirs are (n - p)/n of the distance, n the number of groups
        distances = fit.influence("school", refit=True).cooks_distance
        same(distances * (12 - fit.design.p) / 12, expected["cooks"], 2e-2)


@pytest.mark.parametrize("name", ["crossed", "nested", "slopes", "singular"])
def test_profiles(name):
    rows, fit = REFERENCE["tests"][name]["profile"], fit_of(name)
    limits = fit.confint(method="profile")
    lower, upper = column(rows, "2.5 %"), column(rows, "97.5 %")
    p = fit.design.p
    pairs = [(limits.loc[list(fit.design.fixed_names)], lower[-p:], upper[-p:])]
    theirs = [row["row"] for row in rows[:-p]]
    for label in limits.index.drop(list(fit.design.fixed_names)):
        place = theirs.index(OF_LME4[label])
        pairs.append((limits.loc[[label]], lower[[place]], upper[[place]]))
    for ours, low, high in pairs:
        width = high - low
        assert np.all(np.abs(ours["lower"] - low) < WIDTH * width)
        assert np.all(np.abs(ours["upper"] - high) < WIDTH * width)


OF_LME4 = {
    "sd_school[Intercept]": "sd_(Intercept)|school",
    "sd_item[Intercept]": "sd_(Intercept)|item",
    "sd_klass[Intercept]": "sd_(Intercept)|klass",
    "sd_school:klass[Intercept]": "sd_(Intercept)|klass:school",
    "sd_school[x]": "sd_x|school",
    "cor_school[Intercept, x]": "cor_x.(Intercept)|school",
    "sigma": "sigma",
}


def check(table, rows, close=STATISTIC):
    """Compare a table of means, contrasts or slopes; where emmeans has no df they are infinite."""
    names = ("emmean", "estimate", "response", "ratio", "odds.ratio", "prob", "rate", "x.trend")
    same(table["estimate"], column(rows, *names), close)
    same(table["std_error"], column(rows, "SE"), close)
    if any(row.get("df") not in (None, "Inf") for row in rows):
        same(table["df"], column(rows, "df"), DF)
    if any("CL" in name for name in rows[0]):
        same(table["lower"], column(rows, "lower.CL", "asymp.LCL"), close, 2e-5)
        same(table["upper"], column(rows, "upper.CL", "asymp.UCL"), close, 2e-5)
    if "p.value" in rows[0]:
        same(table["p"], column(rows, "p.value"), P, 1e-5)


@pytest.mark.parametrize(("name", "spec", "ddf"), [
    ("crossed", "A", "kenward-roger"), ("crossed_by", "A | B", "satterthwaite"), ("nested", "A", "kenward-roger"),
    ("slopes", "A", "satterthwaite"), ("weighted", "A", "satterthwaite"), ("singular", "A", "satterthwaite"),
    ("logged", "A", "satterthwaite"),
])  # fmt: skip
def test_means_and_contrasts(name, spec, ddf):
    expected = REFERENCE["contrasts"][name]
    scale = {"scale": "response"} if name == "logged" else {}
    means = fit_of(name.removesuffix("_by")).means(spec, ddf=ddf, **scale)
    check(means.table(), expected["means"])
    for adjust in ("tukey", "holm", "bonferroni", "sidak", "none"):
        check(means.contrast("pairwise", adjust=adjust).table(), expected[adjust])
    check(means.contrast("trt.vs.ctrl", adjust="none").table(), expected["control"])
    check(means.contrast("sequential", adjust="none").table(), expected["sequential"])
    if name != "logged":  # there a polynomial of logarithms has no scale of its own
        check(means.contrast("polynomial", adjust="none").table(), expected["polynomial"])


SINGLE = {
    "proportional": lambda: fit_of("crossed").means("A", weights="proportional", ddf="satterthwaite"),
    "at": lambda: fit_of("crossed").means("A", at={"x": 1}, ddf="satterthwaite"),
    "empty": lambda: fit_of("empty").means("C * A", ddf="satterthwaite"),
    "deficient": lambda: fit_of("deficient").means("A", ddf="satterthwaite"),
    "relevelled": lambda: fit_of("relevelled").means("A", at={"A": list("bac")}, ddf="kenward-roger"),
    "pair_of_pairs": lambda: (
        fit_of("crossed").means("A * B", ddf="kenward-roger").contrast({"A": "pairwise", "B": "pairwise"})
    ),
    "control_of_steps": lambda: (
        fit_of("crossed").means("A * B", ddf="kenward-roger").contrast({"A": "trt.vs.ctrl", "B": "sequential"})
    ),
    "slopes": lambda: fit_of("by_slope").slopes("x | A", ddf="satterthwaite"),
    "pairs_of_slopes": lambda: fit_of("by_slope").slopes("x | A", ddf="satterthwaite").contrast("pairwise"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_other_means(name):
    check(SINGLE[name]().table(), REFERENCE["single"][name])


def test_the_largest_of_all_pairs():
    correlation = np.array(REFERENCE["mvt"]["correlation"])
    ours = critical_values(np.full(3, 217.0), "mvt", 3, correlation, 0.95)
    same(ours, REFERENCE["mvt"]["quantile"], 5e-4)  # the error of mvtnorm's quantile


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    expected, fit = REFERENCE["families"][name], family_fit(name)
    assert fit.loglik == pytest.approx(expected["loglik"], abs=1e-4)
    table = fit.coef_table()
    for ours, theirs in (("estimate", "Estimate"), ("std_error", "Std. Error"), ("z", "z value")):
        same(table[ours], column(expected["coef"], theirs), STATISTIC, 1e-5)
    means, response = fit.means("A"), fit.means("A", scale="response")
    check(means.table(), expected["means"])
    check(response.table(), expected["response"])
    check(means.contrast("pairwise").table(), expected["pairs"])
    check(response.contrast("pairwise").table(), expected["ratios"])
    check(fit.means("A", weights="proportional").table(), expected["proportional"])
