"""Every argument of every public method of every kind of fit, given a value of any type: a result, or its name."""

import inspect
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

import bayeslmm as blm
from bayeslmm.errors import BayeslmmError

ROWS = 48
SHORT = {"draws": 50, "chains": 2, "seed": 1, "progressbar": False}


def table():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.standard_normal(ROWS), "z": rng.uniform(1, 2, ROWS)})
    data["c"], data["g"] = [*"abc"] * (ROWS // 3), [f"g{k}" for k in np.arange(ROWS) % 8]
    own = rng.standard_normal(8)[np.arange(ROWS) % 8]
    data["n"] = rng.poisson(np.exp(0.3 * data.x + 0.4 * own))
    return data.assign(y=data.x + own + rng.standard_normal(ROWS))


DATA = table()


def fits():
    normal, counts = blm.Model("y ~ x + c + (1 | g)", DATA), blm.Model("n ~ x + c + (1 | g)", DATA, family="poisson")
    few = {"max_iterations": 2, "seed": 1, "learner": Ridge()}
    return {
        "reml": normal.fit("reml"), "map": normal.fit("map"), "importance": normal.fit("importance", **SHORT),
        "counts": counts.fit("ml"), "posterior of counts": counts.fit("importance", **SHORT),
        "without groups": blm.Model("y ~ x + c", DATA).fit("reml"),
        "forest": blm.mixed_forest("y ~ x + z + (1 | g)", DATA, **few),
        "sampled forest": blm.mixed_forest("y ~ x + z + (1 | g)", DATA, method="gibbs", chains=1, draws=4, **few),
        "model": normal,
    }  # fmt: skip


def readings(reml, importance):
    """What fits give, whose methods are public too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few draws
        return {
            "means": reml.means("c"), "drawn means": importance.means("c"), "profile": reml.profile("sigma"),
            "bootstrap": reml.bootstrap(20, seed=1, progressbar=False), "influence": reml.influence("g"),
            "check": importance.ppc("mean", draws=5, seed=1),
        }  # fmt: skip


FITS = fits()
FITS |= readings(FITS["reml"], FITS["importance"])
SKIPPED = {
    "get_params", "set_params", "score", "get_metadata_routing",  # scikit-learn's own
    "report", "save", "save_sums", "to_pymc", "graph", "fit",  # files, pymc's models, and options that have a test
}  # fmt: skip
NEEDED = {
    "variables": "x", "variable": "x", "y": DATA["y"], "Y": np.column_stack([DATA["y"], DATA["n"]]), "theta": [1.0],
    "feature": "x", "X": DATA, "group": "posterior_predictive", "groups": {},
}  # fmt: skip
BRIEF = {
    "bootstrap": {"n": 2, "progressbar": False, "seed": 1}, "confint": {"n": 2}, "profile": {"parameters": "sigma"},
    "prior_sensitivity": {"draws": 50}, "prior_predictive": {"draws": 3}, "permutation_importance": {"n_repeats": 1},
    "simulate": {"n": 2}, "ppc": {"statistic": "mean", "draws": 5},
}  # fmt: skip
COUNTS = ("n", "draws", "cores", "n_points", "n_repeats")  # large ones are possible, and take long


def arguments():
    """Every public method of every kind of fit with each of its arguments."""
    for kind, fit in FITS.items():
        for name in dir(type(fit)):
            method = inspect.getattr_static(type(fit), name)
            if name.startswith("_") or name in SKIPPED or not inspect.isfunction(method):
                continue
            for argument, parameter in list(inspect.signature(method).parameters.items())[1:]:
                if parameter.kind is not parameter.VAR_KEYWORD:
                    yield kind, name, argument, parameter.kind is parameter.VAR_POSITIONAL


ARGUMENTS = list(arguments())
WORDS = st.text("abcxyz_- ", max_size=5)
VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 4), st.floats(), WORDS, st.just(10**30), st.just(b"a")),
    *(st.lists(WORDS, max_size=2), st.dictionaries(WORDS, st.integers(), max_size=1), st.builds(object)),
    *(st.just(np.array(["a", "b"])), st.just(np.ones(2)), st.just(np.zeros((2, 2))), st.just(np.array(3))),
    *(st.just(pd.DataFrame({"a": [1]})), st.just(pd.Series([1, 2])), st.just(len), st.just(1j), st.just((1, 2))),
)


def refusal(kind, name, argument, several, value):
    """The package's error where the value is refused, else None; any other error fails the test."""
    method = getattr(FITS[kind], name)
    parameters = inspect.signature(method).parameters
    needed = {key for key, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL}
    given = {key: NEEDED[key] for key in needed & set(NEEDED)}
    given |= {key: v for key, v in BRIEF.get(name, {}).items() if key in parameters}
    if name == "hypothesis" and not several:
        found = (("x > 0",), {argument: value})
    else:
        found = ((value,), {}) if several else ((), {**given, argument: value})
    try:
        method(*found[0], **found[1])
    except BayeslmmError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=250, deadline=None)
