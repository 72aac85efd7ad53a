"""Fixed columns: names, coding and values, against formulaic's own and against patsy's."""

import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design, new_rows
from bayeslmm.design.functions import ELEMENTWISE, coding
from bayeslmm.errors import DataError, FormulaError, ModelError, OptionError
from bayeslmm.formula import parse
from bayeslmm.formula.vocabulary import CODINGS, PARAMETERS

EXACT = 1e-12  # the same arithmetic up to the order of products


def table(n=80, seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "z": rng.uniform(1, 2, size=n),
            "sex": rng.choice(["Male", "Female"], size=n),
            "dose": pd.Categorical(rng.choice(["low", "high", "none"], size=n), categories=["none", "low", "high"]),
            "k": rng.integers(0, 4, size=n),
            "flag": rng.random(n) < 0.5,
            "my column": rng.normal(size=n),
        }
    )


def columns(text, data=None, **options):
    design = build_design(parse(text, options.get("functions", ())), table() if data is None else data, **options)
    return list(design.fixed_names), design.X


@pytest.mark.parametrize(
    "effects",
    [
        "1", "x", "x + z", "x*z", "0 + x", "sex", "0 + sex", "dose", "sex*dose", "0 + sex + dose", "x*dose",
        "x:dose", "0 + x:dose", "dose/x", "sex:dose", "0 + sex:dose", "C(k)", "x + C(k)", "C(k):sex",
        "C(sex, Treatment('Male'))", "C(k, Treatment(2))", "C(k, Sum)", "C(k, contr.sum)",
        "C(k, contr.helmert)", "C(k, Poly)", "C(k, Diff)", "C(k, contr.SAS)",
        "C(dose, levels=['high', 'low', 'none'])",
        "poly(x, 3)", "poly(x, 2)*sex", "scale(x)", "center(z)*dose", "bs(z, df=5)",
        "bs(z, knots=[1.3, 1.6])", "log(z)", "(x + z + sex)**2", "I(x**2) + I(x * z)", "x*sex*dose",
    ],
)  # fmt: skip
def test_names_and_values_are_formulaics(effects):
    formulaic = pytest.importorskip("formulaic")
    expected = formulaic.model_matrix(effects, table(), context=None)
    names, X = columns(f"y ~ {effects}")
    assert names == list(expected.columns)
    np.testing.assert_allclose(X, expected.to_numpy(dtype=float), atol=EXACT)


@pytest.mark.parametrize(
    "effects",
    ["sex", "sex*dose", "flag", "x*flag", "C(k)", "C(sex, Treatment('Male'))", "center(x)", "sex + dose:x"],
)
def test_values_are_patsys(effects):
    patsy = pytest.importorskip("patsy")
    expected = patsy.dmatrix(effects, table())
    names, X = columns(f"y ~ {effects}")
    assert sorted(names) == sorted(name.replace('"', "'") for name in expected.design_info.column_names)
    order = [list(expected.design_info.column_names).index(name) for name in names]
    np.testing.assert_allclose(X, np.asarray(expected)[:, order], atol=EXACT)


def test_names_after_normalisation():
    names, _ = columns('y ~ 1 + z + dose + C(k) + C(sex,Treatment("Male"))')
    assert names == [
        "Intercept", "z", "dose[T.low]", "dose[T.high]", "C(k)[T.1]", "C(k)[T.2]", "C(k)[T.3]",
        "C(sex, Treatment('Male'))[T.Female]",
    ]  # fmt: skip
    assert columns("y ~ `my column` + log(z) + flag")[0] == [
        "Intercept",
        "my column",
        "log(z)",
        "flag[T.True]",
    ]
    assert columns("y ~ I(x > 0) + I(sex == 'Male')")[0][1:] == [
        "I(x > 0)[T.True]",
        "I(sex == 'Male')[T.True]",
    ]


def test_base_level_is_the_first_category_else_the_first_in_order():
    assert columns("y ~ dose")[0] == ["Intercept", "dose[T.low]", "dose[T.high]"]
    data = table().assign(dose=lambda d: d["dose"].astype(str))
    assert columns("y ~ dose", data)[0] == ["Intercept", "dose[T.low]", "dose[T.none]"]


