"""Checks of what a model file and the command line both state: methods, batches, how a CSV file is written."""

from collections.abc import Mapping, Sequence

from bayeslmm.errors import ModelFileError, suggest
from bayeslmm.methods import METHODS


def check_rows(value: object, where: str) -> int | None:
    """Return a number of rows per batch, or None.

    Raises
    ------
    ModelFileError
        If it is no whole number of at least one; ``where`` opens the message.
    """
    if value is None or (type(value) is int and value >= 1):
        return value
    raise ModelFileError(f"{where} is {value!r}; expected a whole number of rows, at least 1.")


def check_methods(methods: object, where: str) -> tuple[str, ...]:
    """Return the methods, each once and in order.

    Raises
    ------
    ModelFileError
        If they are not a non-empty list of known methods; ``where`` opens the message.
    """
    if not isinstance(methods, Sequence) or isinstance(methods, str) or not methods:
        raise ModelFileError(f"{where} is {methods!r}: give a list with at least one of {', '.join(METHODS)}.")
    for method in methods:
        if method not in METHODS:
            raise ModelFileError(f"{where} names {method!r}, which is not a method: use {', '.join(METHODS)}.")
    return tuple(dict.fromkeys(methods))


def check_csv(stated: Mapping[str, object], where: str) -> dict[str, str]:
    """Return how a CSV file is written.

    Raises
    ------
    ModelFileError
        If the separator or the decimal point is none; ``where`` opens the message.
    """
    separator, decimal = stated.get("separator", ","), stated.get("decimal", ".")
    if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"' or separator.isalnum():
        raise ModelFileError(f"{where}: the separator is {separator!r}; expected one sign, such as ';' or a tab.")
    if decimal not in (".", ","):
        raise ModelFileError(f"{where}: the decimal point is {decimal!r}; expected '.' or ','.")
    if decimal == separator or (decimal == "," and "separator" not in stated):
        raise ModelFileError(f"{where}: commas cannot be both decimal points and separators; state another separator.")
    return {key: str(value) for key, value in stated.items()}


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Say that a name is unknown, with the nearest known one and the whole list."""
    near = suggest(name, known)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"there is no {kind} '{name}'.{hint} Known: {', '.join(known)}."
