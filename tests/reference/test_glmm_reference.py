"""Generalized mixed models against lme4, glmmTMB and ordinal (glmm_reference.json, made by make_glmm_reference.R)."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayeslmm.datasets import load_dataset
from bayeslmm.design import build_design
from bayeslmm.families import Request, family
from bayeslmm.formula import parse
from bayeslmm.inference.optimum.generalized.curvature import uncertainty
from bayeslmm.inference.optimum.generalized.maximum import maximise_generalized
from bayeslmm.likelihood.generalized.mode import factor_at, find_mode

HERE = Path(__file__).parent
RECORDS = json.loads((HERE / "glmm_reference.json").read_text(encoding="utf-8"))

BELOW = 1e-5  # of log-likelihood: what the optimisers compared may leave
SAME = 1e-4  # of log-likelihood, for those that find their mode and their optimum to as many digits as we do
BY_LME4 = 2e-3  # of log-likelihood: glmer stops its inner iterations at a relative change of 1e-7 of the deviance
OF_ERROR = 1e-3  # estimates, in standard errors
OF_ERROR_BY_LME4 = 3e-3  # the same reason
ERRORS = 1e-3  # relative difference of standard errors
ERRORS_BY_LME4 = 2e-2  # glmer's come from differences of an objective with those digits
OF_SD = 2e-4  # relative difference of standard deviations
OF_SD_BY_LME4 = 5e-4

VERB = "Anger + Gender + btype + situ"
CASES = {
    ("lme4", "cbpp_laplace"): ("cbpp", "binomial", "logit", "period + (1 | herd)", 1),
    ("lme4", "cbpp_agq9"): ("cbpp", "binomial", "logit", "period + (1 | herd)", 9),
    ("lme4", "cbpp_agq25"): ("cbpp", "binomial", "logit", "period + (1 | herd)", 25),
    ("lme4", "ticks"): (
        "grouseticks", "poisson", "log", "YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", 1,
    ),
    ("lme4", "verb"): ("verbagg", "bernoulli", "logit", f"{VERB} + (1 | id) + (1 | item)", 1),
    ("lme4", "verb_slope"): ("verbagg", "bernoulli", "logit", f"{VERB} + (1 + situ | id) + (1 | item)", 1),
    ("glmmTMB", "ticks_nbinom2"): (
        "grouseticks", "negative_binomial", "log", "YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", 1,
    ),
    ("glmmTMB", "ticks_zip"): ("grouseticks", "zero_inflated_poisson", "log", "YEAR + cHEIGHT + (1 | BROOD)", 1),
    ("glmmTMB", "gamma_log"): ("gamma", "gamma", "log", "x + (1 | g)", 1),
    ("glmmTMB", "beta_logit"): ("beta", "beta", "logit", "x + (1 | g)", 1),
    ("glmmTMB", "student"): ("t", "student", "identity", "x + (1 | g)", 1),
    ("glmmTMB", "verb"): ("verbagg", "bernoulli", "logit", f"{VERB} + (1 | id) + (1 | item)", 1),
}  # fmt: skip
NAMES = list(CASES)
BY_GLMER = {"cbpp_laplace", "ticks", "verb", "verb_slope"}


def arrays(data, kind, link, right):
    """Family, response, and the design of a right-hand side."""
    frame = (
        load_dataset(data) if data in ("cbpp", "grouseticks", "verbagg") else pd.read_csv(HERE / "data/positive.csv")
    )
    chosen = family(kind, link)
    if data == "cbpp":
        response = chosen.read(frame["incidence"], Request(trials=frame["size"].to_numpy()))
    else:
        response = chosen.read(frame[{"grouseticks": "TICKS", "verbagg": "r2"}.get(data, data)])
    frame = frame.assign(y_=response.y)
    return chosen, response, build_design(parse(f"y_ ~ {right}"), frame)


@cache
def fitted(key):
    data, kind, link, right, n_quad = CASES[key]
    chosen, response, design = arrays(data, kind, link, right)
    return maximise_generalized(chosen, response, design.X, design.terms, n_quad=n_quad)


def reference_sds(package, record):
    if package == "lme4":
        return [v["sdcor"] for v in record["varcorr"]]
    return [np.ravel(v["sd"])[0] for v in record["varcorr"].values()]


def saturated(data):
    """Log-likelihood of the model with a probability of its own for every row."""
    frame = load_dataset(data)
    k, n = frame["incidence"].to_numpy(), frame["size"].to_numpy()
    return float(stats.binom(n, k / n).logpmf(k).sum())


@pytest.mark.parametrize("key", NAMES)
def test_log_likelihood(key):
    package, name = key
    fit, expected = fitted(key), RECORDS[package][name]["loglik"]
    if "agq" in name:  # lme4 leaves the saturated model's out
        expected += saturated("cbpp")
    assert fit.status == "converged"
    assert fit.loglik >= expected - BELOW
    assert fit.loglik <= expected + (BY_LME4 if name in BY_GLMER and package == "lme4" else SAME)


@pytest.mark.parametrize("key", NAMES)
def test_coefficients_and_their_standard_errors(key):
    package, name = key
    fit, record = fitted(key), RECORDS[package][name]
    loose = package == "lme4" and name in BY_GLMER
    found = uncertainty(fit)
    assert found.positive_definite
    errors = np.sqrt(np.diag(found.beta))
    expected = np.array(list(record["fixef"].values()))
    assert np.abs((fit.beta - expected) / errors).max() < (OF_ERROR_BY_LME4 if loose else OF_ERROR)
    theirs = np.array(list(record["se_hessian" if package == "lme4" else "se"].values()))
    np.testing.assert_allclose(errors, theirs, rtol=ERRORS_BY_LME4 if loose else ERRORS)


@pytest.mark.parametrize("key", NAMES)
def test_standard_deviations(key):
    package, name = key
    fit, record = fitted(key), RECORDS[package][name]
    if name == "verb_slope":
        first, second, third, item = fit.theta
        both = np.hypot(second, third)
        found = [first, both, second / both, item]
    else:
        found = list(fit.theta)
    loose = package == "lme4" and name in BY_GLMER
    expected = reference_sds(package, record)
    np.testing.assert_allclose(sorted(found), sorted(expected), rtol=OF_SD_BY_LME4 if loose else OF_SD)


def test_dispersions():
    """The gamma shape is the inverse square of glmmTMB's coefficient of variation."""
    records = RECORDS["glmmTMB"]
    found = {k: fitted(("glmmTMB", k)) for k in ("ticks_nbinom2", "ticks_zip", "gamma_log", "beta_logit", "student")}
    natural = {k: fit.family.natural(fit.dispersion) for k, fit in found.items()}
    assert natural["ticks_nbinom2"]["shape"] == pytest.approx(records["ticks_nbinom2"]["dispersion"], rel=1e-4)
    assert natural["gamma_log"]["shape"] == pytest.approx(records["gamma_log"]["dispersion"] ** -2, rel=1e-4)
    assert natural["beta_logit"]["precision"] == pytest.approx(records["beta_logit"]["dispersion"], rel=1e-4)
    assert natural["student"]["sigma"] == pytest.approx(records["student"]["dispersion"], rel=1e-4)
    assert found["ticks_zip"].dispersion[0] == pytest.approx(records["ticks_zip"]["zi"]["(Intercept)"], rel=1e-4)


