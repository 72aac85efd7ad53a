"""One expression of a formula, such as ``log(x)`` or ``C(sex, Treatment('Male'))``: checked, never run."""

import ast
import keyword
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bayeslmm.errors import FormulaError
from bayeslmm.formula.spellings import read_tokens
from bayeslmm.formula.tokens import CONSTANTS, Token, mark, quoted
from bayeslmm.formula.vocabulary import (
    CODINGS,
    CONTRASTS,
    FUNCTIONS,
    OUTERMOST,
    RESCALING,
    SEVERAL,
    attribute_remedy,
    unknown_function,
    wrong_arguments,
)

MAX_TOKENS = 300  # of one expression; bounds the depth of its syntax tree

_QUOTED_NAME = re.compile(r"`([^\W\d][\w.]*)`")  # needs no quotes for a reader
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_FORBIDDEN = {
    ast.Attribute: "attribute access",
    ast.Subscript: "indexing with [...]",
    ast.Lambda: "lambda",
    ast.JoinedStr: "f-strings",
    ast.Starred: "unpacking with *",
    ast.NamedExpr: "assignment",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that holds only columns, constants, arithmetic and known functions.

    Attributes
    ----------
    text
        Canonical spelling: single quotes, one space after commas, odd column names in backquotes.
    tree
        Its syntax tree; column names that are not plain stand in it under an alias.
    aliases
        Alias to column name.
    columns
        The columns it uses, in order of appearance.
    """

    text: str
    tree: ast.expr
    aliases: dict[str, str]
    columns: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name of its coefficient: the column itself, or the expression, in which plain names stand unquoted."""
        return self.columns[0] if isinstance(self.tree, ast.Name) else _QUOTED_NAME.sub(r"\1", self.text)

    @property
    def is_column(self) -> bool:
        """Whether the expression is a column and nothing else."""
        return isinstance(self.tree, ast.Name)


def check_expression(text: str, functions: Collection[str] = ()) -> Expression:
    """Check that text is a harmless expression, and return its syntax tree.

    Only column names, numbers, strings, arithmetic, comparisons and calls of known functions pass. Nothing is
    evaluated.

    Parameters
    ----------
    text
        The expression; column names that are not plain names stand in backquotes.
    functions
        Names of further functions the user supplies.

    Raises
    ------
    FormulaError
        If it holds anything else; the message marks the place.
    """
    return read_expression(text, read_tokens(text, functions)[:-1], functions)


def read_expression(formula: str, tokens: Sequence[Token], functions: Collection[str] = ()) -> Expression:
    """Check the expression made of some tokens of a formula; see :func:`check_expression`."""
    if not tokens:
        raise mark(formula, len(formula), len(formula), "an expression is missing here")
    if len(tokens) > MAX_TOKENS:
        raise mark(
            formula, tokens[0].start, tokens[0].stop,
            f"this expression has {len(tokens)} parts, more than {MAX_TOKENS}. "
            "Compute the column in the data first",
        )  # fmt: skip
    source, aliases, begins, ends = _python_source(formula, tokens)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on escapes in strings
            tree = ast.parse(source, mode="eval").body
        checker = _Checker(formula, tokens, begins, ends, frozenset(functions), aliases, tree)
        checker.allow_several(tree)
        checker.check(tree)
        text = ast.unparse(tree).replace("\n", " ")
    except FormulaError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _syntax_error(formula, tokens, begins, error) from None
    for alias, name in aliases.items():
        text = re.sub(rf"\b{alias}\b", lambda _, name=name: quoted(name), text)  # type: ignore[misc]
    return Expression(text, tree, aliases, tuple(checker.columns))


def _python_source(
    formula: str, tokens: Sequence[Token]
) -> tuple[str, dict[str, str], dict[int, Token], dict[int, Token]]:
    # Quoted names are not Python, its keywords are no names to it, and it would normalise names outside ASCII: all
    # of them get an alias. R's ^ is a power.
    stem = "column_"
    while stem in formula:
        stem += "_"
    aliases: dict[str, str] = {}
    of_name: dict[str, str] = {}
    begins: dict[int, Token] = {}
    ends: dict[int, Token] = {}
    pieces: list[str] = []
    place = 0
    for token in tokens:
        piece = "**" if token.kind == "operator" and token.text == "^" else token.text
        if token.kind == "quoted" or (token.kind == "name" and not _is_python_name(token.text)):
            piece = of_name.setdefault(token.name, f"{stem}{len(of_name)}")
            aliases[piece] = token.name
        size = len(piece.encode())
        begins[place], ends[place + size] = token, token
        pieces.append(piece)
        place += size + 1
    return " ".join(pieces), aliases, begins, ends


def _is_python_name(name: str) -> bool:
    return name.isascii() and (name in CONSTANTS or not keyword.iskeyword(name))


def _syntax_error(formula: str, tokens: Sequence[Token], begins: dict[int, Token], error: Exception) -> FormulaError:
    place = (getattr(error, "offset", None) or 1) - 1
    token = begins.get(place, tokens[0])
    stop = token.stop if place in begins else tokens[-1].stop
    message = "this is not an expression of columns, numbers, arithmetic and functions"
    for before, after in pairwise(tokens):
        if before.kind == after.kind == "name":
            message += f". A column with a space in its name goes into backquotes: `{before.text} {after.text}`"
            break
    return mark(formula, token.start, stop, message)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Walks a syntax tree, collects its columns and refuses everything that is not listed."""

    formula: str
    tokens: Sequence[Token]
    begins: dict[int, Token]
    ends: dict[int, Token]
    functions: frozenset[str]
    aliases: dict[str, str]
    root: ast.AST
    columns: dict[str, None] = field(default_factory=dict)
    of_several: set[int] = field(default_factory=set)

    def refuse(self, node: ast.AST, message: str) -> FormulaError:
        """Return an error that marks a node in the formula."""
        first = self.begins.get(getattr(node, "col_offset", -1), self.tokens[0])
        last = self.ends.get(getattr(node, "end_col_offset", -1), self.tokens[-1])
        return mark(self.formula, first.start, last.stop, message)

    def check(self, node: ast.AST) -> None:
        """Refuse a node, or anything below it, that formulas may not hold; note the columns."""
        match node:
            case ast.Name():
                self.columns[self.aliases.get(node.id, node.id)] = None
            case ast.Constant():
                self.check_number(node)
            case ast.BinOp(left, operator, right):
                self.check_operator(node, operator)
                self.check(left)
                self.check(right)
            case ast.UnaryOp(operator, operand):
                self.check_operator(node, operator)
                self.check(operand)
            case ast.Compare(left, operators, comparators):
                if len(operators) != 1 or not isinstance(operators[0], _COMPARISONS):
                    raise self.refuse(node, "only single comparisons such as x > 3 are allowed in a formula")
                self.check_argument(left)
                self.check_argument(comparators[0])
            case ast.Call():
                self.check_call(node)
            case _:
                raise self.refuse_kind(node)

    def refuse_kind(self, node: ast.AST) -> FormulaError:
        """Return the error for a kind of node that formulas may not hold."""
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else "x"
            return self.refuse(node, attribute_remedy(owner, node.attr))
        words = next((words for kind, words in _FORBIDDEN.items() if isinstance(node, kind)), "this Python code")
        return self.refuse(
            node, f"{words} is not allowed in a formula: only columns, numbers, arithmetic and functions are"
        )

    def check_number(self, node: ast.Constant) -> None:
        """Refuse constants that are no numbers."""
        if isinstance(node.value, str):
            raise self.refuse(node, "a text stands here where a column or a number is needed")
        if node.value is None or not isinstance(node.value, (bool, int, float)):
            raise self.refuse(node, f"{node.value!r} is not a number")

    def check_operator(self, node: ast.AST, operator: ast.AST) -> None:
        """Refuse operators other than those of arithmetic."""
        if not isinstance(operator, _OPERATORS):
            raise self.refuse(node, "this operator is not allowed in a formula: arithmetic is + - * / // % **")

    def check_call(self, node: ast.Call) -> None:
        """Refuse calls of anything but known functions with plain arguments."""
        if not isinstance(node.func, ast.Name):
            raise self.refuse_kind(node.func)
        name = self.aliases.get(node.func.id, node.func.id)
        if node.func.id in self.aliases or (name not in FUNCTIONS and name not in self.functions):
            raise self.refuse(node.func, unknown_function(name, self.functions))
        self.check_words(node)
        if name not in self.functions:
            self.check_position(node, name)
            self.check_signature(node, name)
        for place, argument in enumerate([*node.args, *(word.value for word in node.keywords)]):
            if name == "C" and place > 0 and names_coding(argument):
                self.check_coding(argument)
            else:
                self.check_argument(argument)

    def check_words(self, node: ast.Call) -> None:
        """Refuse names of arguments that are repeated or not plain."""
        for word in node.keywords:
            if word.arg is None:
                raise self.refuse(node, "unpacking with ** is not allowed in a formula")
            if word.arg in self.aliases or word.arg.startswith("_"):
                name = self.aliases.get(word.arg, word.arg)
                raise self.refuse(node, f"the argument {name!r} is not allowed in a formula")
            if sum(other.arg == word.arg for other in node.keywords) > 1:
                raise self.refuse(node, f"the argument {word.arg!r} is given twice: state it once")

    def check_signature(self, node: ast.Call, name: str, column: bool = True) -> None:
        """Refuse arguments that a function of the table or a coding does not take."""
        words = [str(word.arg) for word in node.keywords]
        if wrong := wrong_arguments(name, len(node.args), words, column):
            raise self.refuse(node, wrong)

    def check_position(self, node: ast.Call, name: str) -> None:
        """Refuse functions of several columns where these have no meaning, and codings outside ``C(...)``."""
        if name in OUTERMOST and node is not self.root and id(node) not in self.of_several:
            raise self.refuse(
                node,
                f"{name}(...) gives several columns, which only arithmetic, I, center, scale and standardize can use",
            )
        if name in CODINGS:
            raise self.refuse(node, f"{name} is a coding, which stands inside C(...), as in C(x, {name})")

    def allow_several(self, node: ast.expr) -> bool:
        """Note the call below a node that may give several columns; return whether there is one."""
        match node:
            case ast.Call(ast.Name(name), [first, *_]) if name not in self.functions:
                if name in SEVERAL:
                    self.of_several.add(id(node))
                    return True
                return name in RESCALING and self.allow_several(first)
            case ast.UnaryOp(_, operand):
                return self.allow_several(operand)
            case ast.BinOp(left, _, right):
                sides = [self.allow_several(left), self.allow_several(right)]
                if all(sides):
                    raise self.refuse(node, "both sides of this have several columns: write an interaction, a:b")
                return any(sides)
        return False

    def check_coding(self, node: ast.expr) -> None:
        """Refuse arguments of a coding that are no constants, and those it does not take."""
        if isinstance(node, ast.Call):
            self.check_words(node)
            self.check_signature(node, ast.unparse(node.func), column=False)
            for argument in [*node.args, *(word.value for word in node.keywords)]:
                if any(isinstance(part, (ast.Name, ast.Call)) for part in ast.walk(argument)):
                    raise self.refuse(argument, "a coding takes constants, as in Treatment('a')")
                self.check_argument(argument)

    def check_argument(self, node: ast.AST) -> None:
        """Refuse arguments that are no constants, lists of them or expressions."""
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str)):
            return
        if isinstance(node, (ast.List, ast.Tuple)):
            for element in node.elts:
                self.check_argument(element)
        else:
            self.check(node)


def names_coding(node: ast.expr) -> bool:
    """Whether a syntax tree names a contrast coding: ``Sum``, ``Treatment(15)``, ``contr.helmert``."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Name):
        return node.id in CODINGS
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "contr"
        and node.attr in CONTRASTS
    )
