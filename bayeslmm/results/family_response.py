"""Another response of a generalized model: read by its family, and put into its design."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.build import check_parts
from bayeslmm.design.design import Design
from bayeslmm.design.outcome import pair_of
from bayeslmm.design.table import dotted_names
from bayeslmm.errors import DataError
from bayeslmm.families import Family, Request, Response
from bayeslmm.formula import parse
from bayeslmm.types import Array

NEW_RESPONSE, NEW_TRIALS = "new response", "trials of the new response"  # columns of a response that was an expression


def in_order_of_rows(values: Any, design: Design, name: str) -> Any:
    """Return values with labels in the order of the rows used, values without as they are.

    Raises
    ------
    DataError
        If labels are others than those of the rows.
    """
    labelled = isinstance(values, pd.Series | pd.DataFrame)
    if labelled and not values.index.equals(design.index):
        absent = design.index.difference(values.index)
        if len(absent) or not values.index.is_unique or not design.index.is_unique:
            raise DataError(
                f"The row labels of {name} are not those of the rows used: give it their index, design.index, or pass "
                "an array in the order of those rows."
            )
        values = values.loc[design.index]
    return values


def at_rows_of(values: Any, design: Design, name: str) -> Any:
    """Return values of the rows used, those with labels in the rows' order.

    Raises
    ------
    DataError
        If labels are others, or there is not a value for every row.
    """
    values = in_order_of_rows(values, design, name)
    if np.ndim(values) == 0 or len(values) != design.n:
        raise DataError(
            f"{name[0].upper()}{name[1:]} has shape {np.shape(values)}; it needs one value for each of {design.n} "
            "rows used."
        )
    return values


def read_family_response(values: Any, design: Design, family: Family, name: str) -> Response:
    """Return another response of the rows used, in the order of these, as the family reads it.

    Parameters
    ----------
    values
        What the formula's left side holds, (n,): numbers, or categories (their places, counted from zero, where the
        categories are texts). Where there are trials: successes of the same trials, (n,), or successes and failures,
        (n, 2); proportions where the formula has proportions with trials as weights.
    design, family
        Those of the fit.
    name
        What messages call the response.

    Raises
    ------
    DataError
        If a value lies outside the family's support; the message names the row.
    """
    outcome: Response = design.outcome
    array = values.array if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype) else np.asarray(values)
    if outcome.categories:
        if array.dtype.kind in "biuf" and isinstance(outcome.categories[0], str):
            array = _categories_at(array, outcome.categories, name)
        request = Request(name, design.index, weights=design.weights, categories=outcome.categories)
        return family.read(array, request)
    if array.ndim == 1 and not _has_trials(design, family):
        return family.read(array, Request(name, design.index, weights=design.weights))
    if array.ndim == 2:
        found = family.read(array, Request(name, design.index, weights=outcome.weights))
        if _is_proportion(design, family) and not np.array_equal(found.size, outcome.size):
            raise DataError(
                f"{name} has other trials than the weights of the model say: give successes of these trials."
            )
        return found
    if _is_proportion(design, family) and np.any(array != np.round(array)):
        return family.read(array, Request(name, design.index, weights=outcome.size))
    return family.read(array, Request(name, design.index, trials=outcome.size, weights=outcome.weights))


def with_family_response(design: Design, response: Response, family: Family) -> Design:
    """Return a design with another response, which its data and formula hold, too, so that it can be built again."""
    name, data, text = design.response, design.data, design.formula.text
    values: Any = response.y
    if response.categories:
        values = np.array(response.categories, dtype=object)[response.y.astype(int)]
    columns, left = {name: values}, ""
    if _is_proportion(design, family):
        columns = {name: values / response.size}
    elif _has_trials(design, family) or (family.trials(response) != family.trials(design.outcome)).any():
        columns, left = {NEW_RESPONSE: values, NEW_TRIALS: response.size}, f"p(`{NEW_RESPONSE}`, `{NEW_TRIALS}`)"
    elif name not in data.columns:
        columns, left = {NEW_RESPONSE: values}, f"`{NEW_RESPONSE}`"
    data = data.assign(**{column: _in_all_rows(found, design, response) for column, found in columns.items()})
    formula = design.formula
    if left:
        formula = parse(f"{left} ~ {text.split('~', 1)[1]}", tuple(design.functions), dotted_names(data))
        name = check_parts(formula, design.functions).response.label
    return replace(design, y=response.y, outcome=response, data=data, formula=formula, response=name)


def _in_all_rows(values: Any, design: Design, response: Response) -> Any:
    """Return a column of the data, missing in rows that are not used; categories keep their order."""
    kind = object if values.dtype == object else float
    column = np.full(len(design.data), None if kind is object else np.nan, dtype=kind)
    column[design.rows] = values
    return pd.Categorical(column, list(response.categories), ordered=True) if kind is object else column


def _categories_at(places: Array, categories: tuple[Any, ...], name: str) -> Any:
    """Return the categories at places counted from zero, as simulations give them."""
    known = np.isin(places, np.arange(len(categories)))
    if not known.all():
        listed = ", ".join(map(repr, categories))
        raise DataError(
            f"{name} holds {places[~known][0]:g}, which is no category: give one of {listed}, or its place counted "
            "from zero."
        )
    return np.array(categories, dtype=object)[places.astype(int)]


def _has_trials(design: Design, family: Family) -> bool:
    """Whether rows are successes among trials, as two columns or as proportions with weights."""
    return _is_pair(design) or _is_proportion(design, family)


def _is_pair(design: Design) -> bool:
    response = check_parts(design.formula, design.functions).response
    return response.text.split("(", 1)[0] not in design.functions and pair_of(response) is not None


def _is_proportion(design: Design, family: Family) -> bool:
    """Whether the left side is the share of successes, and the weights are the trials."""
    return not _is_pair(design) and bool((family.trials(cast(Response, design.outcome)) != 1).any())
