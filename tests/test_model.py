import inspect

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import ModelError
from bayeslmm.fitting import RUNNERS
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.options import Options
from bayeslmm.methods import METHODS
from bayeslmm.priors import resolve_priors

FORMULA = "Reaction ~ 1 + Days + (1 + Days | Subject)"
NUTS = {"draws": 40, "tune": 60, "chains": 2, "seed": 3, "progressbar": False}


@pytest.fixture(scope="module")
def data():
    return blm.load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def model(data):
    return blm.Model(FORMULA, data)


@pytest.fixture(scope="module")
def one_per_level():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(30)
    return pd.DataFrame({"y": x + rng.standard_normal(30), "x": x, "id": np.arange(30), "one": "only"})


# -- what a model says --------------------------------------------------------------------------------------


def test_printed_pairs_of_theta_and_objective():
    """The first evaluations MixedModels.jl's page prints for dyestuff, five decimals."""
    model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    for theta, objective in ((1.0, 327.76702), (1.75, 331.03619), (0.25, 330.64583), (0.97619, 327.69511)):
        assert model.objective([theta]) == pytest.approx(objective, abs=1e-5)


def test_gradient_is_that_of_the_objective(model):
    theta, step = np.array([0.9, 0.1, 0.3]), 1e-5
    for method in ("ml", "reml"):
        difference = [
            (model.objective(theta + step * e, method) - model.objective(theta - step * e, method)) / (2 * step)
            for e in np.eye(3)
        ]
        np.testing.assert_allclose(model.gradient(theta, method), difference, rtol=1e-5, atol=1e-5)


def test_description(model):
    assert repr(model) == f"<Model: {FORMULA}; 180 observations; Subject: 18 levels>"
    assert model.formula == FORMULA
    assert list(model.priors.columns) == ["parameter", "prior", "source"]
    assert "sd_Subject[Days]" in set(model.priors["parameter"])
    assert "..." not in str(model.priors)
    assert model.blocks["block"].iloc[0] == "Subject"
    assert model.kernel is model.kernel


def test_data_are_not_changed(data):
    before = data.copy(deep=True)
    fit = blm.lmm("Reaction ~ Days + C(Subject) + (1 | Subject)", data.assign(Subject=data["Subject"]))
    fit.fixef()
    pd.testing.assert_frame_equal(data, before)


def test_lmm_splits_its_options(data):
    assert blm.lmm(FORMULA, data).method == "reml"
    fit = blm.lmm(FORMULA, data, "ml", sigma=25.0, progressbar=False)
    assert (fit.method, fit.sigma) == ("ml", 25.0)
    with pytest.raises(blm.OptionError, match="no option 'prior'; the options are family, link, priors"):
        blm.lmm(FORMULA, data, prior="flat")
    with pytest.raises(blm.OptionError, match="'reml'"):
        blm.lmm(FORMULA, data, "lmer")


def test_options_and_arguments_are_the_same(model):
    """Options must repeat the defaults that Model.fit shows, but for those that are found when a fit begins."""
    shown = {name: p.default for name, p in inspect.signature(blm.Model.fit).parameters.items()}
    defaults = {name: getattr(Options(), name) for name in Options.__dataclass_fields__}
    assert defaults | {"seed": None, "progressbar": None} == {name: shown[name] for name in defaults}


def test_every_method_runs_and_says_what_it_takes():
    assert list(RUNNERS) == list(METHODS)
    known = set(Options.__dataclass_fields__)
    taken = {name for entry in METHODS.values() for name in entry.options}
    assert taken == known


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"family": "poison"}, "'gaussian'"),
        ({"sigma": 0}, "positive"),
        ({"sigma": "1"}, "positive"),
        ({"sigma": np.inf}, "positive"),
        ({"sigma": True}, "positive"),
    ],
)
def test_bad_arguments(data, arguments, words):
    with pytest.raises(blm.OptionError, match=words):
        blm.Model(FORMULA, data, **arguments)


def test_bad_priors_are_refused_at_once(data):
    with pytest.raises(blm.PriorError, match="Dayz"):
        blm.Model(FORMULA, data, priors={"Dayz": "Normal(0, 1)"})


def test_unknown_methods_and_options_list_the_known(model):
    with pytest.raises(blm.OptionError, match="'nuts', 'importance', 'hmc', 'advi', 'map', 'reml', 'ml'"):
        model.fit("lme4")
    with pytest.raises(blm.OptionError, match="'reml' takes no option 'draws'; it is for 'nuts', 'importance'"):
        model.fit("reml", draws=10)
    assert set(METHODS) >= {"nuts", "reml", "ml"}


