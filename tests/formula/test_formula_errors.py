"""Errors mark the offending part and say what to write instead."""

import pytest

from bayeslmm.errors import FormulaError
from bayeslmm.formula import parse


@pytest.mark.parametrize(
    ("text", "remedy", "marked"),
    [
        ("y x", "needs a ~", "y x"),
        ("~ x", "response is missing", "~"),
        ("y ~", "predictors are missing", "~"),
        ("y ~ x ~ z", "only one ~", "~"),
        ("y ~ x +", "a term is missing", " "),
        ("y ~ + + x", "a term is missing", "+"),
        ("y ~ (x", "never closed", "("),
        ("y ~ x)", "closes nothing", ")"),
        ("y ~ (1 | )", "grouping factor is missing", ")"),
        ("y ~ ( | g)", "a term is missing", "|"),
        ("y ~ (0 | g)", "no effects", "0 |"),
        ("y ~ (1 | a + b)", r"\(1 \| a\) \+ \(1 \| b\)", "+"),
        ("y ~ (1 | a * b)", r"\(1 \| a\) \+ \(1 \| b\)", "*"),
        ("y ~ (1 | log(g))", "no functions", "log"),
        ("y ~ (1 | C(g, Sum))", "no functions", "C"),
        ("y ~ (1 | C(log(g)))", "no functions", "C"),
        ("y ~ (1 | 3)", "column names", "3"),
        ("y ~ (1 | a:a)", "names a column twice", "|"),
        ("y ~ (1 | a | b)", "'|' has no meaning here", "|"),
        ("y ~ x + 1 | g", "in parentheses", "|"),
        ("y ~ x * (1 | g)", "only be added", "*"),
        ("y ~ x - (1 | g)", "only be added", "("),
        ("y ~ ((1 | g) | h)", "terms only", "("),
        ("y ~ x^2", r"I\(x\*\*2\), or poly\(x, 2\)", "x^2"),
        ("y ~ x**2", r"I\(x\*\*2\), or poly\(x, 2\)", "x**2"),
        ("y ~ (a + b)**x", "whole number", "x"),
        ("y ~ x / 10", r"I\(x / 10\)", "10"),
        ("y ~ 2 * x", "only 1 .* and 0", "2"),
        ("y ~ x z", "operator such as", "z"),
        ("y ~ .", "name the columns", "."),
        ("y ~ math.log(x)", r"write log\(x\)", "."),
        ("y ~ I(math.log(x))", r"write log\(x\)", "math.log"),
        ("y ~ np.log", r"write log\(x\)", "."),
        ("y ~ np.power(x, 2)", r"write I\(x\*\*2\) for a power", "."),
        ("y ~ np.tanh(x)", r"did you mean tan\? Functions known", "."),
        ("y ~ s(x)", r"write cr\(x, df=...\)", "s"),
        ("y ~ relevel(x, 'b')", r"write C\(x, Treatment\('a'\)\)", "relevel"),
        ("y ~ diag(x | g)", r"write \(x \|\| g\)", "diag"),
        ("y ~ `x\0`", "or a null character: rename", "`"),
        ("y ~ `x\n(mg)`", "cannot hold a line break or a null character: rename", "`"),
        ("y ~ my.column", "`my.column`", "."),
        ("y ~ 2nd", "`2nd`", "2nd"),
        ("y ~ x %in% z", "write a:b", "%in%"),
        ("y ~ x % 2", r"I\(x % 2\)", "%"),
        ("y ~ lag(x)", "compute the lag", "lag"),
        ("y ~ Q(x)", "backquotes", "Q"),
        ("y ~ Q('a`b')", "backquotes", "Q"),
        ("y ~ lambda(x)", "unknown function 'lambda'", "lambda"),
        ("y ~ I(lambda(x))", "unknown function 'lambda'", "lambda"),
        ("y ~ x and z", "operator such as", "and"),
        ("y ~ sqr(x)", "did you mean sqrt", "sqr"),
        ("y ~ hinge(x)", r"functions=\{\.\.\.\}.*log10.*poly", "hinge"),
        ("y ~ log()", "uses no column", "log()"),
        ("y ~ offset()", "needs a column", "offset"),
        ("y ~ C(1)", "uses no column", "C(1)"),
        ("y ~ Treatment('a')", r"inside C\(\.\.\.\)", "Treatment('a')"),
        ("y ~ log(poly(x, 2))", "several columns", "poly(x, 2)"),
        ("y ~ log(scale(poly(x, 2)))", "several columns", "poly(x, 2)"),
        ("y ~ scale(C(x))", "several columns", "C(x)"),
        ("y ~ poly(bs(x), 2)", "several columns", "bs(x)"),
        ("y ~ I(poly(x, 2) > 1)", "several columns", "poly(x, 2)"),
        ("y ~ I(poly(x, 2) * bs(z))", "a:b", "poly(x, 2) * bs(z)"),
        ("y ~ C(x, Treatment(z))", "constants", "z"),
        ("y ~ log(x, bas=2)", "no argument 'bas': did you mean base.*takes the column, base", "log(x, bas=2)"),
        ("y ~ exp(x, typo=3)", "no argument 'typo'. exp takes the column", "exp(x, typo=3)"),
        ("y ~ I(x, foo=1)", "no argument 'foo'", "I(x, foo=1)"),
        ("y ~ I(x, 1)", "given 2 arguments", "I(x, 1)"),
        ("y ~ sqrt(exp(x, 2))", "given 2 arguments", "exp(x, 2)"),
        ("y ~ log(x, base=2, base=3)", "'base' is given twice", "log(x, base=2, base=3)"),
        ("y ~ log(x, 2, base=3)", "'base' twice", "log(x, 2, base=3)"),
        ("y ~ I(z + log(base=2))", "column here: it comes first", "log(base=2)"),
        ("y ~ scale(x, wrong=1)", "'wrong'.*center, scale, ddof", "scale(x, wrong=1)"),
        ("y ~ C(x, reference='a')", "no argument 'reference'.*contrasts, levels", "C(x, reference='a')"),
        ("y ~ C(x, Treatment(refrence='a'))", "did you mean reference", "Treatment(refrence='a')"),
        ("y ~ C(x, contr.sum(3))", "contr.sum takes no arguments", "contr.sum(3)"),
        ("y ~ C(x, Treatment('a', reference='b'))", "'reference' twice", "Treatment('a', reference='b')"),
        ("y ~ 'x'", "`x`", "'x'"),
        ("y ~ `x", "never closed", "`"),
        ("y ~ log('x)", "never closed", "'"),
        ("y ~ x $ z", r"'\$' has no meaning", "$"),
        ("y ~ True", "no column", "True"),
        ("y ~ bart(x, log(z))", "joined with", "bart"),
        ("y ~ bart(1)", "joined with", "bart"),
        ("y | z ~ x", "no place in the response", "|"),
        ("1 ~ x", "uses no column", "1"),
        ("y ~ offset(x):z", "only be added", ":"),
        ("y ~ C(x, 'a') + I('x' + z)", "a text stands here", "'x'"),
    ],
)
def test_the_part_is_marked_and_the_remedy_named(text, remedy, marked):
    with pytest.raises(FormulaError, match=remedy) as caught:
        parse(text)
    message, shown, carets = str(caught.value).rsplit("\n", 2)
    assert message
    start = len(carets) - len(carets.lstrip())
    assert shown[start : len(carets)].ljust(1) == marked


def test_a_random_term_written_twice():
    with pytest.raises(FormulaError, match=r"\(1 \+ x \| g\) is written twice"):
        parse("y ~ (x | g) + (1 + x | g)")


def test_a_long_formula_is_shown_around_the_mark():
    text = "y ~ " + " + ".join(f"column_{i}" for i in range(100)) + " + evil(x) + " + " + ".join("abcdefgh" * 20)
    with pytest.raises(FormulaError) as caught:
        parse(text)
    _, shown, carets = str(caught.value).rsplit("\n", 2)
    assert len(shown) < 120
    assert shown[carets.index("^") : len(carets)] == "evil"


@pytest.mark.parametrize("text", ["Reaction time ~ Days", "y ~ x + Reaction time", "y ~ x + (1 | Reaction time)"])
def test_a_space_in_a_name_needs_backquotes(text):
    with pytest.raises(FormulaError, match="`Reaction time`"):
        parse(text)
