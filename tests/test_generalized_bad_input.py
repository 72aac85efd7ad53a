"""What cannot be fitted is said in a message, and what can be is flagged where the data tell little."""

import warnings

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import BayeslmmError
from bayeslmm.families import FAMILIES
from bayeslmm.posterior.flat_coefficients import check_separation

GENERALIZED = [name for name in FAMILIES if name not in ("gaussian",)]
QUICK = {"progressbar": False, "seed": 1, "draws": 40, "chains": 2}


def frame(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"x": np.linspace(-1, 1, n), "g": np.arange(n) % 4, **columns})


def yes_no(seed=5, n=60):
    rng = np.random.default_rng(seed)
    return frame(y=rng.integers(0, 2, n)), rng


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "zero_inflated_poisson", "hurdle_poisson"])
def test_negative_counts_name_the_row_by_its_label(name):
    data = frame(y=[3, 1, -2, 0, 4, 2, 1, 0]).set_axis(list("abcdefgh"))
    with pytest.raises(blm.DataError, match=r"y is negative in 1 row: c \(-2\.0\)\. Counts are whole"):
        blm.Model("y ~ x + (1 | g)", data, family=name)


def test_more_successes_than_trials_and_parts_of_a_success():
    data = frame(k=[1.5, 1, 0, 1, 1, 0, 1, 0], n=[1, 2, 2, 2, 2, 2, 2, 2])
    with pytest.raises(blm.DataError, match=r"0 \(1\.5\)"):
        blm.Model("p(k, n) ~ x + (1 | g)", data, family="binomial")
    with pytest.raises(blm.DataError, match=r"is more than the number of trials in 1 row: 0 \(3\.0\)"):
        blm.Model("p(k, n) ~ x + (1 | g)", data.assign(k=[3, 1, 0, 1, 1, 0, 1, 0]), family="binomial")


def test_shares_of_zero_and_one_are_no_beta_responses():
    data = frame(y=[0.2, 0.0, 0.5, 1.0, 0.4, 0.3, 0.6, 0.7])
    with pytest.raises(
        blm.DataError, match=r"strictly between 0 and 1 in 2 rows: 1 \(0\.0\), 3 \(1\.0\)\..*'binomial'"
    ):
        blm.Model("y ~ x + (1 | g)", data, family="beta")


def test_proportions_without_trials():
    data = frame(y=[0.2, 0.0, 0.5, 1.0, 0.4, 0.25, 0.6, 0.75])
    with pytest.raises(blm.DataError, match=r"of how many trials.*Give the trials as weights"):
        blm.Model("y ~ x + (1 | g)", data, family="binomial")


def test_unknown_families_and_links_are_listed():
    data, _ = yes_no()
    with pytest.raises(blm.OptionError) as error:
        blm.Model("y ~ x + (1 | g)", data, family="bernouli")
    assert all(repr(name) in str(error.value) for name in FAMILIES)
    with pytest.raises(blm.OptionError, match="its links are 'logit', 'probit', 'cloglog'"):
        blm.Model("y ~ x + (1 | g)", data, family="bernoulli", link="log")


def test_separation_is_named_and_proper_priors_fit():
    data, _ = yes_no()
    data["rare"] = (np.arange(len(data)) < 10).astype(float)
    data.loc[data.rare == 1, "y"] = 1
    model = blm.Model("y ~ x + rare + (1 | g)", data, family="bernoulli")
    assert "no maximum in rare" in model.fit("ml").status.message
    fit = model.fit("importance", **QUICK)
    slope = fit.draws.beta[..., 2]
    assert 0 < slope.mean() < 4 * 2.5 / data.rare.std()  # within four standard deviations of its prior


@pytest.mark.parametrize("name", ["zero_inflated_poisson", "hurdle_poisson"])
def test_columns_that_separate_the_zeros_are_named(name):
    rng = np.random.default_rng(5)
    dry = np.arange(80) < 12
    data = frame(y=np.where(dry, 0, 1 + rng.poisson(3, 80)), dry=dry.astype(float))
    fit = blm.Model("y ~ x + (1 | g)", data, family=name, zero="~ dry").fit("ml")
    assert fit.status.code == "doubtful"
    assert "no maximum in zero[Intercept], zero[dry]: the columns of zero= separate the zeros" in fit.status.message


@pytest.mark.parametrize(
    ("name", "said"), [("negative_binomial", "shape is infinity"), ("hurdle_poisson", "zero is 0")]
)
def test_a_parameter_that_the_data_do_not_ask_for_is_named(name, said):
    y = 1 + np.random.default_rng(5).binomial(6, 0.5, 80)
    fit = blm.Model("y ~ x + (1 | g)", frame(y=y), family=name).fit("ml")
    assert f"The estimate of {said}: these data do not ask for it" in fit.status.message
    assert fit.status.ok


