"""The errors this package raises, flat under one base class.

A message says what was found, where (column, term, first row) and what to do about it.
"""


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
