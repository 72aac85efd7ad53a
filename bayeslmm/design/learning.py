"""What a formula learns from rows that are read in batches: levels, constants of transforms, counts.

An expression such as ``poly(scale(x), 2)`` can learn only after what stands in it, and the levels of ``a:b`` only after
those of a and b, so rows are read in rounds; most formulas need one. What the rounds gather adds up and does not depend
on the order of the batches.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.build import Parts
from bayeslmm.design.columns import Kind
from bayeslmm.design.design import Array
from bayeslmm.design.evaluate import Evaluator, Memory
from bayeslmm.design.functions import remembered
from bayeslmm.design.grouping import Grouping, combine_codes, make_grouping
from bayeslmm.design.levels import LevelCoder, LevelSet
from bayeslmm.design.rows import check_weights, complete_rows, keep_rows
from bayeslmm.design.table import used_columns
from bayeslmm.errors import BayeslmmError, DataError, ModelError
from bayeslmm.formula import Expression, Formula
from bayeslmm.types import Missing

SHIFTING = ("center", "scale", "standardize")  # they learn a mean and a standard deviation


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read of every batch.

    Attributes
    ----------
    formula, parts
        The formula and its checked expressions.
    columns
        The columns used.
    weights_column, offset_column
        Columns of the weights and the offset argument, or None.
    functions
        The user's own functions.
    missing
        What happens to rows with missing values.
    """

    formula: Formula
    parts: Parts
    columns: tuple[str, ...]
    weights_column: str | None
    offset_column: str | None
    functions: Mapping[str, Callable[..., Any]]
    missing: Missing

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All expressions, each once."""
        parts = self.parts
        terms = [parts.fixed, *parts.effects]
        found = [factor for group in terms for term in group for factor in term]
        return tuple({e.text: e for e in [parts.response, *found, *parts.offsets]}.values())


@dataclass(slots=True)
class Counts:
    """Rows read, kept and left out.

    Attributes
    ----------
    parts
        Rows of every part, by name.
    kept
        Rows used.
    dropped
        Rows left out, by reason.
    """

    parts: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def merge(self, other: "Counts") -> None:
        """Add other rows."""
        self.kept += other.kept
        for mine, theirs in ((self.parts, other.parts), (self.dropped, other.dropped)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count


def read_batch(plan: Plan, frame: pd.DataFrame, part: str, counts: Counts) -> tuple[pd.DataFrame, Array | None]:
    """Return the columns and rows of a batch that take part, and their weights, and count them."""
    frame = used_columns(frame, plan.columns)
    w = None if plan.weights_column is None else check_weights(plan.weights_column, frame[plan.weights_column])
    keep = complete_rows(frame, plan.missing)
    counts.parts[part] = counts.parts.get(part, 0) + len(frame)
    missing = len(frame) - int(np.count_nonzero(keep))
    if missing:
        counts.dropped["missing"] = counts.dropped.get("missing", 0) + missing
    if w is not None:
        without = int(np.count_nonzero(keep & (w == 0)))
        if without:
            counts.dropped["zero weight"] = counts.dropped.get("zero weight", 0) + without
        keep = keep & (w > 0)
        w = w[keep]
    frame = keep_rows(frame, keep)
    counts.kept += len(frame)
    return frame, w


class Lesson:
    """One round of reading: what the batches say about what is not yet known.

    Parameters
    ----------
    plan
        What to read.
    memory
        What is known already.
    pending
        Expressions still to be evaluated.
    columns
        Grouping columns whose levels are still to be found.
    combinations
        Interactions of grouping columns whose combinations are still to be found, with the levels of the columns.
    """

    def __init__(
        self,
        plan: Plan,
        memory: Memory,
        pending: Sequence[Expression],
        columns: Sequence[str],
        combinations: Mapping[tuple[str, ...], tuple[pd.Index, ...]],
    ) -> None:
        self.plan, self.memory, self.pending = plan, memory, tuple(pending)
        self.counts = Counts()
        self.groups = {name: LevelSet(name) for name in columns}
        self.parts_of = dict(combinations)
        self.coders = {
            name: LevelCoder(levels)
            for names, parts in combinations.items()
            for name, levels in zip(names, parts, strict=True)
        }
        self.combinations = {names: LevelSet(":".join(names)) for names in combinations}
        self.levels: dict[str, LevelSet] = {}
        self.gathered: dict[str, _Gathered] = {}
        self.waiting: set[str] = set()
        self.kinds: dict[str, Kind] = {}

    def add(self, frame: pd.DataFrame, part: str) -> None:
        """Learn from one batch."""
        index = frame.index
        frame, _ = read_batch(self.plan, frame, part, self.counts)
        if len(frame) == 0:
            return
        for name, found in self.groups.items():
            found.add(frame[name])
        for names, found in self.combinations.items():
            codes = [self.coders[name].codes(frame[name]) for name in names]
            found.add(pd.Series(np.unique(combine_codes(codes, self.parts_of[names]))))
        whole = len(frame) == len(index)
        positions = range(len(index)) if whole else frame.index.to_numpy() - index[0]
        evaluator = _Learner(frame, self.plan.functions, self.memory, True, index, positions, lesson=self)
        for expression in self.pending:
            try:
                evaluator.evaluate(expression)
            except _NotYetKnownError:
                self.waiting.add(expression.text)

    def merge(self, other: "Lesson") -> None:
        """Add what other batches said."""
        self.counts.merge(other.counts)
        self.waiting |= other.waiting
        for name, kind in other.kinds.items():
            self.note_kind(name, kind)
        merge_each(self.groups, other.groups)
        merge_each(self.combinations, other.combinations)
        merge_each(self.levels, other.levels)
        merge_each(self.gathered, other.gathered)

    def packed(self) -> "Lesson":
        """Return what the batches said, without what was known before."""
        found = copy(self)
        found.memory, found.coders, found.parts_of = Memory(), {}, {}
        return found

    def note_kind(self, name: str, kind: Kind) -> None:
        """Refuse a column that is numeric in one batch and a category in another."""
        if self.kinds.setdefault(name, kind) != kind:
            raise DataError(
                f"Column {name!r} holds {_KINDS[kind]} in one batch and {_KINDS[self.kinds[name]]} in another: write "
                "all files with the same types."
            )


def merge_each(mine: dict[Any, Any], theirs: Mapping[Any, Any]) -> None:
    """Merge values of one key; take over those of keys that are new."""
    for key, value in theirs.items():
        if key in mine:
            mine[key].merge(value)
        else:
            mine[key] = value


_KINDS: Mapping[Kind, str] = {"number": "numbers", "category": "labels", "boolean": "truth values"}


@dataclass(frozen=True, slots=True)
class Learned:
    """What the formula learned.

    Attributes
    ----------
    plan
        What was read.
    memory
        Levels and constants of expressions.
    groupings
        The grouping of every random term.
    counts
        Rows read and kept.
    """

    plan: Plan
    memory: Memory
    groupings: tuple[Grouping, ...]
    counts: Counts


def learn(plan: Plan, read: Callable[[Callable[[], Lesson]], Lesson]) -> Learned:
    """Read the rows in rounds until everything is known.

    Parameters
    ----------
    plan
        What to read.
    read
        Adds all batches to what a function returns, as ``Rows.fold`` does.
    """
    memory, counts = Memory(), None
    bars = plan.formula.bars
    columns: dict[str, pd.Index] = {}
    observed: dict[tuple[str, ...], NDArray[np.int64]] = {}
    pending: tuple[Expression, ...] = plan.expressions
    while True:
        wanted = tuple(dict.fromkeys(name for bar in bars for name in bar.factors if name not in columns))
        ready = {
            bar.factors: tuple(columns[name] for name in bar.factors)
            for bar in bars
            if len(bar.factors) > 1 and bar.factors not in observed and all(name in columns for name in bar.factors)
        }
        lesson = read(_Start(plan, memory, pending, wanted, ready))
        counts = counts or lesson.counts
        _check_kept(counts, plan)
        columns |= {name: found.levels() for name, found in lesson.groups.items()}
        observed |= {names: found.levels().to_numpy() for names, found in lesson.combinations.items()}
        memory = Memory(
            {**memory.states, **{key: gathered.state() for key, gathered in lesson.gathered.items()}},
            {**memory.levels, **{text: found.levels() for text, found in lesson.levels.items()}},
        )
        pending = tuple(e for e in plan.expressions if e.text in lesson.waiting)
        interactions = [bar.factors for bar in bars if len(bar.factors) > 1]
        if not pending and all(names in observed for names in interactions):
            break
    groupings = tuple(
        make_grouping(bar.factors, [columns[n] for n in bar.factors], observed.get(bar.factors)) for bar in bars
    )
    return Learned(plan, memory, groupings, counts)


@dataclass(frozen=True, slots=True)
class _Start:
    """Begins a round, here or in a worker."""

    plan: Plan
    memory: Memory
    pending: tuple[Expression, ...]
    columns: tuple[str, ...]
    combinations: Mapping[tuple[str, ...], tuple[pd.Index, ...]]

    def __call__(self) -> Lesson:
        return Lesson(self.plan, self.memory, self.pending, self.columns, self.combinations)


def _check_kept(counts: Counts, plan: Plan) -> None:
    total = sum(counts.parts.values())
    if total == 0:
        raise DataError("The data have no rows.")
    if counts.kept == 0:
        dropped = ", ".join(f"{count} for {reason}" for reason, count in counts.dropped.items())
        raise DataError(
            f"No rows are left of {total}: dropped {dropped}. The columns used are {', '.join(plan.columns)}."
        )


class _NotYetKnownError(BayeslmmError):
    """An expression waits for a constant of the next round."""


@dataclass(frozen=True, slots=True)
class _Learner(Evaluator):
    """Evaluates expressions of a batch and notes what must be learned."""

    lesson: Lesson = field(kw_only=True)

    def kind(self, column: pd.Series) -> Kind:
        """Return how a column enters, the same in all batches."""
        kind = Evaluator.kind(self, column)
        self.lesson.note_kind(str(column.name), kind)
        return kind

    def fixed_levels(self, expression: Expression, value: pd.Categorical) -> pd.Categorical:
        """Note the levels of a category."""
        order = value.categories
        if len(expression.columns) == 1:
            dtype = self.frame[expression.columns[0]].dtype
            if isinstance(dtype, pd.CategoricalDtype):
                known = dtype.categories[dtype.categories.isin(order)]
                order = dtype.categories if known.equals(order) else order
        self.lesson.levels.setdefault(expression.text, LevelSet(expression.label)).add_levels(value.categories, order)
        return value

    def state(self, key: str) -> dict[str, Any]:
        """Refuse what cannot be learned from batches."""
        raise ModelError(
            f"{key.split(' at ')[0]} learns from all rows at once, which a stream does not have: compute the column "
            "beforehand, or pass the rows as a frame."
        )

    def transform(self, name: str, key: str, first: Any, others: Sequence[Any], words: Mapping[str, Any]) -> Any:
        """Return the value where its constants are known; else gather what they are learned from."""
        if key in self.memory.states:
            return remembered(name)(first, *others, _state=deepcopy(self.memory.states[key]), **words)
        kind = _Moments if name in SHIFTING else _Values
        gathered = self.lesson.gathered.setdefault(key, kind(name, tuple(others), dict(words)))
        gathered.add(np.asarray(first, dtype=np.float64))
        raise _NotYetKnownError


class _Gathered:
    """Values of the argument of a remembered function."""

    def __init__(self, name: str, others: tuple[Any, ...], words: dict[str, Any]) -> None:
        self.name, self.others, self.words = name, others, words

    def add(self, values: Array) -> None:
        """Add those of a batch."""
        raise NotImplementedError

    def merge(self, other: Any) -> None:
        """Add those of other batches."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what the function learns."""
        raise NotImplementedError


