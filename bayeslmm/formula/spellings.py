"""Spellings of other languages and packages for what formulas have: each is rewritten as tokens, nothing is run."""

import re
from collections.abc import Collection, Sequence

from bayeslmm.formula.tokens import Token, tokenize
from bayeslmm.formula.vocabulary import ELEMENTWISE, NUMPY

_FACTOR = {"factor", "as_factor"}  # R's as.factor arrives in three tokens
_PLAIN_TEXT = re.compile(r"[^\\`\n]+")


def read_tokens(text: str, functions: Collection[str] = (), columns: Collection[str] = ()) -> list[Token]:
    """Return the tokens of a formula or an expression, other spellings rewritten.

    Parameters
    ----------
    text
        The formula or expression.
    functions
        Names of the user's functions, which hide spellings of the same name.
    columns
        Columns of the data with dots in their names.

    Raises
    ------
    FormulaError
        If the text cannot be split into tokens; see :func:`bayeslmm.formula.tokens.tokenize`.
    """
    return respell(tokenize(text, columns), functions)


def respell(tokens: Sequence[Token], functions: Collection[str] = ()) -> list[Token]:
    """Rewrite the spellings that mean something formulas have.

    ``np.log(x)`` is ``log(x)``, ``factor(x)`` and ``as.factor(x)`` are ``C(x)``, ``Q("my column")`` is the column in
    backquotes. A function of the user's with the same name is left alone.

    Parameters
    ----------
    tokens
        Of a formula or an expression.
    functions
        Names of the user's functions.
    """
    found: list[Token] = []
    place = 0
    while place < len(tokens):
        token, used = _respelled(tokens[place : place + 4], functions)
        found.append(token)
        place += used
    return found


def _respelled(tokens: Sequence[Token], functions: Collection[str]) -> tuple[Token, int]:
    first = tokens[0]
    if first.kind != "name":
        return first, 1
    texts = [token.text for token in tokens]
    if len(tokens) == 4 and texts[1] == "." and texts[3] == "(" and tokens[2].kind == "name":
        function = texts[2]
        if first.text in NUMPY and function in ELEMENTWISE and function not in functions:
            return Token("name", function, first.start, tokens[2].stop), 3
        if first.text == "as" and function == "factor":
            return Token("name", "C", first.start, tokens[2].stop), 3
    if texts[1:2] == ["("]:
        if first.text in _FACTOR and first.text not in functions:
            return Token("name", "C", first.start, first.stop), 1
        if first.text == "Q" and "Q" not in functions and texts[3:] == [")"] and _is_column_name(tokens[2]):
            return Token("quoted", f"`{tokens[2].name}`", first.start, tokens[3].stop), 4
    return first, 1


def _is_column_name(token: Token) -> bool:
    return token.kind == "string" and _PLAIN_TEXT.fullmatch(token.name) is not None