@pytest.mark.parametrize("method", ["nuts", "importance", "advi"])
@pytest.mark.parametrize("option", ["draws", "chains", "cores", "iterations"])
@pytest.mark.parametrize("value", [0, -2, 2.5, "3", True])
def test_impossible_counts_are_told_before_any_work(model, method, option, value):
    if option not in METHODS[method].options:
        pytest.skip("not its option")
    with pytest.raises(blm.OptionError, match=f"{option}={value!r} is not possible; it is a whole number"):
        model.fit(method, **{option: value})


def test_counts_may_be_numpys(model):
    fit = model.fit("importance", draws=np.int64(50), chains=np.int32(2), seed=1)
    assert fit.draws.beta.shape == (2, 50, 2)


def test_own_functions(data):
    fit = blm.lmm("Reaction ~ half(Days) + (1 | Subject)", data, functions={"half": lambda x: x / 2})
    plain = blm.lmm("Reaction ~ Days + (1 | Subject)", data)
    assert fit.fixef().iloc[1] == pytest.approx(2 * plain.fixef()["Days"])


# -- as a PyMC model ----------------------------------------------------------------------------------------


def test_a_bare_call_is_the_marginal_model(model):
    built = model.to_pymc()
    assert set(built.named_vars) >= {"sd_Subject", "cor_Subject"}
    assert not any(name.startswith("r_") for name in built.named_vars)
    with pytest.raises(blm.OptionError, match="'marginal', 'noncentered', 'centered'"):
        model.to_pymc("half")
    not_normal = blm.Model(model.formula, blm.load_dataset("sleepstudy"), priors={"Days": "StudentT(3, 0, 10)"})
    assert "r_Subject" in not_normal.to_pymc().named_vars
    with pytest.raises(blm.PriorError, match="Days"):
        not_normal.to_pymc("marginal")


def test_models_and_graphs(model):
    pymc = pytest.importorskip("pymc")
    for parametrization in ("noncentered", "centered"):
        built = model.to_pymc(parametrization)
        assert isinstance(built, pymc.Model)
        assert "sigma" in built.named_vars
    pytest.importorskip("graphviz")
    assert "sigma" in model.graph().source


def test_prior_predictive(model, data):
    idata = model.prior_predictive(40, seed=1)
    assert set(idata.groups()) == {"prior", "prior_predictive"}
    assert idata.prior["r_Subject"].sizes == {"chain": 1, "draw": 40, "Subject": 18, "Subject_effect": 2}
    assert idata.prior_predictive["Reaction"].shape == (1, 40, 180)
    again = model.prior_predictive(40, seed=1)
    np.testing.assert_array_equal(idata.prior["beta"], again.prior["beta"])
    with pytest.raises(blm.PriorError, match="improper"):
        blm.Model(FORMULA, data, priors="flat").prior_predictive(5)
    for count in (0, -1, "5"):
        with pytest.raises(blm.OptionError, match=f"draws={count!r} is not possible"):
            model.prior_predictive(count)


# -- the posterior ------------------------------------------------------------------------------------------


def test_nuts_by_default(model):
    fit = model.fit(**NUTS)
    assert fit.method == "nuts"
    assert fit.draws.beta.shape == (2, 40, 2)
    assert fit.status.code in ("ok", "doubtful", "failed")
    assert fit.priors.items() == resolve_priors(model.design).items()


# -- what the data cannot tell ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_likelihood_needs_levels_and_repeats(one_per_level, method):
    with pytest.raises(blm.ModelError, match="'id' has 30 levels in 30 rows"):
        blm.lmm("y ~ x + (1 | id)", one_per_level, method)
    with pytest.raises(blm.ModelError, match="'one' has a single level"):
        blm.lmm("y ~ x + (1 | one)", one_per_level, method)
    assert blm.lmm("y ~ x + (1 | id)", one_per_level, method, sigma=0.5).varcorr()["sd"].iloc[0] > 0
    with pytest.raises(blm.ModelError, match="single level"):
        blm.lmm("y ~ x + (1 | one)", one_per_level, method, sigma=0.5)


def test_flat_priors_need_them_too(one_per_level):
    with pytest.raises(blm.ModelError, match="flat priors"):
        blm.lmm("y ~ x + (1 | id)", one_per_level, "nuts", priors="flat", **NUTS)


@pytest.fixture
def instant_nuts(monkeypatch):
    """Independent draws in place of sampling; the sampler has tests of its own."""

    def sample(design, priors, options, **_):
        rng = np.random.default_rng(options.seed)
        shape = (options.chains, options.draws)
        sds = tuple(np.exp(rng.standard_normal((*shape, t.n_columns))) for t in design.terms)
        effects = tuple(rng.standard_normal((*shape, t.n_levels, t.n_columns)) for t in design.terms)
        beta, sigma = rng.standard_normal((*shape, design.p)), np.exp(rng.standard_normal(shape))
        return Draws(beta, sigma, sds, (None,) * len(sds), effects, {}, "nuts", {"seed": options.seed})

    monkeypatch.setattr("bayeslmm.inference.nuts.sampling.sample_nuts", sample)


