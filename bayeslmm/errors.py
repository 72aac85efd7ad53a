"""The errors this package raises, flat under one base class, and how it warns.

A message says what was found, where (column, term, first row) and what to do about it.
"""

import functools
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from pathlib import Path

PACKAGE = str(Path(__file__).parent)
BETWEEN = (PACKAGE, functools.__file__)  # code that no user wrote: the package's, and that of its cached properties


class BayeslmmError(Exception):
    """Base class of every error raised on purpose by this package."""


class FormulaError(BayeslmmError, ValueError):
    """The formula text is not a mixed-model formula, or asks for something that is not allowed."""


class DataError(BayeslmmError, ValueError):
    """The data frame does not hold what the formula needs."""


class ModelError(BayeslmmError, ValueError):
    """Formula and data are fine apart, but together they define no estimable model."""


class PriorError(BayeslmmError, ValueError):
    """A prior is unknown, impossible, or names a parameter the model does not have."""


class OptionError(BayeslmmError, ValueError):
    """An argument has a value that is not among the valid ones."""


class UnavailableError(OptionError, AttributeError):
    """An attribute that this object does not have, though others of its class do; ``hasattr`` says so, too."""


class RowsError(BayeslmmError, RuntimeError):
    """Something needs the rows of the data, and the model was made from a stream or from sums, which keep none."""


class FittingError(BayeslmmError, RuntimeError):
    """A fit could not be carried out, or ``strict=True`` turned its status into an error."""


class StorageError(BayeslmmError, ValueError):
    """A saved fit cannot be written or read."""


class ModelFileError(BayeslmmError, ValueError):
    """A model file cannot be read, or one of its keys has no meaning."""


class MissingDependencyError(BayeslmmError, ImportError):
    """An optional package is needed and not installed."""


def counted(n: int, noun: str) -> str:
    """Return ``"1 row"`` or ``"3 rows"``."""
    return f"1 {noun}" if n == 1 else f"{n} {noun}s"


def explanation(error: BaseException | None) -> str:
    """Return in a sentence what an error means for a user: this package's are sentences, those of others are not.

    What Python, numpy and LAPACK say of numbers, "division by zero", tells nothing to whoever stated a model; it stays
    at hand as the cause of the error that is raised.
    """
    if isinstance(error, BayeslmmError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    if isinstance(error, ArithmeticError | ValueError):  # numpy's LinAlgError is a ValueError
        return "Numbers there are beyond the reach of double precision."
    return "The numbers there cannot be computed with."


def suggest(name: object, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known names that an unknown one was most likely meant as, nearest first; empty if none is near.

    Capitals, underscores, and the two ways Unicode spells an accented letter make no difference.
    """
    alike: dict[str, list[str]] = {}
    for other in known:
        alike.setdefault(_folded(other), []).append(other)
    near = get_close_matches(_folded(str(name)), alike, n=most)
    return [other for folded in near for other in alike[folded]][:most]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", "")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and point at the line of the user's code that led here, however deep in the package it is."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(BETWEEN):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def is_word(value: object, valid: Iterable[str]) -> bool:
    """Return whether a value is one of some words; other types, arrays among them, are none and raise nothing."""
    return isinstance(value, str) and value in valid


def check_switch(name: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises
    ------
    OptionError
        If it is something else.
    """
    if type(value).__name__ not in ("bool", "bool_"):  # numpy's, too
        raise OptionError(f"{name}={value!r} is not possible; it is True or False.")


def checked_path(name: str, value: object) -> Path:
    """Return a path from a text or a path.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if not isinstance(value, str | Path) or not str(value).strip():
        raise OptionError(f"{name}={value!r} is no path; give a text, such as {name}='results', or a pathlib.Path.")
    return Path(value)


def check_level(level: float, name: str = "level") -> None:
    """Refuse the coverage of an interval that is not a probability.

    Raises
    ------
    OptionError
        If it is not between 0 and 1.
    """
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
        raise OptionError(f"{name}={level!r} is not a probability between 0 and 1, such as 0.95.")
