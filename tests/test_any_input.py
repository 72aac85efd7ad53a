"""Inputs made at random: the right result or an error of the package that names the fault, and never other numbers."""

import keyword
import string
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import bayeslmm as blm
from bayeslmm.errors import BayeslmmError, FormulaError
from bayeslmm.formula.vocabulary import ELEMENTWISE, PARAMETERS, REMEMBERED
from bayeslmm.priors.parse import FAMILIES

SAME = 1e-10  # of estimates from the same numbers in the same order
ROWS, GROUPS = 48, 8
FEW, SOME = (settings(max_examples=count, deadline=None) for count in (25, 80))


def table(seed=0):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"x": rng.standard_normal(ROWS), "z": rng.uniform(1, 2, ROWS)})
    data["g"] = [f"g{k}" for k in np.arange(ROWS) % GROUPS]
    data["w"] = rng.uniform(0.5, 2.0, ROWS)
    return data.assign(y=data.x + rng.standard_normal(GROUPS)[np.arange(ROWS) % GROUPS] + rng.standard_normal(ROWS))


DATA = table()
FIT = blm.lmm("y ~ x + z + (1 | g)", DATA)
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="`"), min_size=1, max_size=12),
    st.sampled_from(
        [*keyword.kwlist, *keyword.softkwlist, "Sepal.Length", "dose mg", "1st", "a/b", "x[1]", "Intercept"]
    ),
    st.sampled_from(sorted(ELEMENTWISE | REMEMBERED | {"C", "I", "Q", "np", "offset", "factor"})),
)


