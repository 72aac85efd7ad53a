"""What a stored record may hold: checked key by key before anything is made of its values.

A schema is built from the classes below. Each says what it expects in words and raises a StorageError that names the
file and the key. Lists and texts are as long as the file that holds them; numbers that sizes are made of have bounds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bayeslmm.errors import StorageError
from bayeslmm.inference.draws import SUMMARY

INT64 = 2**63 - 1
DEEPEST = 12  # levels of nesting of a value that is only kept


class Schema(Protocol):
    """What a value of a record must be."""

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        ...

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise a StorageError unless a value is what it must be."""
        ...


def refuse(value: Any, file: str, key: str, expected: str) -> StorageError:
    """Return the error of a value that is not what it must be."""
    simple = value is None or isinstance(value, str | float | bool)
    text = repr(value) if simple or (isinstance(value, int) and abs(value) <= INT64) else ""
    shown = text if text and len(text) <= 60 else f"of type {type(value).__name__}"
    return StorageError(f"{file}: '{key}' is {shown}; it must be {expected}.")


@dataclass(frozen=True, slots=True)
class Text:
    """A text; one of some, where they are listed."""

    choices: Sequence[str] = ()

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return f"one of {', '.join(map(repr, self.choices))}" if self.choices else "a text"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is one that can be written as UTF-8, too."""
        if not isinstance(value, str) or (self.choices and value not in self.choices):
            raise refuse(value, file, key, self.expected)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise refuse(value, file, key, "a text of whole characters") from None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    low: int = 0
    high: int = INT64

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return f"a whole number from {self.low} to {self.high}"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is one."""
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise refuse(value, file, key, self.expected)


@dataclass(frozen=True, slots=True)
class Number:
    """A number, within the range of double precision; positive and finite on request."""

    positive: bool = False

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return "a finite positive number" if self.positive else "a number"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is one."""
        good = isinstance(value, float) or (
            isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1024
        )
        if not good or (self.positive and not (value > 0 and math.isfinite(value))):
            raise refuse(value, file, key, self.expected)


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    expected: str = "true or false"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is one."""
        if not isinstance(value, bool):
            raise refuse(value, file, key, self.expected)


@dataclass(frozen=True, slots=True)
class Either:
    """A value of one of several kinds."""

    kinds: tuple[Schema, ...]

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return " or ".join(kind.expected for kind in self.kinds)

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is of one kind."""
        for kind in self.kinds:
            try:
                return kind.check(value, file, key)
            except StorageError:
                continue
        raise refuse(value, file, key, self.expected)


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value that may be null."""

    kind: Schema

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return f"{self.kind.expected} or null"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is null or of its kind."""
        if value is not None:
            self.kind.check(value, file, key)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values of one kind, of any length or of one."""

    kind: Schema
    length: int | None = None

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return f"a list{'' if self.length is None else f' of {self.length}'}, each {self.kind.expected}"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is one."""
        if not isinstance(value, list) or (self.length is not None and len(value) != self.length):
            raise refuse(value, file, key, self.expected)
        for item in value:
            self.kind.check(item, file, key)


@dataclass(frozen=True, slots=True)
class Named:
    """A table of any names, with values of one kind."""

    kind: Schema

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return f"a table, each value {self.kind.expected}"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it is one."""
        if not isinstance(value, dict):
            raise refuse(value, file, key, self.expected)
        for name, item in value.items():
            Text().check(name, file, key)
            self.kind.check(item, file, f"{key}.{name}")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of known keys; other keys are let pass where it is open, their values plain."""

    required: Mapping[str, Schema] = field(default_factory=dict)
    optional: Mapping[str, Schema] = field(default_factory=dict)
    is_open: bool = False

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        return "a table"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise unless it has every required key, no unknown one, and the right kind under each."""
        if not isinstance(value, dict):
            raise refuse(value, file, key, self.expected)
        prefix = f"{key}." if key else ""
        for name in self.required:
            if name not in value:
                raise StorageError(f"{file}: the key '{prefix}{name}' is missing.")
        for name, item in value.items():
            kind = self.required.get(name) or self.optional.get(name)
            if kind is None and not self.is_open:
                known = ", ".join([*self.required, *self.optional])
                raise StorageError(f"{file}: the key '{prefix}{name}' has no meaning; known are {known}.")
            (kind or Plain()).check(item, file, f"{prefix}{name}")


@dataclass(frozen=True, slots=True)
class Plain:
    """Any text, number, truth value or null, and lists and tables of them: what is only kept or shown."""

    depth: int = DEEPEST
    expected: str = "a text, a number, true, false, null, or lists and tables of them"

    def check(self, value: Any, file: str, key: str) -> None:
        """Raise where it is nested too deeply, or holds a number or text out of range."""
        if value is None or isinstance(value, bool):
            return
        if isinstance(value, str):
            Text().check(value, file, key)
        elif isinstance(value, int | float):
            Number().check(value, file, key)
        elif self.depth == 0:
            raise refuse(value, file, key, f"nested less than {DEEPEST} levels deep")
        else:
            inner = ListOf(Plain(self.depth - 1)) if isinstance(value, list) else Named(Plain(self.depth - 1))
            inner.check(value, file, key)


SCALAR = Either((Flag(), Maybe(Number()), Text()))
PRIORS = Maybe(Either((Text(), Named(Text()))))
CHECKSUMS = Named(Text())
# Facts about a run that something is made of; all others are only kept.
COUNT, MEASURE, SENTENCES = Maybe(Whole()), Maybe(Number()), ListOf(Text())
RUN = Table(
    optional={
        "messages": SENTENCES,
        "failures": SENTENCES,
        "doubts": SENTENCES,
        "kernel_failures": COUNT,
        "kernel_evaluations": COUNT,
        "tune": COUNT,
        "seed": COUNT,
        "probes": Whole(1),
        "log_density_error": MEASURE,
        "k_hat": MEASURE,
        "effective_size": MEASURE,
        "effective_points": MEASURE,
        "largest_weight": MEASURE,
        "seconds": MEASURE,
        "store": Maybe(Either((ListOf(Text()), Text((SUMMARY,))))),
        "sampler": Maybe(Text()),
        "parametrization": Maybe(Text()),
        "elbo": ListOf(Number()),
    },
    is_open=True,
)
