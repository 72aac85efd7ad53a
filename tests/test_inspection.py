"""Looking at an object raises nothing, in any state: editors, notebooks and debuggers do it unasked."""

import inspect
import warnings
from dataclasses import replace

import numpy as np
import pytest
from lightgbm import LGBMRegressor
from sklearn.linear_model import Ridge

import bayeslmm as blm
from bayeslmm.errors import UnavailableError

NUTS = {"draws": 20, "tune": 50, "chains": 2, "seed": 1, "progressbar": False}
IMPORTANCE = {"draws": 100, "chains": 2, "seed": 1, "progressbar": False}
FOREST = "weight ~ litsize + treatment + sex + (sex | litter)"


def fits():
    data = blm.load_dataset("sleepstudy")
    model = blm.Model("Reaction ~ Days + (Days | Subject)", data)
    yield "model", model
    found = {method: model.fit(method) for method in ("reml", "ml", "map")}
    found["importance"] = model.fit("importance", **IMPORTANCE)
    found["nothing stored"] = model.fit("importance", store=(), **IMPORTANCE)
    found["nuts"] = model.fit("nuts", **NUTS)
    yield from found.items()
    yield "failed", replace(found["ml"], optimum=replace(found["ml"].optimum, code="failed", objective=np.nan))
    draws = found["nuts"].draws
    yield "draws not finite", replace(found["nuts"], draws=replace(draws, beta=np.full_like(draws.beta, np.nan)))
    for name in ("reml", "importance"):
        yield f"summary of {name}", found[name].summary()
        yield f"status of {name}", found[name].status
    for name in ("design", "spec", "draws"):
        yield name, getattr(found["importance"], name)
    yield "comparison", blm.compare(found["reml"], found["importance"])
    yield "priors", model.priors
    yield "a prior", blm.Normal(0, 1)
    lines = blm.Model("Reaction ~ Days", data)
    yield "without groups", lines.fit("reml")
    yield "without groups, posterior", lines.fit("importance", **IMPORTANCE)
    yield "groups alone, sigma known", blm.lmm("Reaction ~ 0 + (1 | Subject)", data, sigma=30.0)


def forests():
    data = blm.load_dataset("ratpup")
    learner = LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=3)
    few = {"chains": 1, "draws": 4, "max_iterations": 2, "seed": 1}
    yield "forest", blm.MixedEffectsForest("(1 | litter)")
    yield "bart forest", blm.MixedEffectsForest("(1 | litter)", learner="bart")
    yield "em", blm.mixed_forest(FOREST, data, learner=learner, max_iterations=1)
    yield "gibbs", blm.mixed_forest(FOREST, data, learner=learner, method="gibbs", **few)
    yield "bart", blm.mixed_forest(FOREST, data, learner="bart", n_trees=4, **few)
    yield "learner alone", blm.MixedEffectsForest(learner=Ridge()).fit(data[["litsize"]], data["weight"])


def generalized(folder):
    data = blm.load_dataset("cbpp")
    text = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    model = blm.Model(text, data, family="binomial")
    yield "generalized model", model
    yield "family", model.family
    found = {f"generalized {method}": model.fit(method) for method in ("ml", "map")}
    found["generalized, nothing in the outer loop"] = model.fit("ml", n_quad=0)
    found["generalized importance"] = model.fit("importance", **IMPORTANCE)
    found["generalized, nothing stored"] = model.fit("importance", store=(), **IMPORTANCE)
    yield from found.items()
    ml, posterior = found["generalized ml"], found["generalized importance"]
    yield "generalized, failed", replace(ml, optimum=replace(ml.optimum, code="failed", objective=np.nan))
    for name, fit in (("point", ml), ("posterior", posterior)):
        yield f"generalized {name}, loaded", blm.load(fit.save(folder / name))
        yield f"generalized {name}, summary", fit.summary()
        yield f"generalized {name}, means", fit.means("period | herd", at={"herd": [1, 2]})
        yield f"generalized {name}, check", fit.ppc("mean", draws=10, seed=1)
    ticks = blm.load_dataset("grouseticks")
    zeros = blm.Model("TICKS ~ YEAR + (1 | BROOD)", ticks, family="zero_inflated_poisson", zero="~ HEIGHT")
    yield "zero-inflated model", zeros
    yield "zero-inflated", zeros.fit("ml")
    ordered = data.assign(seen=data["incidence"].clip(upper=2))
    yield "ordinal", blm.Model("seen ~ 1 + (1 | herd)", ordered, family="cumulative").fit("ml")
    yield "without groups, generalized", blm.Model("TICKS ~ YEAR", ticks, family="poisson").fit("ml")


