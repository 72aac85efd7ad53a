"""Messages to users are sentences: they begin with a capital letter or a name, and end with a full stop."""

import ast
from pathlib import Path

import pytest

import bayeslmm.errors

PACKAGE = Path(bayeslmm.errors.__file__).parent
ERRORS = {
    name
    for name, value in vars(bayeslmm.errors).items()
    if isinstance(value, type) and issubclass(value, bayeslmm.errors.BayeslmmError)
}
CALLED = ERRORS | {"warn_user"}
# How a translated sentence would put it, and how the field's English does.
WORDINGS = ("a linear model has not", "fit has not seen", "cannot be told from", "cannot be told apart", "cannot tell")


def messages():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in CALLED and node.args:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.args[0]


def ends(node):
    """The literal text at each end of a message, empty where a value stands there."""
    if isinstance(node, ast.Constant):
        return str(node.value), str(node.value)
    if isinstance(node, ast.JoinedStr):
        first, last = node.values[0], node.values[-1]
        return tuple(str(piece.value) if isinstance(piece, ast.Constant) else "" for piece in (first, last))
    if isinstance(node, ast.BinOp):
        return ends(node.left)[0], ends(node.right)[1]
    if isinstance(node, ast.IfExp):
        return ends(node.body)
    return "", ""


# What a message may end with that is a sentence of its own: a remedy, or what another error said.
SENTENCES = (
    "error", "explain", "explanation", "failed", "failure", "first_error", "found", "hint", "message", "name",
    "not_kept", "numeric", "PERFECT_FIT", "reason", "remedy", "said", "sentence", "sentences", "what", "absent",
    "carets",
)  # fmt: skip


def last_name(node):
    """The name of the value a message ends with, of the function where it is a call; empty for literal text."""
    if isinstance(node, ast.JoinedStr):
        return last_name(node.values[-1])
    if isinstance(node, ast.FormattedValue):
        return last_name(node.value)
    if isinstance(node, ast.Call):
        return "failed" if getattr(node.func, "id", "") == "next" else last_name(node.func)
    if isinstance(node, ast.IfExp):
        return last_name(node.body)
    if isinstance(node, ast.BinOp):
        return last_name(node.right)
    return getattr(node, "attr", getattr(node, "id", "")) or ""


MESSAGES = list(messages())


def test_there_are_messages():
    assert len(MESSAGES) > 200


def test_every_message_ends_with_a_full_stop():
    assert [place for place, node in MESSAGES if (end := ends(node)[1]) and not end.endswith((".", "?"))] == []


def test_every_message_that_ends_with_a_value_ends_with_a_sentence():
    allowed = {name.lower() for name in SENTENCES}
    ending = [(place, last_name(node)) for place, node in MESSAGES if not ends(node)[1]]
    assert len(ending) > 20
    assert [
        (place, name) for place, name in ending if not ({name.lower()} | set(name.lower().split("_"))) & allowed
    ] == []


@pytest.mark.parametrize("wording", WORDINGS)
def test_standard_wording(wording):
    found = [place for place, node in MESSAGES if wording in ast.unparse(node)]
    assert found == []


# Where the words of a library or of the user's own function say which line, path or value is meant.
QUOTED = {
    "datasets/tables.py", "design/coding.py", "design/evaluate.py", "forest/learners.py", "formula/grammar.py",
    "inference/nuts/explicit.py", "model_files/data.py", "model_files/reading.py", "results/store/draws.py",
    "results/store/record.py", "rows/source.py",
}  # fmt: skip


def quotations():
    """Places where a message quotes an exception that this package did not write."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
                continue
            caught = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(handler.type)}
            if caught <= ERRORS | {""}:
                continue
            calls = [c for c in ast.walk(handler) if isinstance(c, ast.Call) and getattr(c.func, "id", None) in CALLED]
            values = [v.value for call in calls for v in ast.walk(call) if isinstance(v, ast.FormattedValue)]
            if any(handler.name == getattr(value, "id", None) for value in values):
                yield path.relative_to(PACKAGE).as_posix()


def test_messages_do_not_quote_what_python_says():
    assert set(quotations()) - QUOTED == set()
