"""Functions of the user's own on rows that come in batches: a row's value must not depend on the rows beside it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bayeslmm.design.batches import BatchColumns, BatchReader
from bayeslmm.design.learning import Counts
from bayeslmm.errors import ModelError
from bayeslmm.types import Array

ROUNDING = 1e-9  # relative; vector instructions round elements by their place


def check_own_functions(reader: BatchReader, frame: pd.DataFrame, whole: BatchColumns) -> None:
    """Refuse functions that look at several rows, such as ``x - x.mean()``: batches would change the model.

    Parameters
    ----------
    reader
        Reads batches as columns; another than read `whole`, which lasts until its reader reads again.
    frame
        A batch.
    whole
        Its columns, which are compared with those of its first half alone.

    Raises
    ------
    ModelError
        If they differ, with the column.
    """
    if not reader.learned.plan.functions or len(frame) < 2:
        return
    half = reader.read(frame.iloc[: len(frame) // 2], "", Counts())
    if half is None:
        return
    for name, alone, together in _pairs(reader, half, whole):
        if not np.allclose(alone, together[: len(alone)], rtol=ROUNDING, atol=ROUNDING * np.abs(together).max()):
            raise ModelError(
                f"{name} has other values when a function of your own gets other rows beside these, and the rows of a "
                "stream come in batches: compute the column beforehand, or write the constants into the function."
            )


def _pairs(reader: BatchReader, half: BatchColumns, whole: BatchColumns) -> Iterator[tuple[str, Array, Array]]:
    yield reader.learned.plan.parts.response.label, half.y, whole.y
    yield "The offset", half.net, whole.net
    matrices = zip((half.X, *half.columns), (whole.X, *whole.columns), strict=True)
    recipes = (reader.recipes.fixed, *reader.recipes.effects)
    for recipe, (alone, together) in zip(recipes, matrices, strict=True):
        yield from zip(recipe.names, alone.T, together.T, strict=True)