def test_integers_are_numeric_and_their_categories_keep_numeric_order():
    assert columns("y ~ k")[0] == ["Intercept", "k"]
    data = table().assign(k=lambda d: pd.Categorical(d["k"] * 5))
    assert columns("y ~ k", data)[0] == ["Intercept", "k[T.5]", "k[T.10]", "k[T.15]"]
    assert columns("y ~ C(k, Treatment(15))", data)[0][1:] == [
        f"C(k, Treatment(15))[T.{level}]" for level in (0, 5, 10)
    ]


def test_unused_categories_are_ignored():
    data = table()
    data["dose"] = data["dose"].cat.set_categories(["absent", "none", "low", "never", "high"])
    names, X = columns("y ~ dose", data)
    expected, X_expected = columns("y ~ dose")
    assert names == expected
    np.testing.assert_array_equal(X, X_expected)


def test_a_factor_with_one_level_gives_no_column():
    assert columns("y ~ x + sex", table().assign(sex="Male"))[0] == ["Intercept", "x"]


def test_functions_of_our_own_table():
    z = table()["z"].to_numpy()
    for name, function in {
        "log": np.log,
        "log1p": np.log1p,
        "expm1": np.expm1,
        "sqrt": np.sqrt,
        "abs": np.abs,
    }.items():
        names, X = columns(f"y ~ {name}(z)")
        assert names[1] == f"{name}(z)"
        np.testing.assert_array_equal(X[:, 1], function(z))


def test_a_column_named_like_a_function_does_not_hide_it():
    data = table().assign(log=3.0)
    np.testing.assert_array_equal(columns("y ~ log(z)", data)[1][:, 1], np.log(data["z"]))
    data["log"] = data["x"]
    np.testing.assert_array_equal(columns("y ~ log", data)[1][:, 1], data["x"])


def test_user_functions_get_columns_and_constants():
    names, X = columns("y ~ hinge(x, at=0.5)", functions={"hinge": lambda x, at: np.maximum(x - at, 0)})
    assert names == ["Intercept", "hinge(x, at=0.5)"]
    np.testing.assert_array_equal(X[:, 1], np.maximum(table()["x"] - 0.5, 0))


def test_user_functions_may_give_several_columns_or_labels():
    names, _ = columns("y ~ powers(x)", functions={"powers": lambda x: np.column_stack([x, x**2])})
    assert names == ["Intercept", "powers(x)[0]", "powers(x)[1]"]
    names, _ = columns("y ~ sign(x)", functions={"sign": lambda x: pd.Series(np.where(x > 0, "up", "down"))})
    assert names == ["Intercept", "sign(x)[T.up]"]


def test_nothing_is_looked_up_in_the_callers_frame():
    hidden = table()["x"]  # noqa: F841

    def secret(x):
        return x

    with pytest.raises(DataError, match="no column 'hidden'"):
        columns("y ~ hidden")
    with pytest.raises(FormulaError, match="unknown function 'secret'"):
        columns("y ~ secret(x)")
    with pytest.raises(DataError, match="no column 'len'"):
        columns("y ~ len")


@pytest.mark.parametrize("name", ["C", "poly", "I", "offset", "Treatment", "_x", "a b", ""])
def test_names_a_user_function_cannot_have(name):
    with pytest.raises(OptionError, match="functions="):
        build_design(parse("y ~ x"), table(), functions={name: np.log})


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        ("log(x)", r"log\(x\) is not finite in \d+ rows, first in row \d+"),
        ("I(z / 0)", "not finite in 80 rows, first in row 0"),
        ("I(x + 10**10**10)", "10 \\*\\* 10"),
        ("log(sex)", "sex is a category"),
        ("I(k + dose)", "dose is a category"),
        ("C(sex, Treatment('male'))", r"'male' is not among the levels \['Female', 'Male'\]"),
        ("C(sex, levels=['Male'])", "'Female' is not among"),
        ("C(sex, x)", "second argument of C is a coding"),
        ("poly(x, 1000000)", "1000000 columns"),
        ("poly(sex, 2)", "sex is a category"),
        ("bs(z, df=1)", "cannot be computed"),
        ("log(z, base=1)", "base is a positive number"),
        ("log(z, base=-2)", "base is a positive number"),
        ("log(z, base='e')", "base is a positive number"),
        ("log(z, x)", "base is a positive number"),
        ("bad(x)", r"bad\(x\) cannot be computed \(ZeroDivisionError"),
        ("short(x)", "shape"),
    ],
)
def test_what_cannot_be_computed(effects, message):
    functions = {"bad": lambda x: 1 / 0, "short": lambda x: x[:3]}
    with pytest.raises(DataError, match=message):
        columns(f"y ~ {effects}", functions=functions)


