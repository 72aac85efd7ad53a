"""Formula text is untrusted: nothing but columns, constants, arithmetic and known functions passes."""

import builtins
import contextlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.errors import FormulaError
from bayeslmm.formula import FUNCTIONS, check_expression, parse, quoted
from bayeslmm.formula.vocabulary import CODINGS, PARAMETERS

CODE = [
    'I(__import__("os").system("x"))',
    '__import__("os").system("x")',
    '{__import__("os")}',
    'os.system("x")',
    'open("x","w")',
    'eval("1")',
    "exec('1')",
    "x.__class__",
    "I(x.values)",
    "np.fromfile(x)",
    "np.log.at(x)",
    "math.log(x)",
    "numpy.random.seed(x)",
    "I(x and (yield x))",
    "I(await x)",
    "I(x if (yield) else x)",
    "Q(x)",
    "Q('a\\x41')",
    "log(x, lambda=1)",
    "I(x, `foo`=1)",
    "bs(x, __class__=1)",
    "I(x[0])",
    "x[0]",
    "I(lambda: 1)",
    "I([c for c in x])",
    "I({c: 1 for c in x})",
    "f'{x}'",
    "I(f'{x}')",
    "I((x := 1))",
    "I(x if x else x)",
    "I(*x)",
    "log(**x)",
    "I(x and x)",
    "I(not x)",
    "I(x @ x)",
    "I(x << 2)",
    "I(1 < x < 2)",
    "__builtins__",
    "I(__builtins__)",
    "getattr(x, 'y')",
    "`eval`('1')",
    "C(x, __import__('os'))",
    "C(x, levels=eval('1'))",
    "C(x, contr.custom([1]))",
    "C(x, Treatment(eval('1')))",
    "contr.treatment('a')",
    "scale(x, _state=z)",
    "scale(x)(x)",
    "I(b'x')",
    "I(1j * x)",
    "I(...)",
    "I('a' * 9)",
    "%s" % ("log(" * 60 + "x" + ")" * 60),
]
PLACES = {
    "fixed part": "y ~ x + {}",
    "left of a bar": "y ~ ({} | g)",
    "grouping factor": "y ~ (1 | {})",
    "response": "{} ~ x",
    "offset": "y ~ offset({})",
    "learner": "y ~ bart({})",
    "interaction": "y ~ x * {}",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("code", CODE)
def test_code_is_refused_everywhere(place, code):
    with pytest.raises(FormulaError):
        parse(PLACES[place].replace("{}", code))


@pytest.mark.parametrize("code", CODE)
def test_code_is_no_expression(code):
    with pytest.raises(FormulaError):
        check_expression(code)


@pytest.mark.parametrize(
    "text",
    [
        "y ~ " + "(" * 10_000 + "x" + ")" * 10_000,
        "y ~ " + "(" * 3_000 + "x" + ")" * 3_000,
        "y ~ I(" + "-" * 5_000 + "x)",
        "y ~ I(" + "+".join("x" * 2_000) + ")",
        "y ~ I(" + "**".join("x" * 2_000) + ")",
        "y ~ " + "log(" * 2_000 + "x" + ")" * 2_000,
        "y ~ " + "*".join(f"x{i}" for i in range(30)),
        "y ~ " + ":".join(f"x{i}" for i in range(1_000)),
        "y ~ (" + "+".join(f"x{i}" for i in range(500)) + ")**9",
        "y ~ (" + "+".join(f"x{i}" for i in range(500)) + ")*(" + "+".join(f"z{i}" for i in range(500)) + ")",
        "y ~ " + "+".join(f"x{i}" for i in range(1_700)),
        "y ~ I(x + " + "9" * 9_000 + ")",
        "y ~ (a + b)**" + "9" * 5_000,
        "y ~ x" + " " * 20_000,
        "(" * 9_000,
        "y ~ (1 | " + ":".join(f"g{i}" for i in range(1_000)) + ":g0)",
    ],
    ids=range(16),
)
def test_length_depth_and_expansion_are_bounded(text):
    with pytest.raises(FormulaError):
        parse(text)


def test_a_text_that_is_no_text():
    with pytest.raises(FormulaError, match="NoneType"):
        parse(None)


WORDS = ["**", "||", "log(", "C(", "poly(x, 2)", "offset(", "bart(", "(1 | g)", "y ~ ", "Treatment", "contr."]
CODE_WORDS = ["lambda ", "__import__", "1e400", " if ", "``", "I("]
SPELLINGS = [
    "np.log(",
    "Q('x')",
    "factor(",
    "as.factor(",
    "a.b",
    "x.1",
    "class",
    "yield ",
    " is ",
    "scale(",
    "base=",
    "^",
]
ALPHABET = st.sampled_from([*"yxg1029 ~|+-*/:^(),=<>[]{}%.`'\"\\\n_@!#é", *WORDS, *CODE_WORDS, *SPELLINGS])


@settings(max_examples=300, deadline=None)
@given(st.lists(ALPHABET, max_size=30).map("".join))
def test_random_text_parses_or_is_refused_with_a_formula_error(text):
    for candidate in (text, "y ~ " + text):
        for columns in ((), ("a.b", "x.1")):
            try:
                formula = parse(candidate, columns=columns)
            except FormulaError:
                continue
            # what is passed on is spelled so that it needs no columns to be read again
            assert parse(f"{formula.response} ~ {formula.fixed}").fixed == formula.fixed
            for bar in formula.bars:
                again = parse(f"y ~ ({bar.effects} | {':'.join(map(quoted, bar.factors))})").bars[0]
                assert (again.effects, again.factors) == (bar.effects, bar.factors)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_unicode_text_is_refused_or_read(text):
    with contextlib.suppress(FormulaError):
        parse("y ~ " + text)


def test_every_function_has_its_arguments_listed():
    assert set(PARAMETERS) >= FUNCTIONS | CODINGS


def test_only_listed_names_can_be_called():
    names = [name for name in dir(builtins) if name not in FUNCTIONS]
    for name in names:
        with pytest.raises(FormulaError):
            parse(f"y ~ {name}(x)")


def test_reading_a_formula_imports_neither_pandas_nor_formulaic():
    script = (
        "import sys; from bayeslmm.formula import parse; parse('y ~ poly(x, 2) + (x || g)'); "
        "assert not {'pandas', 'formulaic', 'pymc'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
