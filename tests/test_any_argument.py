"""Arguments, looks and files made at random: a result as it should be, or an error of the package."""

import inspect
import json
import shutil
import string
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bayeslmm as blm
from bayeslmm.errors import BayeslmmError, OptionError, StorageError
from bayeslmm.inference.options import make_options
from bayeslmm.methods import METHODS

SAME = 1e-10  # of numbers that are the same sums in the same order
ROWS = 48
FEW, SOME, MANY = (settings(max_examples=count, deadline=None, derandomize=True) for count in (10, 35, 150))


def table():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.standard_normal(ROWS), "z": rng.uniform(1, 2, ROWS)})
    data["c"], data["g"] = [*"abc"] * (ROWS // 3), [f"g{k}" for k in np.arange(ROWS) % 8]
    return data.assign(y=data.x + rng.standard_normal(8)[np.arange(ROWS) % 8] + rng.standard_normal(ROWS))


DATA = table()
MODEL = blm.Model("y ~ x + c + (1 | g)", DATA)
FITS = {"reml": MODEL.fit("reml"), "ml": MODEL.fit("ml")}
FITS["importance"] = MODEL.fit("importance", draws=50, chains=2, seed=1)

WORDS = st.text(string.ascii_letters + "_- ", max_size=9)
VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 9), st.floats(), WORDS, st.just(10**30), st.just(b"a")),
    *(st.lists(WORDS, max_size=2), st.dictionaries(WORDS, st.integers(), max_size=1), st.builds(object)),
)

PLAIN = VALUES.filter(lambda value: isinstance(value, str | int | float | None))  # what JSON takes


