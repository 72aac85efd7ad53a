"""lme4's grammar: what each form of formula means."""

import pytest

from bayeslmm.formula import Bar, parse, split_terms


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("y ~ 1", "1"),
        ("y ~ 0", "0"),
        ("y ~ x", "1 + x"),
        ("y ~ 1 + x", "1 + x"),
        ("y ~ 0 + x", "0 + x"),
        ("y ~ -1 + x", "0 + x"),
        ("y ~ x - 1", "0 + x"),
        ("y ~ x + 0", "0 + x"),
        ("y ~ 0 + x + 1", "1 + x"),
        ("y ~ x - 1 - 0", "1 + x"),
        ("y ~ x + x", "1 + x"),
        ("y ~ a*b", "1 + a + b + a:b"),
        ("y ~ a:b + c", "1 + c + a:b"),
        ("y ~ a:b + b:a", "1 + a:b"),
        ("y ~ a*b - a:b", "1 + a + b"),
        ("y ~ a*b - b:a", "1 + a + b"),
        ("y ~ a/b", "1 + a + a:b"),
        ("y ~ (a + b)/c", "1 + a + b + a:b:c"),
        ("y ~ c/(a + b)", "1 + c + c:a + c:b"),
        ("y ~ (a + b + c)**2", "1 + a + b + c + a:b + a:c + b:c"),
        ("y ~ (a + b)^2", "1 + a + b + a:b"),
        ("y ~ (a + b)**999", "1 + a + b + a:b"),
        ("y ~ a*b*c - a:b:c", "1 + a + b + c + a:b + a:c + b:c"),
        ("y ~ a:(b + c)", "1 + a:b + a:c"),
        ("y ~ (a + b):c", "1 + a:c + b:c"),
        ("y ~ a:a", "1 + a"),
        ("y ~ ((a))", "1 + a"),
        ("y ~ a +\n  b", "1 + a + b"),
        ("y~log( x )", "1 + log(x)"),
        ('y ~ C(sex,Treatment("Male"))', "1 + C(sex, Treatment('Male'))"),
        ("y ~ C(sex, contr.treatment('Male'))", "1 + C(sex, contr.treatment('Male'))"),
        ("y ~ C(g, contrasts=Sum, levels=['b', 'a'])", "1 + C(g, contrasts=Sum, levels=['b', 'a'])"),
        ("y ~ poly(x,2) + bs(x, df=4, knots=[1,2])", "1 + poly(x, 2) + bs(x, df=4, knots=[1, 2])"),
        ("y ~ I(x**2) + I((a+b)/2)", "1 + I(x ** 2) + I((a + b) / 2)"),
        ("y ~ I(x > 3) + I(sex == 'Male')", "1 + I(x > 3) + I(sex == 'Male')"),
        (r"y ~ C(x, Treatment('a\d'))", r"1 + C(x, Treatment('a\\d'))"),
        ("y ~ `my column` + log(`my column`)", "1 + `my column` + log(`my column`)"),
        ("y ~ `x`", "1 + x"),
        ("y ~ `class` + `2024`", "1 + `class` + `2024`"),
        ("y ~ größe + I(größe**2)", "1 + `größe` + I(`größe` ** 2)"),
    ],
)
def test_the_fixed_part_is_expanded_and_sorted_by_order(text, fixed):
    assert parse(text).fixed == fixed


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("y ~ (1|g)", [("1", ("g",), True)]),
        ("y ~ 1|g", [("1", ("g",), True)]),
        ("y ~ x|g", [("1 + x", ("g",), True)]),
        ("y ~ (x|g)", [("1 + x", ("g",), True)]),
        ("y ~ (1 + x|g)", [("1 + x", ("g",), True)]),
        ("y ~ (x||g)", [("1 + x", ("g",), False)]),
        ("y ~ (0 + x|g)", [("0 + x", ("g",), True)]),
        ("y ~ (x - 1|g)", [("0 + x", ("g",), True)]),
        ("y ~ (-1 + x||g)", [("0 + x", ("g",), False)]),
        ("y ~ (1|a/b)", [("1", ("a",), True), ("1", ("a", "b"), True)]),
        ("y ~ (x|a/b)", [("1 + x", ("a",), True), ("1 + x", ("a", "b"), True)]),
        ("y ~ (1|a/b/c)", [("1", ("a",), True), ("1", ("a", "b"), True), ("1", ("a", "b", "c"), True)]),
        ("y ~ (1|a:b)", [("1", ("a", "b"), True)]),
        ("y ~ (1|a:b/c)", [("1", ("a", "b"), True), ("1", ("a", "b", "c"), True)]),
        ("y ~ (1|a) + x + (1|b)", [("1", ("a",), True), ("1", ("b",), True)]),
        ("y ~ (1|g) + (0 + x|g)", [("1", ("g",), True), ("0 + x", ("g",), True)]),
        ("y ~ (a*b|g)", [("1 + a + b + a:b", ("g",), True)]),
        ("y ~ (poly(x, 2)|g)", [("1 + poly(x, 2)", ("g",), True)]),
        ("y ~ (1|`my group`)", [("1", ("my group",), True)]),
        ("y ~ ((1|g))", [("1", ("g",), True)]),
    ],
)
def test_bars(text, bars):
    expected = [Bar(left, factors, "full" if full else "diagonal") for left, factors, full in bars]
    assert list(parse(text).bars) == expected


def test_a_formula_with_everything():
    formula = parse("log(y) ~ x*z + offset(log(t)) + bart(u + `v w`) + (1 + x || a) + offset(o) + (1 | a:b)")
    assert formula.response == "log(y)"
    assert formula.fixed == "1 + x + z + x:z"
    assert [bar.factor for bar in formula.bars] == ["a", "a:b"]
    assert formula.offsets == ("log(t)", "o")
    assert formula.learner == ("u", "v w")


def test_the_response_may_be_arithmetic():
    assert parse("(a + b) / 2 ~ x").response == "(a + b) / 2"
    assert parse("`my response` ~ x").response == "`my response`"


def test_user_functions_are_known_by_name():
    assert parse("y ~ hinge(x, 3)", {"hinge"}).fixed == "1 + hinge(x, 3)"


def test_terms_of_a_canonical_text():
    assert split_terms("0 + `my column` + a:log(x)") == [("`my column`",), ("a", "log(x)")]
    assert split_terms("1 + a") == [(), ("a",)]


@pytest.mark.parametrize(
    "text",
    [
        "y ~ a*b + (x||g) + (0 + x|h) + (1|a/b/c)",
        "y ~ C(sex, Treatment('Male')) + `my column`*poly(x, 2) + offset(log(t)) + (1|`my group`)",
        "y ~ 0 + größe",
    ],
)
def test_canonical_parts_parse_to_themselves(text):
    first = parse(text)
    again = parse(f"{first.response} ~ {first.fixed}")
    assert again.fixed == first.fixed
    for bar in first.bars:
        assert parse(f"y ~ ({bar.effects} | g)").bars[0].effects == bar.effects
