"""lme4's formula grammar, read by recursive descent over bounded tokens.

From loosest to tightest: ``~``, ``|`` and ``||``, ``+`` and ``-``, ``*`` and ``/``, ``:``, ``**``.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from bayeslmm.errors import FormulaError
from bayeslmm.formula import algebra
from bayeslmm.formula.algebra import INTERCEPT, Sum, Term
from bayeslmm.formula.expression import read_expression
from bayeslmm.formula.formula import BAR_COVARIANCES, Bar, Formula
from bayeslmm.formula.spellings import read_tokens
from bayeslmm.formula.tokens import CONSTANTS, Token, mark, quoted
from bayeslmm.formula.vocabulary import FUNCTIONS, RESPONSE_PAIRS, attribute_remedy, unknown_function

_T = TypeVar("_T")

REMEMBERED = 128  # formulas that need not be read again
_EXAMPLE = "for example 'y ~ x + (1 | g)'"


def parse(text: str, functions: Collection[str] = (), columns: Collection[str] = ()) -> Formula:
    """Read a mixed-model formula in lme4's grammar.

    Nothing is evaluated and no data are needed. Every expression is checked: only column names, constants,
    arithmetic and the functions of :data:`bayeslmm.formula.FUNCTIONS` pass.

    Parameters
    ----------
    text
        Such as ``"Reaction ~ 1 + Days + (1 + Days | Subject)"``.
    functions
        Names of further functions the user supplies.
    columns
        Columns of the data with dots in their names, which may stand without backquotes, as in R.

    Raises
    ------
    FormulaError
        If the text is no such formula; the message marks the place and says what to write.

    References
    ----------
    Bates, Mächler, Bolker and Walker (2015), Fitting linear mixed-effects models using lme4, table 2.
    """
    if not isinstance(text, str):
        return _read(text, functions, columns)
    return _remembered(text, tuple(functions), tuple(columns))


@lru_cache(maxsize=REMEMBERED)
def _remembered(text: str, functions: tuple[str, ...], columns: tuple[str, ...]) -> Formula:
    # Studies, folds and simulations build one model many times.
    return _read(text, functions, columns)


def _read(text: str, functions: Collection[str], columns: Collection[str]) -> Formula:
    tokens = read_tokens(text, functions, columns)
    tildes = [token for token in tokens if token.text == "~" and token.kind == "operator"]
    if not tildes:
        raise mark(text, 0, len(text), f"a formula needs a ~ between response and predictors, {_EXAMPLE}")
    if len(tildes) > 1:
        raise mark(text, tildes[1].start, tildes[1].stop, "a formula has only one ~")
    split = tokens.index(tildes[0])
    left, right = tokens[:split], tokens[split + 1 :]
    if not left:
        raise mark(text, tildes[0].start, tildes[0].stop, f"the response is missing before ~, {_EXAMPLE}")
    if right[0].kind == "end":
        raise mark(text, tildes[0].start, tildes[0].stop, f"the predictors are missing after ~, {_EXAMPLE}")
    response = _read_response(text, left, functions)
    return _assemble(text, response, _Reader(text, right, functions).read_predictors())


def split_terms(effects: str, functions: Collection[str] = ()) -> list[tuple[str, ...]]:
    """Return the terms of a sum such as ``Formula.fixed`` as tuples of factors; ``()`` is the intercept."""
    return _with_intercept(_Reader(effects, read_tokens(effects, functions), functions).read_predictors())


def _read_response(text: str, tokens: list[Token], functions: Collection[str]) -> str:
    for token in tokens:
        if token.kind == "operator" and token.text in {"|", "||", ":"}:
            raise mark(text, token.start, token.stop, f"{token.text} has no place in the response, left of ~")
    response = read_expression(text, tokens, [*functions, *RESPONSE_PAIRS])
    if not response.columns:
        raise mark(text, tokens[0].start, tokens[-1].stop, "the response uses no column of the data")
    return response.text


def _assemble(text: str, response: str, predictors: Sum) -> Formula:
    seen: set[Bar] = set()
    for bar in predictors.bars:
        if bar in seen:
            raise FormulaError(f"The random term ({bar.effects} | {bar.factor}) is written twice: leave one out.")
        seen.add(bar)
    return Formula(
        text=text,
        response=response,
        fixed=_spell(_with_intercept(predictors)),
        bars=tuple(predictors.bars),
        offsets=tuple(predictors.offsets),
        learner=tuple(dict.fromkeys(predictors.learner)),
    )


def _with_intercept(predictors: Sum) -> list[Term]:
    terms = predictors.terms
    if not predictors.drops_intercept and INTERCEPT not in terms:
        terms = [INTERCEPT, *terms]
    return algebra.by_order(terms)


def _spell(terms: list[Term]) -> str:
    intercept = "1" if INTERCEPT in terms else "0"
    return " + ".join([intercept, *(":".join(term) for term in terms if term)])


@dataclass(slots=True)
class _Reader:
    """Recursive descent over the tokens right of the tilde."""

    text: str
    tokens: list[Token]
    functions: Collection[str]
    place: int = 0

    @property
    def next(self) -> Token:
        """The token to be read."""
        return self.tokens[self.place]

    def at(self, *operators: str) -> bool:
        """Whether the next token is one of some operators."""
        return self.next.kind == "operator" and self.next.text in operators

    def take(self) -> Token:
        """Return the next token and move past it."""
        token = self.next
        self.place += 1
        return token

    def refuse(self, token: Token, message: str) -> FormulaError:
        """Return an error that marks a token in the formula."""
        return mark(self.text, token.start, token.stop, message)

    def read_predictors(self) -> Sum:
        """Read all that stands right of the tilde."""
        first = self.next
        total = self.read_sum()
        if self.at("|", "||"):
            total = self.read_bare_bar(first, total)
        if self.next.kind != "end":
            raise self.unexpected()
        return total

    def unexpected(self) -> FormulaError:
        """Return the error for a token that cannot stand where it does, with a remedy."""
        token = self.next
        if token.text == "." and self.place and self.tokens[self.place - 1].kind in {"name", "quoted"}:
            name = self.tokens[self.place + 1].text
            return self.refuse(token, attribute_remedy(self.tokens[self.place - 1].name, name))
        if token.text == "%":
            return self.refuse(token, "% has no meaning between terms: arithmetic goes inside I(...), as in I(x % 2)")
        if token.kind == "operator":
            return self.refuse(token, f"{token.text!r} has no meaning here; arithmetic goes inside I(...)")
        message = f"an operator such as + is missing before {token.text!r}"
        if self.place and token.kind == self.tokens[self.place - 1].kind == "name":
            message += f", or backquotes if a column is so named: `{self.tokens[self.place - 1].text} {token.text}`"
        return self.refuse(token, message)

    def read_bare_bar(self, first: Token, effects: Sum) -> Sum:
        """Read a random term written without parentheses, if nothing else stands beside it."""
        # lme4 reads `y ~ x + 1 | g` as one bar around everything; that is rarely what was meant.
        token = self.next
        if len(effects.terms) != 1 or not effects.only_terms:
            raise self.refuse(token, f"put a random term in parentheses, {_EXAMPLE}")
        return self.read_bar(first, effects)

    def read_sum(self) -> Sum:
        """Read terms joined by ``+`` and ``-``."""
        total = Sum()
        negative = self.take().text == "-" if self.at("+", "-") else False
        self.accumulate(total, negative)
        while self.at("+", "-"):
            self.accumulate(total, self.take().text == "-")
        return total

    def accumulate(self, total: Sum, negative: bool) -> None:
        """Read a product and add it to a sum, or take it away."""
        first = self.next
        part = self.read_product()
        if not negative:
            self.bounded(first, lambda: total.add(part))
        elif part.bars or part.offsets or part.learner:
            raise self.refuse(first, "random terms, offsets and bart(...) can only be added")
        else:
            total.subtract(part)

    def bounded(self, token: Token, action: Callable[[], _T]) -> _T:
        """Expand terms; where they grow too many, refuse the token."""
        try:
            return action()
        except algebra.TooLargeError as error:
            raise self.refuse(token, f"{error}: name the terms you need") from None

    def read_product(self) -> Sum:
        """Read interactions joined by ``*`` and ``/``."""
        first = self.next
        left = self.read_interaction()
        while self.at("*", "/"):
            operator = self.take()
            right = self.operand(self.read_interaction, operator)
            self.check_operands(operator, first, left, right)
            join = algebra.cross if operator.text == "*" else algebra.nest
            left = Sum(self.bounded(operator, lambda: join(left.terms, right.terms)))  # noqa: B023
        return left

    def read_interaction(self) -> Sum:
        """Read powers joined by ``:``."""
        first = self.next
        left = self.read_power()
        while self.at(":"):
            operator = self.take()
            right = self.operand(self.read_power, operator)
            self.check_operands(operator, first, left, right)
            left = Sum(self.bounded(operator, lambda: algebra.interact(left.terms, right.terms)))  # noqa: B023
        return left

    def operand(self, read: Callable[[], Sum], operator: Token) -> Sum:
        """Read what follows an operator between terms, which is no number."""
        if self.next.kind == "number":
            raise self.refuse(
                self.next,
                f"a number cannot follow {operator.text!r} between terms: arithmetic goes inside I(...), "
                "as in I(x / 10)",
            )
        return read()

    def check_operands(self, operator: Token, first: Token, left: Sum, right: Sum) -> None:
        """Refuse operands that can only be added."""
        if left.only_terms and right.only_terms:
            return
        raise self.refuse(
            operator,
            "random terms, offsets, bart(...), 0 and -1 can only be added",
        )

    def read_power(self) -> Sum:
        """Read a factor, and the exponent behind it if there is one."""
        first = self.next
        base = self.read_factor()
        if not self.at("**", "^"):
            return base
        operator = self.take()
        exponent = self.take()
        if exponent.kind != "number" or not exponent.text.isdigit() or not 0 < int(exponent.text[:4]) < 1000:
            raise self.refuse(exponent, "the exponent must be a whole number from 1 to 999")
        self.check_operands(operator, first, base, Sum())
        if len(base.terms) == 1:
            name = self.text[first.start : operator.start].strip()
            raise mark(
                self.text, first.start, exponent.stop,
                f"between terms a power means interactions, so this would be {name} alone: "
                f"write I({name}**{exponent.text}), or poly({name}, {exponent.text})",
            )  # fmt: skip
        return Sum(self.bounded(operator, lambda: algebra.power(base.terms, int(exponent.text))))

    def read_factor(self) -> Sum:
        """Read a name, a constant, a call or a group in parentheses."""
        token = self.next
        if self.at("("):
            return self.read_group()
        if token.kind == "number":
            return self.read_constant()
        if token.kind == "quoted":
            self.take()
            return Sum([(quoted(token.name),)])
        if token.kind == "name":
            return self.read_name()
        if token.text == ".":
            raise self.refuse(token, "a dot does not stand for all columns here: name the columns")
        if token.kind == "end" or self.at(")", "|", "||", "+", "-", "*", "/", ":", "**", "^"):
            raise self.refuse(token, f"a term is missing here, {_EXAMPLE}")
        if token.kind == "string":
            raise self.refuse(token, f"a text is no term; a column's name goes in backquotes: `{token.name}`")
        raise self.unexpected()

    def read_constant(self) -> Sum:
        """Read 1 or 0."""
        token = self.take()
        if token.text == "1":
            return Sum([INTERCEPT])
        if token.text == "0":
            return Sum(drops_intercept=True)
        raise self.refuse(
            token,
            "only 1 (intercept) and 0 (none) are terms; arithmetic goes inside I(...), as in I(2 * x)",
        )

    def read_group(self) -> Sum:
        """Read parentheses: a random term, or a sum."""
        self.take()
        first = self.next
        total = self.read_sum()
        if self.at("|", "||"):
            total = self.read_bar(first, total)
        if not self.at(")"):
            raise self.unexpected()
        self.take()
        return total

    def read_name(self) -> Sum:
        """Read a column, or a call with its arguments."""
        start = self.place
        token = self.take()
        if token.text in CONSTANTS:
            raise self.refuse(token, f"{token.text} is no column")
        if not self.at("("):
            return Sum([(quoted(token.text),)])
        inside = self.read_arguments()
        if token.text == "offset":
            return Sum(offsets=[self.expression(inside, token)])
        if token.text == "bart":
            return Sum(learner=self.learner_columns(inside, token))
        if token.text not in FUNCTIONS and token.text not in self.functions:
            raise self.refuse(token, unknown_function(token.text, frozenset(self.functions)))
        return Sum([(self.expression(self.tokens[start : self.place], token),)])

    def read_arguments(self) -> list[Token]:
        """Return the tokens between the brackets of a call and move past them."""
        # Brackets were found to balance when the text was split into tokens.
        start = self.place + 1
        depth = 0
        while True:
            token = self.take()
            if token.kind == "operator" and token.text in {"(", "["}:
                depth += 1
            elif token.kind == "operator" and token.text in {")", "]"}:
                depth -= 1
                if depth == 0:
                    return self.tokens[start : self.place - 1]

    def expression(self, tokens: list[Token], token: Token) -> str:
        """Return the text of a checked expression, which uses a column at least."""
        if not tokens:
            raise self.refuse(token, f"{token.text}() needs a column")
        expression = read_expression(self.text, tokens, self.functions)
        if not expression.columns:
            raise mark(self.text, tokens[0].start, tokens[-1].stop, "this uses no column of the data")
        return expression.text

    def learner_columns(self, tokens: list[Token], token: Token) -> list[str]:
        """Return the columns named inside ``bart(...)``."""
        names = tokens[0::2]
        if len(tokens) % 2 == 0 or any(name.kind not in {"name", "quoted"} for name in names):
            raise self.refuse(token, "bart(...) holds column names joined with +, as in bart(x1 + x2)")
        for separator in tokens[1::2]:
            if separator.text not in {"+", ","}:
                raise self.refuse(separator, "inside bart(...) column names are joined with +")
        return [name.name for name in names]

    def read_bar(self, first: Token, effects: Sum) -> Sum:
        """Read the bar and the grouping factors right of it."""
        bar = self.take()
        if effects.bars or effects.offsets or effects.learner:
            raise self.refuse(first, "left of the bar stand terms only, as in (1 + x | g)")
        terms = _with_intercept(effects)
        if not terms:
            raise mark(
                self.text,
                first.start,
                bar.stop,
                "no effects left of the bar: write (1 | g) or (0 + x | g)",
            )
        nested = [self.read_interacting_factors()]
        while self.at("/"):
            self.take()
            nested.append(nested[-1] + self.read_interacting_factors())
        if self.at("+", "*", "-"):
            raise self.refuse(
                self.next,
                "grouping factors are joined with : or /; otherwise write two terms, (1 | a) + (1 | b)",
            )
        for factors in nested:
            if len(set(factors)) != len(factors):
                raise self.refuse(bar, f"the grouping factor {':'.join(factors)} names a column twice")
        return Sum(bars=[Bar(_spell(terms), factors, BAR_COVARIANCES[bar.text]) for factors in nested])

    def read_interacting_factors(self) -> tuple[str, ...]:
        """Read grouping columns joined by ``:``."""
        names = [self.read_grouping_column()]
        while self.at(":"):
            self.take()
            names.append(self.read_grouping_column())
        return tuple(names)

    def read_grouping_column(self) -> str:
        """Read the name of one grouping column."""
        token = self.next
        if token.kind not in {"name", "quoted"} or token.text in CONSTANTS:
            if token.kind == "end" or self.at(")"):
                raise self.refuse(token, "the grouping factor is missing after the bar, as in (1 | g)")
            raise self.refuse(token, "right of the bar stand column names joined with : or /, as in (1 | a/b)")
        self.take()
        if not self.at("("):
            return token.name
        if token.text == "C" and len(inside := self.read_arguments()) == 1 and inside[0].kind in {"name", "quoted"}:
            return inside[0].name  # a grouping column is a category anyway
        raise self.refuse(
            token,
            "right of the bar stand column names, no functions: compute the column in the data first",
        )
