"""Which rows are left out together."""

from typing import Any

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.inference.options import generator
from bayeslmm.results.left_out_units import find_units, read_labels
from bayeslmm.types import Index

FOLDS = 10


def make_folds(design: Design, by: Any, k: int | None, seed: Any) -> tuple[Index, list[Any]]:
    """Return the fold of each row used, (n,), and what the folds are called.

    Parameters
    ----------
    design
        The rows.
    by
        "row": rows at random; "group", a grouping factor or a column: whole levels at random; or a label per row used,
        a Series matched by row labels, which are the folds.
    k
        Number of folds; None for ten, or as many as there are units. For labels it has no meaning.
    seed
        Of the random assignment.

    Raises
    ------
    OptionError
        If `by` names nothing, or there are too few units.
    DataError
        If labels do not fit the rows.
    """
    if not isinstance(by, str):
        if k is not None:
            raise OptionError(
                "k= is the number of folds drawn at random; folds given by labels are as many as they are."
            )
        codes, labels = read_labels(design, by, "by")
        return codes.astype(np.int64), list(labels)
    units = find_units(design, by, "by")
    codes = np.arange(design.n) if units.codes is None else np.asarray(units.codes)
    count = int(codes.max()) + 1
    folds = min(FOLDS, count) if k is None else k
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or not 2 <= folds <= count:
        raise OptionError(f"k={k!r} is not a number of folds from 2 to {count}, the number of units of {by!r}.")
    if folds == count and units.codes is not None:
        return codes.astype(np.int64), list(units.labels)
    places = generator(seed).permutation(count)
    fold_of_unit = np.empty(count, dtype=np.int64)
    fold_of_unit[places] = np.arange(count) * folds // count
    return fold_of_unit[codes], list(range(folds))
