"""The formula way into a mixed-effects forest."""

import inspect
from typing import Any

from bayeslmm.design import dotted_names
from bayeslmm.errors import FormulaError, OptionError
from bayeslmm.forest.data.inputs import as_table, random_text
from bayeslmm.forest.estimator import MixedEffectsForest
from bayeslmm.formula import Formula, check_expression, parse, split_terms


def mixed_forest(formula: str, data: Any, learner: Any = None, **options: Any) -> MixedEffectsForest:
    """Fit a mixed-effects forest from a formula.

    Parameters
    ----------
    formula
        ``"y ~ x1 + x2 + (1 | g)"`` hands x1 and x2 to the learner. ``"y ~ x1 + bart(x2 + x3) + (1 | g)"``
        hands x2 and x3 to it, whichever learner it is, and gives x1 an exact linear effect.
    data
        A pandas or polars frame, or a mapping of columns.
    learner
        As in :class:`MixedEffectsForest`.
    **options
        Further options of :class:`MixedEffectsForest`, and ``sample_weight`` of its fit.

    Raises
    ------
    FormulaError
        If the formula has no random term, an offset, or hands the learner anything but columns.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> sleep = blm.load_dataset("sleepstudy")
    >>> forest = blm.mixed_forest("Reaction ~ Days + (1 | Subject)", sleep, DecisionTreeRegressor(max_depth=3), seed=1)
    >>> forest.predict(sleep.head(2)).shape
    (2,)
    """
    parsed = parse(formula, columns=dotted_names(data))
    if parsed.offsets:
        raise FormulaError("offset(...) has no place in a forest's formula: subtract it from the response.")
    if not parsed.bars:
        raise FormulaError(f"The formula {formula!r} has no random term such as (1 | g); fit the learner by itself.")
    for name in ("random", "linear", "features"):
        if name in options:
            raise OptionError(f"{name}= is said by the formula; leave it out.")
    features = parsed.learner or learner_columns(parsed)
    linear = parsed.fixed if parsed.learner and parsed.fixed not in ("0", "1") else None
    table = as_table(data)
    response = _response_column(parsed, table)
    weights = options.pop("sample_weight", None)
    known = [*inspect.signature(MixedEffectsForest).parameters, "sample_weight"]
    for name in options:
        if name not in known:
            listed = ", ".join(other for other in known if other not in ("random", "learner", "linear", "features"))
            raise OptionError(f"A forest has no option {name!r}; the options are {listed}.")
    forest = MixedEffectsForest(random_text(parsed), learner, linear=linear, features=list(features), **options)
    return forest.fit(table.drop(columns=[response]), table[response], sample_weight=weights)


def learner_columns(formula: Formula) -> tuple[str, ...]:
    """Return the columns of a fixed part that goes to the learner as it is.

    Raises
    ------
    FormulaError
        If it holds anything but columns.
    """
    names: list[str] = []
    for term in split_terms(formula.fixed):
        if not term:
            continue
        expression = check_expression(term[0])
        plain = len(term) == 1 and len(expression.columns) == 1 and "(" not in expression.text
        if not plain:
            raise FormulaError(
                f"{':'.join(term)!r} cannot go to the learner, which finds transforms and interactions "
                "itself: write the plain "
                "columns, or put the learner's columns into bart(...) so that the rest is linear."
            )
        names.append(expression.columns[0])
    if not names:
        raise FormulaError(f"The formula {formula.text!r} leaves no column for the learner.")
    return tuple(dict.fromkeys(names))


def _response_column(formula: Formula, table: Any) -> str:
    columns = check_expression(formula.response).columns
    if formula.response.strip("`") != (columns[0] if columns else None):
        raise FormulaError(f"The response {formula.response!r} must be a plain column; transform it in the data.")
    if columns[0] not in table.columns:
        from bayeslmm.errors import DataError

        raise DataError(f"The data have no column {columns[0]!r}, the response.")
    return str(columns[0])
