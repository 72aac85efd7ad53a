"""What a source of rows must offer, and how its batches are added up."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol, Self, TypeVar

import pandas as pd

from bayeslmm.errors import BayeslmmError, DataError

ROW_NUMBER = "(row)"  # name of an index that numbers the rows of a part
CHUNK_ROWS = 131_072  # rows of a batch; a few columns of them fit into a processor's cache


class Fold(Protocol):
    """Something that batches are added to, and that adds up: sums, levels, counts."""

    def add(self, frame: pd.DataFrame, part: str) -> None:
        """Add one batch of a part."""

    def merge(self, other: Self) -> None:
        """Add what other batches gave."""

    def packed(self) -> Self:
        """Return what can still be merged, without what only adding needs: it travels from one process to another."""
        ...


class Part(Protocol):
    """A piece of a source that is read by itself: a file, a partition."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Yield the columns in batches, row labels counting from the part's first row."""
        ...


F = TypeVar("F", bound=Fold)


class Rows(ABC):
    """A source of rows that can be read several times.

    A new source is a file with a subclass that has `columns` and `parts`, and a line in ``opening.py``.

    Attributes
    ----------
    may_change
        Whether it may give other rows every time, or none: then they are read twice and compared.
    """

    may_change = False

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """The pieces, in order."""

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the name of the part and a batch of it, part after part."""
        for part in self.parts:
            for frame in part.batches(columns, chunk_rows):
                yield part.name, frame

    def fold(self, start: Callable[[], F], columns: Sequence[str], chunk_rows: int) -> F:
        """Return what all batches add up to, from what `start` returns."""
        total = start()
        for part in self.parts:
            add_part(total, part, columns, chunk_rows)
        return total


def add_part(total: Fold, part: Part, columns: Sequence[str], chunk_rows: int) -> None:
    """Add the batches of one part.

    Raises
    ------
    DataError
        What is wrong with a batch, the part named first.
    """
    for frame in part.batches(columns, chunk_rows):
        with part_named(part.name):
            total.add(frame, part.name)


@contextmanager
def part_named(part: str) -> Iterator[None]:
    """Let an error about a batch say which part it is from."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{part}: {error}" if part else str(error)) from error


def numbered(frame: pd.DataFrame, first: int) -> pd.DataFrame:
    """Return a batch whose row labels count from `first`."""
    return frame.set_axis(row_numbers(first, len(frame)))


def runs(n: int, count: int) -> list[range]:
    """Return n things cut into at most `count` runs of about the same length."""
    ends = sorted({n * k // count for k in range(count + 1)})
    return [range(first, end) for first, end in pairwise(ends)]


def row_numbers(first: int, count: int) -> pd.RangeIndex:
    """Return the numbers of a batch's rows in their part as row labels."""
    return pd.RangeIndex(first, first + count, name=ROW_NUMBER)


INCOMPLETE = "The file may be incomplete: write it again."
BAD_QUERY = "Check the query."


def unreadable(part: str, error: Exception, remedy: str = INCOMPLETE) -> BayeslmmError:
    """Return the error for a part that its library cannot read, or that ends early."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{part} is there no longer: keep the files as they are until the model is built.")
    said = " ".join(str(error).split()).rstrip(". ")
    return DataError(f"{part} cannot be read: {said}. {remedy}")