def test_rows_in_messages_are_those_of_the_users_data():
    data = table().assign(z=lambda d: d["z"].where(d.index != 40, -1.0), x=lambda d: d["x"].where(d.index > 2))
    with pytest.raises(DataError, match=r"log\(z\) is not finite in 1 row, first in row 40:"):
        columns("y ~ log(z) + x", data)
    with pytest.raises(DataError, match=r"first in row 40 \(index 47\):"):
        columns("y ~ log(z) + x", data.set_index(np.arange(80) + 7))


def test_numbers_whose_squares_overflow():
    data = table().assign(x=lambda d: d["x"] * 1e200)
    for text in ("y ~ x", "x ~ z", "y ~ I(x * 1e90):C(k)", "y ~ (x | k)"):
        with pytest.raises(DataError, match=r"overflow|not finite"):
            columns(text, data)


def test_response_expressions():
    data = table()
    np.testing.assert_array_equal(build_design(parse("log(z) ~ x"), data).y, np.log(data["z"]))
    np.testing.assert_array_equal(build_design(parse("I(x + z) ~ 1"), data).y, data["x"] + data["z"])
    np.testing.assert_array_equal(build_design(parse("flag ~ x"), data).y, data["flag"].astype(float))
    assert build_design(parse("k ~ x"), data).y.dtype == np.float64


def test_a_response_that_is_text_or_constant():
    with pytest.raises(DataError, match="sex is not numeric"):
        columns("sex ~ x")
    with pytest.raises(DataError, match="dose is not numeric"):
        columns("dose ~ x")
    with pytest.raises(DataError, match=r"pandas\.to_numeric"):
        columns("y ~ x", table().assign(y=lambda d: d["y"].astype(str)))
    with pytest.raises(DataError, match=r"row 2 holds '1,200'"):
        columns("y ~ x", table().assign(y=lambda d: [*d["y"].astype(str)[:2], "1,200", *d["y"].astype(str)[3:]]))
    with pytest.raises(ModelError, match="response y is constant"):
        columns("y ~ x", table().assign(y=3))


def test_a_fixed_part_without_columns():
    design = build_design(parse("y ~ 0 + (1 | k)"), table())
    assert design.X.shape == (80, 0)
    assert design.fixed_names == ()
    with pytest.raises(ModelError, match="nothing to estimate"):
        columns("y ~ 0")


def test_more_columns_than_rows():
    with pytest.raises(ModelError, match="4 rows cannot estimate 5 fixed columns"):
        columns("y ~ x*z + k", table(4))


def test_the_cell_that_made_texts_of_numbers_is_named_where_its_levels_are_too_many():
    data = table(40).assign(x=[*np.linspace(0.1, 4.0, 40).round(3).astype(str)[:-1], "."])
    told = r"'x' makes 39 of them, .* since row 39 holds '\.': correct such cells"
    with pytest.warns(UserWarning, match="row 39"), pytest.raises(ModelError, match=told):
        build_design(parse("y ~ x"), data)


def test_names_that_would_collide():
    data = table().rename(columns={"k": "log(z)"})
    with pytest.raises(DataError, match="rename"):
        columns("y ~ log(z) + `log(z)`", data)
    with pytest.raises(DataError, match="rename"):
        columns("y ~ `1` + sex", table().rename(columns={"k": "1"}))


def test_a_factor_with_too_many_levels_is_refused_before_it_is_allocated():
    n = 30_000
    data = pd.DataFrame({"y": np.arange(n, dtype=float), "id": np.arange(n).astype(str)})
    with pytest.raises(ModelError, match=r"Make it a random term, \(1 \| id\)"):
        build_design(parse("y ~ id"), data)


def test_y_is_a_copy_of_the_data():
    data = table()
    design = build_design(parse("y ~ x"), data)
    design.y[0] = 99.0
    assert data["y"][0] != 99.0