def test_flat_priors_have_no_posterior_under_complete_separation():
    data, _ = yes_no()
    data["apart"] = data.y
    model = blm.Model("y ~ x + apart + (1 | g)", data, family="bernoulli", priors="brms")
    for method in ("importance", "nuts"):
        with pytest.raises(blm.PriorError, match=r"flat prior of apart leaves no posterior: the column separates"):
            model.fit(method, **QUICK)
    one_sided = data.assign(apart=np.where(np.arange(len(data)) < 3, 0, data.y))  # no longer apart from the others
    one_sided.loc[0, ["y", "apart"]] = 1, 0
    one_sided.loc[1, ["y", "apart"]] = 0, 1
    one_sided.loc[2, ["y", "apart"]] = 0, 0
    model = blm.Model("y ~ x + apart + (1 | g)", one_sided, family="bernoulli", priors="brms")
    check_separation(model.posterior_design, model.family, model.resolved_priors)


@pytest.mark.parametrize(("name", "value"), [("bernoulli", 0), ("bernoulli", 1), ("poisson", 0), ("hurdle_poisson", 0)])
def test_a_response_that_never_varies(name, value):
    """Maximum likelihood refuses or flags; priors keep the posterior finite."""
    model = blm.Model("y ~ x + (1 | g)", frame(y=np.full(40, value)), family=name)
    try:
        fit = model.fit("ml")
    except BayeslmmError as error:
        assert str(error).endswith(".")
    else:
        assert not fit.status.ok and "all responses are the same" in fit.status.message
        assert "do not ask for it" not in fit.status.message
    draws = model.fit("importance", **QUICK).draws
    assert np.isfinite(draws.beta).all()
    assert np.sign(draws.beta[..., 0].mean()) == (1 if value else -1)


@pytest.mark.parametrize(("name", "value"), [("gamma", 2.0), ("beta", 0.5), ("student", 2.0), ("lognormal", 2.0)])
def test_a_measurement_that_never_varies_is_refused(name, value):
    """The density at a perfect fit has no bound."""
    with pytest.raises(blm.ModelError, match="constant"):
        blm.Model("y ~ x + (1 | g)", frame(y=np.full(40, value)), family=name).fit("ml")


def test_one_row_per_level():
    data, rng = yes_no()
    data["row"] = np.arange(len(data))
    with pytest.raises(blm.ModelError, match="'row'"):
        blm.Model("y ~ x + (1 | row)", data, family="bernoulli").fit("ml")
    counts = data.assign(y=rng.poisson(np.exp(1 + rng.normal(size=len(data)))))
    fit = blm.Model("y ~ x + (1 | row)", counts, family="poisson").fit("ml")
    assert fit.varcorr()["sd"].iloc[0] > 0.5  # one was simulated


RESPONSES = {
    "bernoulli": lambda rng, n: rng.integers(0, 2, n),
    "binomial": lambda rng, n: rng.integers(0, 2, n),
    "beta": lambda rng, n: rng.beta(2, 2, n),
    "gamma": lambda rng, n: rng.gamma(2, 1, n),
    "student": lambda rng, n: rng.standard_t(3, n),
    "lognormal": lambda rng, n: np.exp(rng.normal(size=n)),
    "cumulative": lambda rng, n: np.concatenate([[0, 1, 2], rng.integers(0, 3, n - 3)]),
}
FORMULAS = ("y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ 1 + (1 | g) + (1 | h)")


SAMPLED = ("gamma", "cumulative", "hurdle_poisson")  # the others, of several seconds each, with the long studies
CASES = [(name, "ml") for name in GENERALIZED] + [(name, "importance") for name in SAMPLED]
LONG = [(name, "importance") for name in GENERALIZED if name not in SAMPLED]


@pytest.mark.parametrize(
    ("name", "method"), CASES + [pytest.param(*case, marks=pytest.mark.calibration) for case in LONG]
)
def test_small_random_data_are_fitted_or_refused_in_words(name, method):
    """A fit has finite coefficients or a status that says what is wrong; a refusal is one of the package's own."""
    for seed in range(4) if method == "ml" else (3,):
        rng = np.random.default_rng([seed, 17])
        n = int(rng.integers(8, 30))
        make = RESPONSES.get(name, lambda rng, n: rng.poisson(1.5, n))
        data = pd.DataFrame(
            {"y": make(rng, n), "x": rng.normal(size=n), "g": rng.integers(0, 4, n), "h": rng.integers(0, 3, n)}
        )
        if seed == 3:
            data["x"] *= 1e6
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                model = blm.Model(FORMULAS[seed % 3], data, family=name)
                fit = model.fit("ml") if method == "ml" else model.fit("importance", **QUICK, handover="keep")
        except BayeslmmError as error:
            assert len(str(error)) > 20 and str(error).rstrip().endswith("."), f"{name} {seed}: {error}"
            continue
        beta = fit.fixef().to_numpy() if method == "ml" else fit.draws.beta
        assert np.isfinite(beta).all() or fit.status.code != "converged", f"{name} {seed}: {fit.status}"
        spread = fit.varcorr()["sd"].dropna().to_numpy()  # rows of correlations have none
        assert np.isfinite(spread).all() and (spread >= 0).all()