def outcome(function):
    """The value, or the package's own error; any other error fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(), None
        except BayeslmmError as error:
            assert str(error).strip()
            return None, str(error)


@FEW
@given(NAMES, NAMES)
@example("class", "lambda")
@example("e\u0301", "log")
def test_any_name_of_a_column_in_backquotes(name, factor):
    assume(len({name, factor, "y", "z"}) == 4)
    renamed = DATA.rename(columns={"x": name, "g": factor})
    fit, error = outcome(lambda: blm.lmm(f"y ~ `{name}` + z + (1 | `{factor}`)", renamed))
    if fit is None:
        assert name in error or factor in error
    else:
        np.testing.assert_allclose(fit.fixef().to_numpy(), FIT.fixef().to_numpy(), rtol=SAME)


@FEW
@given(st.text(string.ascii_letters + "._0123456789", min_size=1, max_size=8))
@example("yield")
@example("is")
@example("Sepal.Length")
def test_any_plain_or_dotted_name_of_a_column(name):
    assume(name not in {"y", "z", "g", "w"} and (name[0].isalpha()) and "__" not in name)
    renamed = DATA.rename(columns={"x": name})
    fit, error = outcome(lambda: blm.lmm(f"y ~ {name} + z + (1 | g)", renamed))
    if fit is None:
        assert name in error
    else:
        np.testing.assert_allclose(fit.fixef().to_numpy(), FIT.fixef().to_numpy(), rtol=SAME)


@FEW
@given(
    st.lists(st.sampled_from(["x", "z", "g"]), unique=True),
    st.integers(0, ROWS - 1),
    st.sampled_from(["error", "population", "sample"]),
    st.randoms(use_true_random=False),
)
def test_predictions_of_rows_do_not_depend_on_their_company(holes, row, new_levels, shuffle):
    frame = DATA.astype({"g": object}).drop(columns=["y", "w"])
    for name in holes:
        frame.loc[row, name] = np.nan if name != "g" else None
    order = shuffle.sample(range(ROWS), ROWS)
    columns = shuffle.sample(list(frame.columns), 3)
    before = frame.copy(deep=True)
    whole = FIT.predict(frame[columns].iloc[order], new_levels=new_levels, seed=1)
    pd.testing.assert_frame_equal(frame, before)
    assert whole.index.equals(frame.index[order])
    plain = FIT.predict(DATA)
    for place in range(ROWS):
        if place == row and holes:
            assert np.isnan(whole[place])
        else:
            assert np.isclose(whole[place], plain[place], rtol=SAME)


@FEW
@given(st.sampled_from(["weights", "offset", "columns", "predict"]), st.randoms(use_true_random=False), st.booleans())
def test_labelled_inputs_are_aligned_or_refused(where, shuffle, labelled):
    order = shuffle.sample(range(ROWS), ROWS)
    mixed = DATA.w.iloc[order] if labelled else DATA.w.to_numpy()
    x = DATA.x.iloc[order]
    if where == "weights":
        found, _ = outcome(lambda: blm.lmm("y ~ x + (1 | g)", DATA, weights=mixed).sigma)
        expected = blm.lmm("y ~ x + (1 | g)", DATA, weights="w").sigma
    elif where == "offset":
        found, _ = outcome(lambda: blm.lmm("y ~ x + (1 | g)", DATA, offset=mixed).sigma)
        expected = blm.lmm("y ~ x + (1 | g)", DATA, offset="w").sigma
    elif where == "columns":
        found, _ = outcome(
            lambda: blm.lmm("y ~ x + z + (1 | g)", {"y": DATA.y, "x": x, "z": DATA.z, "g": DATA.g}).sigma
        )
        expected = FIT.sigma
    else:
        found, _ = outcome(lambda: FIT.predict({"x": x, "z": DATA.z, "g": DATA.g}).loc[DATA.index].to_numpy())
        expected = FIT.predict(DATA).to_numpy()
    if found is not None:
        np.testing.assert_allclose(found, expected, rtol=SAME)
    else:
        assert labelled or where in ("columns", "predict")


CELLS = st.one_of(
    *(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.binary(max_size=3), st.integers(), st.dates()),
    *(st.complex_numbers(), st.decimals(allow_nan=False), st.timedeltas(), st.fractions(), st.uuids()),
    *(st.lists(st.integers(), max_size=2), st.tuples(st.integers()), st.builds(object)),
    *map(st.just, (pd.NA, pd.NaT, pd.Interval(0, 1), pd.Period("2024-01"), Decimal("1.5"))),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["x", "g", "y", "w", "o"]), st.integers(0, ROWS - 1), CELLS)
def test_any_cell_is_fitted_or_refused_by_name(column, row, cell):
    data = DATA.assign(o=0.0)
    values = [*data[column]]
    values[row] = cell
    data[column] = pd.Series(values, dtype=object)
    before = [*data[column]]
    fit, error = outcome(lambda: blm.lmm("y ~ x + offset(o) + (1 | g)", data, weights="w"))
    assert all(one is other for one, other in zip(before, data[column], strict=True))
    if fit is None:
        assert column in error
    else:
        assert np.isfinite(fit.sigma) and np.isfinite(fit.fixef()).all()


@SOME
@given(
    st.sampled_from(sorted(PARAMETERS.keys() & (ELEMENTWISE | REMEMBERED | {"I"}))),
    st.text(string.ascii_lowercase, min_size=2, max_size=7),
)
def test_unknown_arguments_of_functions_are_refused(function, argument):
    assume(argument not in PARAMETERS[function] and not keyword.iskeyword(argument))
    _, error = outcome(lambda: blm.Model(f"y ~ {function}(z, {argument}=2) + (1 | g)", DATA))
    assert error is not None and argument in error and f"{function} takes" in error


@SOME
@given(
    st.sampled_from(sorted(FAMILIES)),
    st.lists(st.floats(allow_nan=True, width=32), max_size=4),
    st.dictionaries(
        st.sampled_from(["mu", "sigma", "nu", "alpha", "beta", "eta", "lam", "scale"]), st.floats(-2, 2), max_size=3
    ),
)
def test_any_statement_of_a_prior_is_taken_whole_or_refused(family, values, named):
    text = f"{family}({', '.join([*map(repr, values), *(f'{name}={value!r}' for name, value in named.items())])})"
    _, error = outcome(lambda: blm.Model("y ~ x + (1 | g)", DATA, priors={"x": text}))
    if error is not None:
        assert "'x'" in error and error.rstrip().endswith((".", ">"))
        return
    stated = FAMILIES[family](*values, **named)
    assert len(values) + len(named) <= len(stated.parameter_names())


@settings(max_examples=8, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="`"), min_size=1, max_size=6),
    st.sampled_from([
        lambda k: f"a/b{k}", lambda k: pd.Interval(k, k + 1), lambda k: pd.Period(str(2000 + k)), lambda k: (k, "a"),
        lambda k: Decimal(k), lambda k: k + 0.5, lambda k: f"<b>{k}</b>",
    ]),
)  # fmt: skip
def test_any_name_and_label_of_groups_goes_all_the_way(tmp_path_factory, factor, label):
    assume(factor not in ("x", "y", "z", "w"))
    groups = pd.Series([label(k % GROUPS) for k in range(ROWS)], dtype=object)
    data = DATA.drop(columns="g").assign(**{factor: groups})
    model, error = outcome(lambda: blm.Model(f"y ~ x + (1 | `{factor}`)", data))
    if model is None:
        assert factor in error
        return
    fit = model.fit("importance", draws=20, seed=1)
    folder = tmp_path_factory.mktemp("fit")
    fit.idata.to_netcdf(folder / "draws.nc")
    _, error = outcome(lambda: fit.save(folder / "fit"))
    if error is None:
        assert np.allclose(blm.load(folder / "fit").fixef(), fit.fixef())
    else:
        assert factor in error and "convert" in error and not list(folder.glob("fit*"))
    assert factor in str(fit.summary()) and fit._repr_html_()
    assert len(fit.ranef()) == 1 or len(fit.ranef()) == GROUPS


@SOME
@given(st.text(max_size=40))
def test_any_text_is_a_formula_or_refused(text):
    _, error = outcome(lambda: blm.Model(text, DATA))
    if error is None:
        assert "~" in text


def test_errors_of_formulas_are_marked():
    try:
        blm.Model("y ~ x + )", DATA)
    except FormulaError as error:
        assert "^" in str(error)