def test_flat_coefficients_do_no_harm(one_per_level, instant_nuts):
    fit = blm.lmm("y ~ x + (1 | id)", one_per_level, "nuts", priors={"x": "Flat()"}, **NUTS)
    assert "30 levels" in fit.status.message


def test_far_columns_warn_once(data):
    far = data.assign(Days=data["Days"] + 100)
    model = blm.Model("Reaction ~ Days + (Days || Subject)", far)
    with pytest.warns(UserWarning, match="far outside the data"):
        assert len(model.priors)
    assert len(model.priors)


@pytest.mark.parametrize("method", ["importance", "nuts"])
@pytest.mark.parametrize("prior", ["HalfNormal(1e-12)", "HalfNormal(1e-90)"])
def test_priors_out_of_reach_of_the_data_are_told(data, method, prior):
    with pytest.raises(blm.FittingError, match=r"many orders of magnitude.*model\.priors"):
        blm.Model(FORMULA, data, priors={"sd_Subject": prior}).fit(method, draws=50, seed=1)


@pytest.mark.parametrize(
    ("priors", "said"),
    [
        ({"Intercept": "StudentT(3, 1e99, 1e-99)"}, "beyond the reach of double precision"),
        ({"sd_Subject": "HalfNormal(1e-90)"}, "the covariance parameters are too large"),
    ],
)
def test_a_mode_out_of_reach_is_told(data, priors, said):
    with pytest.raises(blm.FittingError, match=said) as raised:
        blm.Model(FORMULA, data, priors=priors).fit("map")
    assert "collinear" not in str(raised.value)


def test_the_mode_tells_what_only_the_prior_says(one_per_level):
    fit = blm.lmm("y ~ x + (1 | id)", one_per_level, "map")
    assert fit.status.ok and "'id' has 30 levels in 30 rows" in fit.status.message


@pytest.mark.parametrize(
    "use",
    [
        lambda data: blm.Model("Reaction ~ Days + (Days || Subject)", data).priors,
        lambda data: blm.Model("Reaction ~ Days + (Days || Subject)", data).fit("map"),
        lambda data: blm.Model("Reaction ~ Days + (Days || Subject)", data, priors="rstanarm"),
        lambda data: blm.lmm("Reaction ~ Days + (0 + Days | Subject)", data, "importance", draws=50, seed=1),
    ],
    ids=["priors", "fit", "Model", "lmm"],
)
def test_warnings_point_at_the_users_line(data, use):
    with pytest.warns(UserWarning, match="far outside the data") as warned:
        use(data.assign(Days=data["Days"] + 100))
    line = use.__code__.co_firstlineno
    assert {(w.filename, w.lineno) for w in warned} == {(__file__, line)}


def test_proper_priors_fit_and_say_so(one_per_level, instant_nuts):
    fit = blm.lmm("y ~ x + (1 | id)", one_per_level, "nuts", **NUTS)
    assert fit.status.code in ("doubtful", "failed")
    assert "'id' has 30 levels in 30 rows" in fit.status.message
    with pytest.raises(blm.FittingError, match="30 levels"):
        blm.lmm("y ~ x + (1 | id)", one_per_level, "nuts", strict=True, **NUTS)


def test_a_learner_has_no_place_in_a_linear_model(data):
    with pytest.raises(ModelError, match=r"bart\(Days\).*mixed_forest"):
        blm.Model("Reaction ~ bart(Days) + (1 | Subject)", data)


def test_names_as_data_frames_of_other_languages_have_them():
    """The fit of the same numbers under plain names."""
    data = blm.load_dataset("sleepstudy")
    plain = blm.lmm("Reaction ~ Days + (1 | Subject)", data)
    named = {"Reaction": "yield", "Days": "dose.mg", "Subject": "class"}
    renamed = data.rename(columns=named)
    fit = blm.lmm("yield ~ dose.mg + (1 | factor(class))", renamed)
    assert list(fit.fixef().index) == ["Intercept", "dose.mg"]
    assert list(fit.ranef()) == ["class"]
    assert fit.design.response == "yield"
    np.testing.assert_array_equal(fit.fixef().to_numpy(), plain.fixef().to_numpy())
    new = pd.DataFrame({"dose.mg": [3.0], "class": renamed["class"].iloc[:1].to_numpy()})
    np.testing.assert_array_equal(
        fit.predict(new), plain.predict(new.rename(columns={old: new for new, old in named.items()}))
    )