def other_models(folder):
    data = blm.load_dataset("sleepstudy")
    half = [data.iloc[:90], data.iloc[90:]]
    streamed = blm.Model("Reaction ~ Days + (Days | Subject)", lambda: iter(half))
    yield "streamed model", streamed
    yield "streamed", streamed.fit("reml")
    yield "streamed posterior", streamed.fit("importance", **IMPORTANCE)
    pupils = blm.load_dataset("insteval").iloc[:1500]
    yield "iterative", blm.Model("y ~ service + (1 | s) + (1 | d)", pupils).fit("reml", solver="iterative")
    model = blm.Model("Reaction ~ Days + (Days | Subject)", data)
    for method, options in (("reml", {}), ("importance", IMPORTANCE)):
        yield f"{method}, loaded", blm.load(model.fit(method, **options).save(folder / method))


def what_fits_give():
    model = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    line = blm.Model("Reaction ~ Days + (1 | Subject)", blm.load_dataset("sleepstudy"))
    reml, posterior, less = model.fit("reml"), *(m.fit("importance", **IMPORTANCE) for m in (model, line))
    bootstrap = reml.bootstrap(20, seed=1, progressbar=False)
    yield from {
        "means": reml.means("Days"), "means of groups": reml.means("Days | Subject"),
        "contrasts": reml.means("Days", at={"Days": [0, 9]}).contrast(), "slopes": reml.slopes("Days"),
        "comparisons": posterior.comparisons("Days"), "drawn means": posterior.means("Days"),
        "bootstrap": bootstrap, "profile": reml.profile("sigma"), "after a profile": reml,
        "check": posterior.ppc("mean", draws=10, seed=1), "influence": reml.influence("Subject"),
        "likelihood ratios": blm.anova(model.fit("ml"), line.fit("ml")), "terms": reml.anova(),
        "reduced": reml.ranova(), "hypothesis": posterior.hypothesis("Days > 0"),
        "sensitivity": posterior.prior_sensitivity(draws=100), "evidence": posterior.log_evidence,
        "bayes factor": blm.bayes_factor(posterior, less),
        "several models": blm.compare_models({"a": posterior, "b": less}), "table": blm.table([reml, posterior]),
        "cross-validation": blm.cross_validate(line, by="group", k=2), "collinearity": blm.collinearity(reml),
        "power": blm.power(reml, "Days", n=10, seed=1), "effects kept": posterior.ranef(),
    }.items()  # fmt: skip


def states(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits as short as these
        made = (fits(), forests(), generalized(folder), other_models(folder), what_fits_give())
        return {state: thing for several in made for state, thing in several}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return states(tmp_path_factory.mktemp("states"))


def test_looking_raises_nothing(objects):
    assert len(objects) > 70
    for state, thing in objects.items():
        for look in (dir, inspect.getmembers, repr, str, look_at_names, displayed):
            try:
                look(thing)
            except Exception as error:
                pytest.fail(f"{look.__name__} of {state}: {type(error).__name__}: {error}")


def look_at_names(thing):
    return [name for name in dir(thing) if hasattr(thing, name)]


def displayed(thing):
    return [getattr(thing, name)() for name in ("_repr_html_", "_repr_mimebundle_") if hasattr(thing, name)]


def test_notebooks_display_without_a_traceback(objects, capsys):
    formatters = pytest.importorskip("IPython.core.formatters")
    for state, thing in objects.items():
        formats, _ = formatters.DisplayFormatter().format(thing)
        assert formats.get("text/plain"), state
    said = capsys.readouterr()
    assert said.err == said.out == ""


@pytest.mark.parametrize(
    ("state", "name", "words"),
    [
        ("map", "hessian", "ask a fit by method='ml' or 'reml'"),
        ("map", "smallest_eigenvalue", "ask a fit by method='ml' or 'reml'"),
        ("em", "idata", "use method='gibbs' or learner='bart'"),
        ("learner alone", "idata", "fitted with random=None"),
    ],
)
def test_what_cannot_be_given_says_why(objects, state, name, words):
    assert not hasattr(objects[state], name)
    with pytest.raises(AttributeError, match=words) as caught:
        getattr(objects[state], name)
    assert isinstance(caught.value, UnavailableError | blm.OptionError)
