"""Sums that were made apart, added up: levels of grouping factors are united, columns brought to the same origin."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.grouping import Grouping, combine_codes, make_grouping, split_codes
from bayeslmm.design.learning import Counts, Learned
from bayeslmm.design.levels import LevelSet
from bayeslmm.errors import ModelError
from bayeslmm.likelihood.partial_sums import PartialSums, SumsShape
from bayeslmm.streams.deciding import Streamed
from bayeslmm.streams.storage import plain
from bayeslmm.types import Array


def merge_sums(pieces: Sequence[Streamed]) -> Streamed:
    """Return the sums of all rows.

    Raises
    ------
    ModelError
        If formulas, weights, codings or constants of transforms differ.
    """
    first = pieces[0]
    for number, piece in enumerate(pieces[1:], start=2):
        _check_alike(first.learned, piece.learned, number)
    groupings = tuple(
        _united([piece.learned.groupings[k] for piece in pieces]) for k in range(len(first.learned.groupings))
    )
    counts = Counts()
    for piece in pieces:
        counts.merge(Counts({}, piece.learned.counts.kept, piece.learned.counts.dropped))
    shape = replace(first.sums.shape, levels=tuple(len(grouping.levels) for grouping in groupings))
    total = PartialSums(shape)
    for piece in pieces:
        total.merge(_recoded(piece, groupings, shape))
    return Streamed(replace(first.learned, groupings=groupings, counts=counts), first.recipes, total)


def _check_alike(first: Learned, other: Learned, number: int) -> None:
    where = f"The sums number {number} cannot be added to the first"
    for name, mine, theirs in (
        ("formula", *_formulas(first, other)),
        ("weights", first.plan.weights_column, other.plan.weights_column),
        ("offset", first.plan.offset_column, other.plan.offset_column),
        ("functions", sorted(first.plan.functions), sorted(other.plan.functions)),
    ):
        if mine != theirs:
            raise ModelError(f"{where}: their {name} is {theirs!r}, that of the first {mine!r}.")
    for text in dict.fromkeys([*first.memory.levels, *other.memory.levels]):
        levels, found = (learned.memory.levels.get(text) for learned in (first, other))
        if levels is None or found is None:
            labelled, labels = ("theirs", found) if levels is None else ("those of the first", levels)
            assert labels is not None
            raise ModelError(
                f"{where}: {text} has levels in {labelled}, {labels.tolist()}, and is a number in the others. Give the "
                "column the same type everywhere."
            )
        if found.tolist() != levels.tolist():
            raise ModelError(
                f"{where}: {text} has the levels {found.tolist()}, in the first {levels.tolist()}. State all levels in "
                f"the formula, as in C({text}, levels={levels.tolist()})."
            )
    for key, state in first.memory.states.items():
        if plain(state) != plain(other.memory.states.get(key)):
            raise ModelError(
                f"{where}: {key.split(' at ')[0]} learned other constants from its rows. Write the constants into the "
                "formula, as in I((x - 50) / 10) or bs(x, knots=[...], lower_bound=..., upper_bound=...)."
            )


def _formulas(first: Learned, other: Learned) -> tuple[str, str]:
    """Return the formulas as they were written, twice the same text where they differ in their spelling alone."""
    mine, theirs = first.plan.formula, other.plan.formula
    return mine.text, mine.text if replace(theirs, text=mine.text) == mine else theirs.text


def _united(groupings: Sequence[Grouping]) -> Grouping:
    parts = []
    for c, name in enumerate(groupings[0].columns):
        found = LevelSet(name)
        for grouping in groupings:
            found.add_levels(grouping.parts[c], grouping.parts[c])
        parts.append(found.levels())
    if len(parts) == 1:
        return make_grouping(groupings[0].columns, parts)
    codes = [_combinations(grouping, parts) for grouping in groupings]
    return make_grouping(groupings[0].columns, parts, np.unique(np.concatenate(codes)))


def _combinations(grouping: Grouping, parts: Sequence[pd.Index]) -> NDArray[np.int64]:
    old = split_codes(grouping.observed, grouping.parts)
    places = [new.get_indexer(mine)[code] for new, mine, code in zip(parts, grouping.parts, old, strict=True)]
    return combine_codes([place.astype(np.int32) for place in places], parts)


def _recoded(piece: Streamed, groupings: Sequence[Grouping], shape: SumsShape) -> PartialSums:
    sums, old = piece.sums, piece.sums.shape
    places = [_places(mine, new) for mine, new in zip(piece.learned.groupings, groupings, strict=True)]
    turn = np.eye(shape.width)
    turn[0, 1:-1] = (old.moved - shape.moved)[shape.others]
    turn[0, -1] = old.moved_y - shape.moved_y
    left = []
    for k, size in enumerate(shape.sizes):
        own = np.eye(size)
        if shape.constants[k] >= 0:
            own[shape.constants[k]] += old.moved_terms[k] - shape.moved_terms[k]
        left.append(own)
    found = PartialSums(shape)
    found.n, found.log_weights = sums.n, sums.log_weights
    found.gram = turn.T @ sums.gram @ turn
    found.low, found.high, found.binary = sums.low, sums.high, sums.binary
    for k, own in enumerate(left):
        with_own = _turned(own, sums.own(k), own)[:, :, shape.others_of(k)]
        found.by_level[k][places[k]] = np.concatenate([with_own, _turned(own, sums.with_fixed(k), turn)], axis=2)
    for (k, m), pairs in sums.pairs.items():
        keys, blocks = pairs.pairs()
        outer, inner = np.divmod(keys, old.levels[m])
        renumbered = places[k][outer].astype(np.int64) * shape.levels[m] + places[m][inner]
        order = np.argsort(renumbered)
        found.pairs[k, m].add_run(renumbered[order], _turned(left[k], blocks, left[m])[order])
    return found


def _places(mine: Grouping, new: Grouping) -> NDArray[np.intp]:
    if len(mine.columns) == 1:
        return np.asarray(new.parts[0].get_indexer(mine.parts[0]), dtype=np.intp)
    return np.searchsorted(new.observed, _combinations(mine, new.parts))


def _turned(left: Array, blocks: Array, right: Array) -> Array:
    return np.einsum("rs,jrt,tu->jsu", left, blocks, right, optimize=True)