def test_plain_numbers_need_no_formulaic():
    # Its import would double the time of a small fit.
    script = (
        "import sys, pandas as pd; from bayeslmm.design import build_design; "
        "from bayeslmm.formula import parse; "
        "data = pd.DataFrame({'y': [1., 3., 2., 5.], 'x': [1, 2, 4, 3], 'g': list('aabb')}); "
        "build_design(parse('y ~ x + log(x) + (x | g)'), data); "
        "assert not {'formulaic', 'pymc', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_what_functions_take_is_what_formulaic_takes():
    formulaic = pytest.importorskip("formulaic.transforms")
    own = {"log", "C"}  # computed or checked here
    for name, parameters in PARAMETERS.items():
        if name in own | set(ELEMENTWISE) | {"I"}:
            continue
        found = coding(name) if name in CODINGS or name.startswith("contr.") else formulaic.TRANSFORMS[name]
        taken = [word for word in inspect.signature(found).parameters if not word.startswith("_")]
        skipped = 0 if name in CODINGS or name.startswith("contr.") else 1  # the column
        assert taken[skipped:] == list(parameters), name


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        ("log(z, base=2)", lambda d: np.log2(d["z"])),
        ("log(z, 10)", lambda d: np.log10(d["z"])),
        ("log(z, base=k0)", None),
        ("log(z, base=3)", lambda d: np.log(d["z"]) / np.log(3)),
        ("np.log(z)", lambda d: np.log(d["z"])),
        ("I(z^2)", lambda d: d["z"] ** 2),
    ],
)
def test_logarithms_and_powers(effect, expected):
    if expected is None:
        with pytest.raises(DataError, match="no column 'k0'"):
            columns(f"y ~ {effect}")
        return
    np.testing.assert_allclose(columns(f"y ~ {effect}")[1][:, 1], expected(table()), rtol=EXACT)


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        ("scale(poly(x, 2))", lambda P, d: (P - P.mean(axis=0)) / P.std(axis=0, ddof=1)),
        ("standardize(poly(x, 2))", lambda P, d: (P - P.mean(axis=0)) / P.std(axis=0)),
        ("center(poly(x, 2))", lambda P, d: P - P.mean(axis=0)),
        ("I(poly(x, 2))", lambda P, d: P),
        ("I(10 * poly(x, 2) - 1)", lambda P, d: 10 * P - 1),
        ("I(poly(x, 2) / z)", lambda P, d: P / d[["z"]].to_numpy()),
        ("I(z - center(poly(x, 2)))", lambda P, d: d[["z"]].to_numpy() - P + P.mean(axis=0)),
        ("scale(I(-poly(x, 2)), scale=False)", lambda P, d: P.mean(axis=0) - P),
    ],
)
def test_scaling_and_arithmetic_on_several_columns(effect, expected):
    """The columns of poly, computed on by numpy; on new rows with what was learned from the rows of the fit."""
    data = table()
    P = columns("y ~ poly(x, 2)")[1][:, 1:]
    names, X = columns(f"y ~ {effect}")
    assert names == ["Intercept", f"{effect}[1]", f"{effect}[2]"]
    np.testing.assert_allclose(X[:, 1:], expected(P, data), atol=EXACT)
    design = build_design(parse(f"y ~ {effect}"), data)
    np.testing.assert_allclose(new_rows(design, data[5:9]).X, X[5:9], atol=EXACT)


@pytest.mark.parametrize("basis", ["bs(z, df=4)", "cr(z, df=4)", "cc(z, df=4)", "poly(z, 2, raw=True)"])
def test_scaling_works_on_every_basis(basis):
    names, X = columns(f"y ~ {basis}")
    scaled_names, scaled = columns(f"y ~ scale({basis})")
    assert [name.removeprefix(f"scale({basis})") for name in scaled_names] == [
        name.removeprefix(basis) for name in names
    ]
    S = X[:, 1:]
    np.testing.assert_allclose(scaled[:, 1:], (S - S.mean(axis=0)) / S.std(axis=0, ddof=1), atol=EXACT)
    crossed, _ = columns(f"y ~ sex:scale({basis})")
    assert len(crossed) == 1 + 2 * S.shape[1]


def test_names_in_coefficients_stand_as_they_are_written():
    data = table().rename(columns={"z": "dose.mg", "sex": "class", "k": "größe"})
    text = "y ~ log(dose.mg) + C(class) + I(größe * 2) + log(`my column` + 9)"
    found = build_design(parse(text, columns=("dose.mg",)), data)
    assert list(found.fixed_names) == [
        "Intercept", "log(dose.mg)", "C(class)[T.Male]", "I(größe * 2)", "log(`my column` + 9)"
    ]  # fmt: skip