@given(st.sampled_from(ARGUMENTS), VALUES)
def test_any_value_of_any_argument_is_taken_or_refused(where, value):
    kind, name, argument, several = where
    if argument in COUNTS and isinstance(value, int | float) and value > 4 and name not in ("simulate", "predict"):
        return
    if callable(value) and argument == "statistic":
        return  # what a user's own function raises is its own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refusal(kind, name, argument, several, value)
    plt.close("all")
    assert message is None or message.rstrip().endswith((".", "?", ")", "^")), message


def test_every_kind_has_its_methods():
    assert len({kind for kind, *_ in ARGUMENTS}) == len(FITS)
    assert len(ARGUMENTS) > 300


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        ("reml", lambda fit: fit.ppc(statistic=3), r"statistic=3 is unknown; use one of 'density'"),
        ("reml", lambda fit: fit.plot(kind=[]), r"no plot \[\]; its plots \(kind=\) are 'history'"),
        ("reml", lambda fit: fit.coef_table(ddf=np.array(["a", "b"])), r"ddf=array\(.*use one of 'satterthwaite'"),
        ("reml", lambda fit: fit.anova(type=np.ones(2)), r"type=array\(.*use 1 \(sequential\)"),
        ("reml", lambda fit: fit.influence("g", refit=[]), r"refit=\[\] is not possible; it is True or False"),
        ("reml", lambda fit: fit.bootstrap(2, statistic=True), "statistic=True is no function"),
        ("importance", lambda fit: fit.predict(random=None), "random=None is unknown; use 'all'"),
        ("importance", lambda fit: fit.predict(kind=[]), r"kind=\[\] is unknown; use one of 'mean'"),
        ("importance", lambda fit: fit.report(None), "path=None is no path"),
        ("importance", lambda fit: fit.report("a.html", compare=3), "compare=3 is not possible; give a fit"),
        ("importance", lambda fit: fit.comparisons("x", by=3), "by=3 is not possible; give a name"),
        ("importance", lambda fit: fit.rows_of([]), r"group=\[\] was not added"),
        ("counts", lambda fit: fit.coef_table(exponentiate="no"), "exponentiate='no' is not possible"),
        ("posterior of counts", lambda fit: fit.simulate(n=-1), "n=-1 is not possible"),
        ("forest", lambda fit: fit.partial_dependence("x", grid="a"), "grid='a' is not possible; give a list"),
        ("forest", lambda fit: fit.plot(kind=np.ones(2)), r"plot kind=array\(.*use one of 'convergence'"),
    ],
)
def test_refusals_name_the_argument_and_what_is_allowed(kind, call, words):
    with pytest.raises(blm.BayeslmmError, match=words):
        call(FITS[kind])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: blm.table(None), "fits=None is not possible; give a fit"),
        (lambda: blm.table([FITS["reml"]], names=True), "names=True must hold one name"),
        (lambda: blm.merge(None), "sums=None: merge takes a list"),
        (lambda: blm.load(3), "folder=3 is no path"),
        (lambda: blm.lmm("y ~ x + (1 | g)", DATA, method=np.ones(2)), r"method=array\(.*the methods are"),
        (lambda: blm.power(FITS["reml"], []), r"parameter=\[\] is not the name of a coefficient"),
        (lambda: blm.power(FITS["reml"], "x", groups="many"), "groups='many' is not possible; give a list"),
    ],
)
def test_refusals_of_functions(call, words):
    with pytest.raises(blm.BayeslmmError, match=words):
        call()
