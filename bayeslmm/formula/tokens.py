"""Formula text as tokens, with the bounds that keep every later step shallow."""

import keyword
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from bayeslmm.errors import FormulaError

MAX_LENGTH = 10_000  # characters of a formula
MAX_DEPTH = 50  # nested brackets
_MARK_WIDTH = 100  # characters of a long formula shown around a mark

Kind = Literal["name", "quoted", "number", "string", "operator", "end"]

_PATTERN = re.compile(
    r"""(?P<space>\s+)
    |(?P<quoted>`[^`\n\0]+`)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[^\W\d][\w\u0300-\u036f]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<operator>\*\*|\|\||//|<=|>=|==|!=|[~|+\-*/:^(),=<>\[\]%.])""",
    re.VERBOSE,
)
_DOTTED = re.compile(r"(?:[^\W\d]|\.(?!\d))[\w\u0300-\u036f.]*")  # a name as R writes it
_OPENING, _CLOSING = {"(": ")", "[": "]"}, {")": "(", "]": "["}
CONSTANTS = {"True", "False", "None"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of formula text.

    Attributes
    ----------
    kind
        What it is; ``"end"`` closes every list of tokens.
    text
        As written, backquotes and quotes included.
    start, stop
        Its place in the formula.
    """

    kind: Kind
    text: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The text without its quotes."""
        return self.text[1:-1] if self.kind in {"quoted", "string"} else self.text


def quoted(name: str) -> str:
    """Return a column name as a formula spells it, in backquotes where it is not a plain name."""
    plain = name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("__")
    return name if plain else f"`{name}`"


def mark(text: str, start: int, stop: int, message: str) -> FormulaError:
    """Return the error that shows the formula with carets under the offending part."""
    stop = max(stop, start + 1)
    first = max(0, start - _MARK_WIDTH // 2)
    last = min(len(text), first + _MARK_WIDTH)
    shown = re.sub(r"\s", " ", text[first:last])
    before, after = "… " if first else "", " …" if last < len(text) else ""
    carets = " " * (len(before) + start - first) + "^" * min(stop - start, max(1, last - start))
    return FormulaError(f"{message}\n  {before}{shown}{after}\n  {carets}")


def tokenize(text: str, columns: Collection[str] = ()) -> list[Token]:
    """Split formula text into tokens, the last of kind ``"end"``.

    Parameters
    ----------
    text
        A formula or an expression.
    columns
        Columns of the data with dots in their names: ``Sepal.Length`` is a name where the data have it, as in R;
        anywhere else a dot stays an operator, which has no meaning.

    Raises
    ------
    FormulaError
        If the text is too long, nests too deeply, has unbalanced brackets, or holds a character
        that has no meaning in a formula.
    """
    if not isinstance(text, str):
        raise FormulaError(f"A formula is text such as 'y ~ x + (1 | g)', not {type(text).__name__}.")
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"The formula has {len(text):,} characters; at most {MAX_LENGTH:,} are allowed.")
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        if (token := _dotted_name(text, place, columns)) is not None:
            tokens.append(token)
            place = token.stop
            continue
        match = _PATTERN.match(text, place)
        if match is None:
            raise _unreadable(text, place)
        kind = match.lastgroup
        if kind != "space":
            token = Token(kind, match.group(), place, match.end())  # type: ignore[arg-type]
            _check_token(text, token, tokens[-1] if tokens else None)
            tokens.append(token)
        place = match.end()
    _check_brackets(text, tokens)
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens


def _dotted_name(text: str, place: int, columns: Collection[str]) -> Token | None:
    match = _DOTTED.match(text, place) if columns else None
    if match is None or match.group() not in columns:
        return None
    return Token("quoted", f"`{match.group()}`", place, match.end())


def _unreadable(text: str, place: int) -> FormulaError:
    character = text[place]
    if character in "{}":
        reason = "braces would run Python code, which a formula may not do. Write arithmetic as I(x + 1)"
    elif character == "`":
        reason = "this backquote is never closed"
        if re.match(r"`[^`]+`", text[place:]):
            reason = "a name in backquotes cannot hold a line break or a null character: rename the column"
    elif character in "\"'":
        reason = "this quotation mark is never closed"
    else:
        reason = f"the character {character!r} has no meaning in a formula"
    return mark(text, place, place + 1, reason)


def _check_token(text: str, token: Token, previous: Token | None) -> None:
    touching = previous is not None and previous.stop == token.start
    if token.kind == "name" and touching and previous is not None and previous.kind == "number":
        word = previous.text + token.text
        raise mark(
            text, previous.start, token.stop,
            f"{word!r} is neither a number nor a name. A column with this name goes in backquotes: `{word}`",
        )  # fmt: skip
    if token.kind == "string" and touching and previous is not None and previous.kind == "name":
        raise mark(text, previous.start, token.stop, "strings with a prefix are not allowed in a formula")
    if token.kind == "name" and token.text.startswith("__"):
        raise mark(text, token.start, token.stop, "names with two leading underscores are not allowed in a formula")
    if (
        token.text == "in"
        and previous is not None
        and previous.text == "%"
        and text[token.stop : token.stop + 1] == "%"
    ):
        raise mark(text, previous.start, token.stop + 1, "%in% has no meaning here: write a:b")


def _check_brackets(text: str, tokens: Sequence[Token]) -> None:
    open_tokens: list[Token] = []
    for token in tokens:
        if token.kind != "operator":
            continue
        if token.text in _OPENING:
            open_tokens.append(token)
            if len(open_tokens) > MAX_DEPTH:
                raise mark(text, token.start, token.stop, f"brackets nest deeper than {MAX_DEPTH} levels")
        elif token.text in _CLOSING:
            if not open_tokens or open_tokens[-1].text != _CLOSING[token.text]:
                raise mark(text, token.start, token.stop, f"this {token.text!r} closes nothing")
            open_tokens.pop()
    if open_tokens:
        token = open_tokens[-1]
        raise mark(text, token.start, token.stop, f"this {token.text!r} is never closed")
