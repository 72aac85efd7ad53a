"""Column names that are words of Python or hold dots, and spellings of R, numpy and patsy."""

import keyword

import pytest

from bayeslmm.errors import FormulaError
from bayeslmm.formula import check_expression, parse

KEYWORDS = sorted(set(keyword.kwlist) - {"True", "False", "None"})
DOTTED = ("Sepal.Length", "dose.mg", "g.1", "x.2b", ".id", "a.b.c")


@pytest.mark.parametrize("word", KEYWORDS)
def test_words_of_python_are_names(word):
    formula = parse(f"{word} ~ {word} + log({word}) + I(2 * {word} + x) + (1 + {word} | {word}:g) + offset({word})")
    quoted = f"`{word}`"
    assert formula.response == quoted
    assert formula.fixed == f"1 + {quoted} + log({quoted}) + I(2 * {quoted} + x)"
    assert (formula.bars[0].effects, formula.bars[0].factors) == (f"1 + {quoted}", (word, "g"))
    assert formula.offsets == (quoted,)
    assert check_expression(f"I({word} % 2)").columns == (word,)
    assert check_expression(word).label == word


@pytest.mark.parametrize("name", DOTTED)
def test_dotted_names_are_names_where_the_data_have_them(name):
    formula = parse(f"{name} ~ {name} + log({name}) + (1 | {name}/h)", columns=DOTTED)
    assert (formula.response, formula.fixed) == (f"`{name}`", f"1 + `{name}` + log(`{name}`)")
    assert [bar.factors for bar in formula.bars] == [(name,), (name, "h")]
    with pytest.raises(FormulaError):
        parse(f"y ~ {name}")


def test_a_dotted_name_is_taken_whole_or_not_at_all():
    assert parse("y ~ x.1 + x.10", columns=("x.1", "x.10")).fixed == "1 + `x.1` + `x.10`"
    with pytest.raises(FormulaError, match="attribute access"):
        parse("y ~ x.values", columns=("x.value", "values"))


def test_codings_of_r_remain_codings_beside_dotted_names():
    assert parse("y ~ C(x, contr.sum) + a.b", columns=("a.b",)).fixed == "1 + C(x, contr.sum) + `a.b`"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("np.log(y) ~ np.exp(x) + numpy.sqrt(z)", "log(y) ~ exp(x) + sqrt(z)"),
        ("np.log(np.abs(y)) ~ I(np.floor(x) / 2)", "log(abs(y)) ~ I(floor(x) / 2)"),
        ("Q('my y') ~ Q('x y') + log(Q(\"x y\")) + (1 | Q('my g'))", "`my y` ~ `x y` + log(`x y`) + (1 | `my g`)"),
        ("y ~ factor(x) + as.factor(z):as_factor(x)", "y ~ C(x) + C(z):C(x)"),
        ("y ~ (1 | factor(g)) + (x | C(h)/factor(k))", "y ~ (1 | g) + (x | h/k)"),
        ("y ~ (1 | factor(`my g`):class)", "y ~ (1 | `my g`:class)"),
        ("y ~ I(x^2) + I((x + 1)^-2) + log(x^2)", "y ~ I(x**2) + I((x + 1)**-2) + log(x**2)"),
        ("y^2 ~ x", "y**2 ~ x"),
        ("y ~ (a + b)^2", "y ~ (a + b)**2"),
    ],
)
def test_other_spellings_are_the_same_formula(written, meant):
    found, expected = parse(written), parse(meant)
    assert (found.response, found.fixed, found.bars) == (expected.response, expected.fixed, expected.bars)


def test_functions_of_the_user_hide_other_spellings():
    assert parse("y ~ factor(x) + Q(z)", ("factor", "Q")).fixed == "1 + factor(x) + Q(z)"
    with pytest.raises(FormulaError, match="attribute access"):
        parse("y ~ np.log(x)", ("log",))


def test_letters_with_a_combining_accent_are_parts_of_names():
    decomposed = "e\u0301te"  # e, followed by an accent of its own
    assert parse(f"y ~ {decomposed} + (1 | g)").fixed == f"1 + `{decomposed}`"
