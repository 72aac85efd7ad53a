"""Statements about parameters, such as ``treatment[High] - treatment[Low] = 0``: read with the formula's tokens.

Nothing is evaluated as code: numbers, names of parameters, ``+ - * /``, whole powers and brackets are all there is.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bayeslmm.errors import FormulaError, suggest
from bayeslmm.formula.tokens import Token, mark, tokenize

RELATIONS = ("=", "==", "<", "<=", ">", ">=")
LARGEST_POWER = 8

Evaluate = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A relation between two expressions of parameters.

    Attributes
    ----------
    text
        As written.
    relation
        "=", "<" or ">"; strictness makes no difference to a continuous quantity.
    parameters
        The parameters it speaks of, in order of appearance.
    quantity
        Left side less right side, from values of the parameters: anything that can be added, multiplied and divided.
    """

    text: str
    relation: str
    parameters: tuple[str, ...]
    quantity: Evaluate


def parse_statement(text: str, names: Collection[str]) -> Statement:
    """Read a statement about the parameters of those names.

    Raises
    ------
    FormulaError
        If it is no statement, or names an unknown parameter; the message marks the place.
    """
    if not isinstance(text, str):
        raise FormulaError(f"A statement is text such as 'Days > 0', not {type(text).__name__}.")
    reader = _Reader(text, tokenize(text), _spelled(names))
    left = reader.read_sum()
    relation = reader.take()
    if relation.text not in RELATIONS:
        raise mark(text, relation.start, relation.stop, "a statement compares, as in 'Days > 0' or 'a - b = 0'")
    right = reader.read_sum()
    if reader.next.kind != "end":
        raise mark(text, reader.next.start, reader.next.stop, "the statement should end here: give several one by one")
    if not reader.found:
        raise mark(text, 0, len(text), "this speaks of no parameter")
    found = tuple(dict.fromkeys(reader.found))
    return Statement(text, relation.text.replace("==", "=")[0], found, lambda values: left(values) - right(values))


def _spelled(names: Collection[str]) -> dict[tuple[str, ...], str]:
    """Return the names by their tokens; those that are no sequence of tokens can be written in backquotes only."""
    spelled = {}
    for name in names:
        with suppress(FormulaError):
            spelled[tuple(token.text for token in tokenize(name)[:-1])] = name
        spelled[(f"`{name}`",)] = name
    return spelled


class _Reader:
    def __init__(self, text: str, tokens: list[Token], names: Mapping[tuple[str, ...], str]) -> None:
        self.text, self.tokens, self.names = text, tokens, names
        self.longest = max((len(name) for name in names), default=0)
        self.place = 0
        self.found: list[str] = []

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.next
        self.place = min(self.place + 1, len(self.tokens) - 1)
        return token

    def read_sum(self) -> Evaluate:
        left = self.read_product()
        while self.next.text in ("+", "-") and self.next.kind == "operator":
            sign, right = self.take().text, self.read_product()
            left = _both(left, right, (lambda a, b: a + b) if sign == "+" else (lambda a, b: a - b))
        return left

    def read_product(self) -> Evaluate:
        left = self.read_signed()
        while self.next.text in ("*", "/") and self.next.kind == "operator":
            sign, right = self.take().text, self.read_signed()
            left = _both(left, right, (lambda a, b: a * b) if sign == "*" else (lambda a, b: a / b))
        return left

    def read_signed(self) -> Evaluate:
        if self.next.kind == "operator" and self.next.text in ("+", "-"):
            sign, inner = self.take().text, self.read_signed()
            return inner if sign == "+" else lambda values: -inner(values)
        return self.read_power()

    def read_power(self) -> Evaluate:
        base = self.read_operand()
        if self.next.text not in ("**", "^"):
            return base
        self.take()
        token = self.take()
        if token.kind != "number" or not token.text.isdigit() or not 1 <= int(token.text) <= LARGEST_POWER:
            raise mark(self.text, token.start, token.stop, f"a power is a whole number from 1 to {LARGEST_POWER}")
        power = int(token.text)

        def raised(values: Mapping[str, Any]) -> Any:
            once = base(values)
            product = once
            for _ in range(power - 1):
                product = product * once
            return product

        return raised

    def read_operand(self) -> Evaluate:
        token = self.next
        for size in range(min(self.longest, len(self.tokens) - 1 - self.place), 0, -1):
            name = self.names.get(tuple(t.text for t in self.tokens[self.place : self.place + size]))
            if name is not None:
                self.place += size
                self.found.append(name)
                return lambda values: values[name]
        if token.kind == "number":
            number = float(self.take().text)
            return lambda values: number
        if token.text == "(" and token.kind == "operator":
            self.take()
            inner = self.read_sum()
            closing = self.take()
            if closing.text != ")":
                raise mark(self.text, closing.start, closing.stop, "a bracket should close here")
            return inner
        raise self.unknown(token)

    def unknown(self, token: Token) -> FormulaError:
        if token.kind not in ("name", "quoted"):
            return mark(self.text, token.start, token.stop, "a parameter or a number is missing here")
        near = suggest(self.text[token.start :].split(" ")[0], self.names.values(), most=3)
        shown = near or list(dict.fromkeys(self.names.values()))[:12]
        said = "did you mean" if near else "the parameters are"
        listed = ", ".join(map(repr, shown))
        return mark(self.text, token.start, token.stop, f"there is no parameter {token.name!r}; {said} {listed}")


def _both(left: Evaluate, right: Evaluate, join: Callable[[Any, Any], Any]) -> Evaluate:
    return lambda values: join(left(values), right(values))
