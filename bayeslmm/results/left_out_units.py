"""What is left out at a time: rows, the levels of a grouping factor, or those of a column."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import DataError, OptionError, suggest
from bayeslmm.results.draws_dataset import ROWS, row_labels
from bayeslmm.types import AnyArray


@dataclass(frozen=True, slots=True)
class Units:
    """What is left out at a time.

    Attributes
    ----------
    name
        "row", or the grouping factor or column whose levels are left out.
    dimension
        What arviz calls the units.
    labels
        One per unit, shape (U,).
    codes
        The unit of each row, shape (n,); None where every row is its own.
    """

    name: str
    dimension: str
    labels: AnyArray
    codes: AnyArray | None


def find_units(design: Design, unit: Any, argument: str = "unit") -> Units:
    """Return the units that a word names, "row", "group", a grouping factor or a column, or that labels of rows are.

    Parameters
    ----------
    design
        The rows.
    unit
        The word, or a label for each row used; a Series is matched by row labels.
    argument
        How messages call it.

    Raises
    ------
    OptionError
        If it names none, or "group" could mean several factors.
    DataError
        If the column has missing values in the rows used, or labels do not fit the rows.
    """
    if not isinstance(unit, str):
        codes, labels = read_labels(design, unit, argument)
        return Units("label", "label", labels, codes)
    if unit == "row":
        return Units("row", ROWS, np.asarray(row_labels(design)), None)
    factors = {term.factor: term for term in design.terms}
    if unit == "group":
        if len(factors) != 1:
            listed = ", ".join(map(repr, factors)) or "none"
            raise OptionError(
                f"{argument}='group' needs a model with one grouping factor; this one has {listed}: name the factor or "
                "a column of the data, whose levels are to be left out."
            )
        unit = next(iter(factors))
    if unit in factors:
        term = factors[unit]
        return Units(unit, unit, np.asarray(term.levels), np.asarray(term.codes))
    if unit not in design.data.columns:
        near = suggest(unit, [*factors, *map(str, design.data.columns)])
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise OptionError(
            f"{argument}={unit!r} is neither 'row', 'group', a grouping factor nor a column that the formula uses; "
            f"pass any other column itself.{hint}"
        )
    codes, labels = pd.factorize(design.data[unit].iloc[design.rows], sort=True)
    if (codes < 0).any():
        row = design.index[int(np.argmax(codes < 0))]
        raise DataError(f"The column {unit!r} is missing in row {row!r}: fill it, or leave out by another column.")
    if len(labels) < 2:
        raise OptionError(f"The column {unit!r} has one value only: nothing would be left to predict it from.")
    return Units(unit, unit, np.asarray(labels), codes)


def read_labels(design: Design, values: Any, argument: str) -> tuple[AnyArray, AnyArray]:
    """Return the codes (n,) and the sorted labels of one label for each row used.

    Raises
    ------
    DataError
        If there are too few or too many labels, some are missing, or a Series has other rows.
    OptionError
        If all labels are the same.
    """
    if isinstance(values, pd.Series) and not values.index.equals(design.index):
        if len(design.index.difference(values.index)) or not values.index.is_unique:
            raise DataError(
                f"The Series {argument}= has other row labels than the rows used: index it by the rows of the data."
            )
        values = values.loc[design.index]
    array = np.asarray(values)
    if array.shape != (design.n,):
        raise DataError(
            f"{argument}= has shape {array.shape}; there must be one label for each of the {design.n} rows used."
        )
    codes, labels = pd.factorize(array, sort=True)
    if (codes < 0).any():
        row = design.index[int(np.argmax(codes < 0))]
        raise DataError(f"{argument}= has no label for row {row!r}: every row used needs one.")
    if len(labels) < 2:
        raise OptionError(f"All rows have the same label in {argument}=: nothing would be left to fit the model to.")
    return codes, np.asarray(labels)
