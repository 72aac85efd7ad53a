"""``help()`` of a public name says what it takes, and its examples run."""

import doctest
import inspect

import pytest

import bayeslmm as blm

PLACES = [(name, getattr(blm, name)) for name in blm.__all__ if name != "__version__"]
FUNCTIONS = {name: value for name, value in PLACES if inspect.isfunction(value)}
READ_BY_USERS = ("Model", "PointFit", "PosteriorFit", "MixedEffectsForest")
METHODS = {
    f"{name}.{method}": value
    for name in READ_BY_USERS
    for method, value in inspect.getmembers(getattr(blm, name), inspect.isfunction)
    if not method.startswith("_") and value.__module__.startswith("bayeslmm")
}
INHERITED_FROM_SCIKIT_LEARN = {"X", "y"}
FLAGS = doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", [name for name, _ in PLACES])
def test_every_public_name_has_a_docstring(name):
    text = inspect.getdoc(getattr(blm, name))
    assert text
    assert text.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_every_argument_is_explained(name):
    function = {**FUNCTIONS, **METHODS}[name]
    text = inspect.getdoc(function)
    arguments = [argument for argument in inspect.signature(function).parameters if argument != "self"]
    assert [argument for argument in arguments if argument not in text] == []


@pytest.mark.parametrize("name", [*FUNCTIONS, "Model"])
def test_examples_run(name):
    value = getattr(blm, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(value, name, globs={})
    assert example.examples
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    shown: list[str] = []
    assert runner.run(example, out=shown.append).failed == 0, "".join(shown)
