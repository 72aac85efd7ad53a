"""The errors this package raises, flat under one base class, and how it warns.

A message says what was found, where (column, term, first row) and what to do about it.
"""

import functools
import sys
import warnings
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


class FittingError(BayeslmmError, RuntimeError):
    """A fit could not be carried out, or ``strict=True`` turned its status into an error."""


class StorageError(BayeslmmError, ValueError):
    """A saved fit cannot be written or read."""


class ModelFileError(BayeslmmError, ValueError):
    """A model file cannot be read, or one of its keys has no meaning."""


class MissingDependencyError(BayeslmmError, ImportError):
    """An optional package is needed and not installed."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and point at the line of the user's code that led here, however deep in the package it is."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(BETWEEN):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