@pytest.mark.parametrize("name", ["cbpp_laplace", "cbpp_agq9", "cbpp_agq25"])
def test_random_effects(name):
    expected = [row["(Intercept)"] for row in RECORDS["lme4"][name]["ranef"]["herd"]]
    # an effect's own conditional sd is about 0.4
    np.testing.assert_allclose(fitted(("lme4", name)).b[0][:, 0], expected, atol=2e-3 if "laplace" in name else 2e-4)


def test_ordinal():
    record = RECORDS["ordinal"]
    frame = load_dataset("verbagg")
    chosen = family("cumulative")
    response = chosen.read(frame["resp"])
    design = build_design(parse(f"y_ ~ {VERB} + (1 | id) + (1 | item)"), frame.assign(y_=response.y))
    fit = maximise_generalized(chosen, response, design.X[:, 1:], design.terms)
    assert fit.loglik == pytest.approx(record["loglik"], abs=BELOW)
    errors = np.sqrt(np.diag(uncertainty(fit).beta))
    assert np.abs((fit.beta - list(record["fixef"].values())) / errors).max() < OF_ERROR
    thresholds = fit.family.natural(fit.dispersion)["threshold"]
    np.testing.assert_allclose(thresholds, list(record["thresholds"].values()), atol=2e-4)
    np.testing.assert_allclose(fit.theta, [record["sd"]["id"], record["sd"]["item"]], rtol=OF_SD)


@pytest.mark.parametrize("link", ["probit", "cloglog"])
def test_other_links_differ_from_lme4_by_the_weights_alone(link):
    """glmer's determinant has Fisher's weights, Laplace's approximation observed ones: with Fisher's we get its value.

    The integral itself, by 25 nodes, is nearer to ours.
    """
    record = RECORDS["lme4"][f"cbpp_{link}"]
    chosen, response, design = arrays("cbpp", "binomial", link, "period + (1 | herd)")
    fit = maximise_generalized(chosen, response, design.X, design.terms)
    exact = maximise_generalized(chosen, response, design.X, design.terms, n_quad=25)
    assert fit.loglik >= record["loglik"] - BELOW
    assert abs(fit.loglik - exact.loglik) < 0.5 * abs(record["loglik"] - exact.loglik)
    problem = fit.objective.problem
    predictor = problem.predictor
    sd, beta = record["varcorr"][0]["sdcor"], np.array(list(record["fixef"].values()))
    lambdas = [sd * predictor.maps[0].inverse]
    mode = find_mode(problem, lambdas, np.zeros(0), predictor.fixed.inverse @ beta, predictor.zeros())
    weights = chosen.expected_weights(response, mode.eta, np.zeros(0))
    value = mode.value + response.base.sum() - 0.5 * factor_at(problem, lambdas, weights).log_det
    assert value == pytest.approx(record["loglik"], abs=BY_LME4)
