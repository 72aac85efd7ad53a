"""The preset rstanarm of generalized models: as rstanarm states it, with decov's density, in every engine."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.posterior.generalized_mixture import generalized_density
from bayeslmm.priors import Flat, HalfStudentT, StudentT
from bayeslmm.priors.decov import Decov

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def test_the_priors_are_those_of_stan_glmer():
    data = blm.load_dataset("cbpp")
    table = blm.Model(CBPP, data, family="binomial", priors="rstanarm").resolved_priors
    sd = np.std((data.period.astype(str) == "2").astype(float), ddof=1)
    assert str(table.fixed[0]) == "Normal(0, 2.5)"
    assert table.fixed[1].sigma == pytest.approx(2.5 / sd)
    assert isinstance(table.terms[0].joint, Decov)


# stan_glmer of rstanarm 2.21.3, lme4's cbpp, 4 chains of 6,000, seed 1: means, sds and the least effective size
RSTANARM_MEANS = [-1.39917522, -0.99443579, -1.13431756, -1.60359423, 0.72047533]
RSTANARM_SDS = [0.25340577, 0.31515717, 0.32954728, 0.43400195, 0.20814376]
RSTANARM_DRAWS = 6013


def test_the_posterior_is_that_of_stan_glmer():
    fit = blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial", priors="rstanarm").fit("importance", seed=1)
    table = [*fit.coef_table()["mean"], *fit.covariance_table()["mean"]]
    worth = min(fit.info["effective_size"], RSTANARM_DRAWS)
    z = (np.array(table) - RSTANARM_MEANS) / np.array(RSTANARM_SDS) * np.sqrt(worth / 2)
    assert np.abs(z).max() < 4.5
    spread = [*fit.coef_table()["sd"], *fit.covariance_table()["sd"]]
    np.testing.assert_allclose(spread, RSTANARM_SDS, rtol=0.1)


def test_the_density_of_two_sds_is_decovs():
    """The log prior of (log sds, atanh r) against the parts that state it, and its gradient against differences."""
    rng = np.random.default_rng(1)
    data = {"g": np.arange(80) % 8, "x": rng.normal(size=80), "y": rng.poisson(2.0, 80)}
    model = blm.Model("y ~ x + (x | g)", data, family="poisson", priors="rstanarm")
    density = generalized_density(model.design, model.family, model.resolved_priors)

    def value(x):
        return density.log_prior(np.asarray(x))[0]

    x = np.array([-0.3, 0.4, 0.2])
    sds = np.exp(x[:2])
    r = np.tanh(x[2])
    expected = float(Decov().logpdf(sds)) + np.log(1 - r**2) - np.log(2.0)
    assert value(x) == pytest.approx(expected, abs=1e-9)
    step = 1e-5
    slopes = [(value(x + step * e) - value(x - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(density.log_prior(x)[1], slopes, rtol=1e-6, atol=1e-8)


def test_a_prior_of_ones_own_takes_the_place_of_decov():
    model = blm.Model(
        CBPP, blm.load_dataset("cbpp"), family="binomial", priors={"preset": "rstanarm", "sd_herd": "HalfNormal(1)"}
    )
    assert model.resolved_priors.terms[0].joint is None


@pytest.mark.parametrize(("preset", "family"), [("bambi", "binomial"), ("rstanarm", "beta_binomial")])
def test_what_a_preset_has_not_is_refused(preset, family):
    with pytest.raises((blm.PriorError, blm.OptionError), match=r"preset|family"):
        blm.Model(CBPP, blm.load_dataset("cbpp"), family=family, priors=preset)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        # y 0.1, 1, 20, 30, 400, the zero counted as 0.1: median log 20, mad 4.44 = 1.4826 log 20, from 1 or to 400
        ("poisson", {"Intercept": "StudentT(3, 3, 4.4)", "sd_g[Intercept]": "HalfStudentT(3, 4.4)"}),
        ("negative_binomial", {"Intercept": "StudentT(3, 3, 4.4)", "shape": "InverseGamma(0.4, 0.3)"}),
        ("zero_inflated_poisson", {"sd_g[Intercept]": "HalfStudentT(3, 4.4)", "zero": "Uniform(0, 1)"}),
        # median 20, mad 28.2 = 1.4826 times the middle of 20, 19, 0, 10, 380
        ("student", {"Intercept": "StudentT(3, 20, 28.2)", "sigma": "HalfStudentT(3, 28.2)", "nu": "Gamma(2, 0.1)"}),
        ("gamma", {"Intercept": "StudentT(3, 3, 2.5)", "shape": "Gamma(0.01, 0.01)"}),
        ("lognormal", {"Intercept": "StudentT(3, 3, 2.5)", "sigma": "HalfStudentT(3, 2.5)"}),
        ("bernoulli", {"Intercept": "StudentT(3, 0, 2.5)", "sd_g[Intercept]": "HalfStudentT(3, 2.5)"}),
        ("cumulative", {"threshold": "StudentT(3, 0, 2.5)", "sd_g[Intercept]": "HalfStudentT(3, 2.5)"}),
    ],
)
def test_the_priors_are_those_of_brms(family, expected):
    """By hand from brms 2.22's rule, ``def_scale_prior``."""
    y = np.tile([0, 1, 20, 30, 400], 4)
    if family in ("gamma", "lognormal"):
        y = np.where(y == 0, 10, y)
    y = y > 1 if family == "bernoulli" else y
    data = {"y": y, "x": np.arange(20.0), "g": np.arange(20) // 4}
    formula = "y ~ 0 + x + (1 | g)" if family == "cumulative" else "y ~ x + (1 | g)"
    table = blm.Model(formula, data, family=family, priors="brms").priors.set_index("parameter")["prior"]
    assert table["x"] == "Flat()"
    assert dict(table[list(expected)]) == expected


def test_an_offset_moves_the_intercept_of_brms():
    data = {"y": [1, 20, 400] * 4, "time": np.exp(np.tile([1.0, 2.0, 3.0], 4)), "g": np.arange(12) // 3}
    priors = blm.Model("y ~ 1 + offset(log(time)) + (1 | g)", data, family="poisson", priors="brms").resolved_priors
    assert priors.fixed == (StudentT(3.0, 1.0, 4.4),)
    assert priors.terms[0].sd == (HalfStudentT(3.0, 4.4),)
    slope = blm.Model("y ~ time + (1 | g)", data, family="poisson", priors="brms").resolved_priors
    assert slope.fixed[1] == Flat()


def test_wide_priors_leave_what_the_likelihood_says():
    data = blm.load_dataset("cbpp")
    model = blm.Model("cbind(incidence, size - incidence) ~ period", data, family="binomial", priors="brms")
    fit, estimate = model.fit("importance", seed=1, progressbar=False), model.fit("ml")
    table = fit.coef_table()
    errors = np.sqrt(np.diag(estimate.vcov()))
    assert np.abs((table["mean"] - estimate.fixef()) / errors).max() < 0.25
    np.testing.assert_allclose(table["sd"], errors, rtol=0.12)


@pytest.mark.parametrize(
    ("family", "options", "name", "found"),
    [
        ("negative_binomial", {}, "shap", "Did you mean 'shape'.*sd_g.*, shape"),
        (
            "zero_inflated_poisson",
            {"zero": "~ x"},
            "zero[X]",
            r"Did you mean 'zero\[x\]'.*zero\[Intercept\], zero\[x\]",
        ),
        ("poisson", {}, "sigma", "no parameter 'sigma'.*Intercept, x"),
    ],
)
def test_unknown_names_are_answered_with_those_of_the_dispersions(family, options, name, found):
    data = pd.DataFrame({"x": np.arange(20.0), "g": np.arange(20) % 5, "y": np.arange(20) % 3})
    with pytest.raises(blm.PriorError, match=found):
        blm.Model("y ~ x + (1 | g)", data, family=family, priors={name: "Normal(0, 1)"}, **options)
