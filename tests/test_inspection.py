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


def states():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits as short as these
        return {**dict(fits()), **dict(forests())}


@pytest.fixture(scope="module")
def objects():
    return states()


def test_looking_raises_nothing(objects):
    assert len(objects) > 20
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