def refusal(function):
    """The package's error where it refuses, else None; any other error fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function()
        except BayeslmmError as error:
            return str(error)
    return None


@MANY
@given(st.sampled_from(sorted({name for entry in METHODS.values() for name in entry.options} - {"resume"})), VALUES)
def test_any_value_of_an_option_is_taken_or_refused_by_name(option, value):
    message = refusal(lambda: make_options(**{option: value}))
    if message is not None:
        assert option in message and message.endswith(".")
    elif option == "handover":
        assert value in ("nuts", "error", "keep")
    elif option in ("draws", "tune", "chains", "iterations"):
        assert value >= 1


@SOME
@given(st.sampled_from(sorted(METHODS)), WORDS)
def test_any_unknown_option_of_a_method_is_refused(method, option):
    assume(option not in inspect.signature(MODEL.fit).parameters)
    assert refusal(lambda: blm.lmm("y ~ x + (1 | g)", DATA, method=method, **{option: 1})) is not None


@MANY
@given(
    st.sampled_from(sorted(inspect.signature(blm.Model).parameters.keys() - {"data", "chunk_rows"})),
    st.one_of(VALUES, st.just(np.ones(2))),
)
def test_any_value_of_an_argument_of_a_model_is_taken_or_refused(argument, value):
    given = {"formula": "y ~ x + (1 | g)", "data": DATA, argument: value}
    message = refusal(lambda: blm.Model(**given))
    if message is None:
        neutral = value is None or value == {} or (argument == "family" and value == "gaussian")
        assert neutral or (argument == "sigma" and isinstance(value, int | float) and value > 0)


@SOME
@given(st.sampled_from(["coef_table", "confint", "predict", "hypothesis"]), st.sampled_from(sorted(FITS)), VALUES)
def test_any_level_is_a_probability_or_refused(verb, method, level):
    fit = FITS[method]
    calls = {
        "coef_table": lambda: fit.coef_table(level=level),
        "confint": lambda: fit.confint(level=level, method="wald"),
        "predict": lambda: fit.predict(DATA, interval=level, seed=1),
        "hypothesis": lambda: fit.hypothesis("x = 0", level=level),
    }
    assume(hasattr(fit, verb))
    message = refusal(calls[verb])
    valid = isinstance(level, float) and 0 < level < 1
    assert (message is None) == valid or level is None
    if message is not None:
        assert repr(level) in message and message.endswith(".")


PIECES = (
    "x",
    "c[T.b]",
    "`x`",
    "Intercept",
    "sd_g",
    "sigma",
    "exp",
    "nope",
    *"+-*/<>=()|,1 ",
    "==",
    "1e400",
    "'a'",
    "é",
    "nan",
)


@MANY
@given(st.sampled_from(sorted(FITS)), st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_any_statement_is_tested_or_refused(method, statement):
    found = []
    message = refusal(lambda: found.append(FITS[method].hypothesis(statement)))
    assert message is not None or (any(sign in statement for sign in "<>=") and len(found[0].table) == 1)


@SOME
@given(st.sampled_from(["means", "slopes", "comparisons", "confint"]), st.one_of(VALUES, st.just({"c": "b"})))
def test_any_place_and_any_parameters_are_taken_or_refused(verb, value):
    fit = FITS["ml"]
    calls = {
        "means": lambda: fit.means("x", at=value),
        "slopes": lambda: fit.slopes("x", at=value),
        "comparisons": lambda: fit.comparisons("x", at=value),
        "confint": lambda: fit.confint(parameters=value, method="wald"),
    }
    message = refusal(calls[verb])
    if message is None:
        assert value is None or value in ({}, [], {"c": "b"}, "x")


@FEW
@given(st.floats(0.05, 0.5), st.floats(0.5, 0.99))
def test_intervals_nest_and_tables_say_their_level(narrow, wide):
    for fit in FITS.values():
        inner, outer = fit.coef_table(level=narrow), fit.coef_table(level=wide)
        assert (outer["lower"] <= inner["lower"] + SAME).all() and (inner["upper"] <= outer["upper"] + SAME).all()
    shown = str(blm.compare(*FITS.values(), level=wide))
    assert f"{100 * wide:g}"[:3] in shown


@SOME
@given(st.sampled_from(["predict", "simulate", "bootstrap"]), VALUES)
def test_any_seed_is_taken_or_refused(verb, seed):
    fit = FITS["importance" if verb == "predict" else "reml"]
    calls = {
        "predict": lambda: fit.predict(DATA, interval=0.5, seed=seed),
        "simulate": lambda: fit.simulate(2, seed=seed),
        "bootstrap": lambda: fit.bootstrap(2, seed=seed, progressbar=False),
    }
    message = refusal(calls[verb])
    assert message is None or (f"seed={seed!r}" in message and "whole number" in message)


@FEW
@given(
    st.sets(st.sampled_from(["x", "z", "c", "poly(z, 2)", "x:z", "0"])),
    st.sampled_from(["1", "x", "z", "c", "x + z", "0 + c"]),
    st.sampled_from(["|", "||"]),
    st.sampled_from(["reml", "ml", "map"]),
)
def test_looking_at_any_model_and_point_fit_raises_nothing(fixed, effects, bar, method):
    model = blm.Model(f"y ~ {' + '.join(sorted(fixed)) or '1'} + ({effects} {bar} g)", DATA)
    things = [model]
    message = refusal(lambda: things.append(model.fit(method)))
    assert message is None or len(things) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of priors, which the first look resolves
        for thing in things:
            assert dict(inspect.getmembers(thing)) and dir(thing) and repr(thing) and thing._repr_html_()
            assert all(hasattr(thing, name) in (True, False) for name in dir(thing))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return FITS["importance"].save(tmp_path_factory.mktemp("files") / "fit")


@SOME
@given(st.data())
def test_any_piece_of_a_saved_fit_may_be_overwritten(folder, tmp_path_factory, data):
    copy = tmp_path_factory.mktemp("copy") / "fit"
    shutil.copytree(folder, copy)
    path = data.draw(st.sampled_from(sorted(copy.iterdir())))
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    piece = data.draw(st.binary(max_size=8))
    path.write_bytes(content[:start] + piece + content[start + data.draw(st.integers(0, 40)) :])
    try:
        found = blm.load(copy)
    except StorageError as error:
        assert str(error)
    else:
        assert path.suffix == ".json" or path.read_bytes() == content
        assert str(found.summary())
    finally:
        shutil.rmtree(copy)


@SOME
@given(
    st.recursive(VALUES.filter(lambda v: isinstance(v, str | int | float | None)), st.lists, max_leaves=4), st.data()
)
def test_any_value_in_the_record_of_a_saved_fit(folder, tmp_path_factory, value, data):
    copy = tmp_path_factory.mktemp("copy") / "fit"
    shutil.copytree(folder, copy)
    record = json.loads((copy / "fit.json").read_text())
    holder = record
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[key], dict | list) or not holder[key] or data.draw(st.integers(0, 3)) == 0:
            break
        holder = holder[key]
    holder[key] = value
    (copy / "fit.json").write_text(json.dumps(record))
    try:
        assert str(blm.load(copy).summary())
    except StorageError as error:
        assert str(error)
    finally:
        shutil.rmtree(copy)


def test_the_refusals_above_are_option_errors():
    with pytest.raises(OptionError, match=r"interval='0\.9' is not a probability"):
        FITS["reml"].predict(DATA, interval="0.9")