class _Values(_Gathered):
    """All values, 8 bytes a row: a basis of splines or polynomials needs them."""

    def __init__(self, name: str, others: tuple[Any, ...], words: dict[str, Any]) -> None:
        super().__init__(name, others, words)
        self.values: list[Array] = []

    def add(self, values: Array) -> None:
        """Add those of a batch."""
        self.values.append(values.copy())

    def merge(self, other: "_Values") -> None:
        """Add those of other batches."""
        self.values += other.values

    def state(self) -> dict[str, Any]:
        """Return what the function learns from all values, sorted, so that their order does not matter."""
        state: dict[str, Any] = {}
        values = np.concatenate(self.values)
        remembered(self.name)(np.sort(values, axis=0), *self.others, _state=state, **self.words)
        return state


class _Moments(_Gathered):
    """Mean and sum of squares about it."""

    def __init__(self, name: str, others: tuple[Any, ...], words: dict[str, Any]) -> None:
        super().__init__(name, others, words)
        self.n, self.mean, self.squares = 0, np.zeros(()), np.zeros(())

    def add(self, values: Array) -> None:
        """Add those of a batch."""
        mean = values.mean(axis=0)
        self._merge(len(values), mean, ((values - mean) ** 2).sum(axis=0))

    def merge(self, other: "_Moments") -> None:
        """Add those of other batches."""
        self._merge(other.n, other.mean, other.squares)

    def _merge(self, n: int, mean: Array, squares: Array) -> None:
        total = self.n + n
        apart = mean - self.mean
        self.squares = self.squares + squares + apart**2 * (self.n * n / total)
        self.mean = self.mean + apart * (n / total)
        self.n = total

    def state(self) -> dict[str, Any]:
        """Return what the function learns: two rows with these moments teach it the same as all."""
        state: dict[str, Any] = {}
        with np.errstate(all="ignore"):
            remembered(self.name)(np.stack([self.mean, self.mean]), *self.others, _state=state, **self.words)
        if isinstance(state["scale"], np.ndarray | float) and not self._is_given("scale", "rescale", 1):
            about = 0.0 if state["center"] is None else state["center"]
            squares = self.squares + self.n * (self.mean - about) ** 2
            state["scale"] = np.sqrt(squares / (self.n - state["ddof"]))
        return state

    def _is_given(self, *names: str | int) -> bool:
        """Whether the scale is a number of the formula, not learned."""
        for name in names:
            value = self.words.get(name, True) if isinstance(name, str) else (*self.others, True, True)[name]
            if not isinstance(value, bool):
                return True
        return False
