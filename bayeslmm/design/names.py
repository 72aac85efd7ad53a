"""Names that mean something in results: which of them a column cannot have, and how others are spelled there."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import RandomTerm
from bayeslmm.errors import DataError, ModelError

ROWS = "__obs__"  # the rows of the data, named as bambi names them
RESIDUAL = "Residual"  # the group of sigma in tables of variances
SIGMA = "sigma"  # its name among parameters
DIMENSIONS = ("chain", "draw", "fixed")  # of every posterior
RESERVED_FACTORS = (*DIMENSIONS, ROWS, "beta", SIGMA, RESIDUAL)
RESERVED_RESPONSES = ("chain", "draw", ROWS)  # dimensions of the group that a response is a variable of
COVARIANCE = re.compile(r"(sd|cor)_(.+?)\[(?!T\.)(.+)\]")  # "f[T.a]" is a coefficient of a factor f
SLASH = "\N{DIVISION SLASH}"  # PyMC and NetCDF read the ordinary one as a path


def sd_name(term: str, effect: str) -> str:
    """Return the name of a random-effect standard deviation, ``sd_Subject[Days]``."""
    return f"sd_{term}[{effect}]"


def correlation_name(term: str, effect: str, other: str) -> str:
    """Return the name of a correlation of random effects, ``cor_Subject[Intercept, Days]``."""
    return f"cor_{term}[{effect}, {other}]"


def covariance_kind(name: str) -> str | None:
    """Return "sd" or "cor" for the name of a standard deviation, sigma among them, or a correlation; else None."""
    if name == SIGMA:
        return "sd"
    found = COVARIANCE.fullmatch(name)
    return None if found is None else found.group(1)


def joined_names(coefficients: Sequence[str], covariance: Sequence[str]) -> list[str]:
    """Return the names of a model's parameters in one list, each once: coefficients, then sds, correlations and sigma.

    A coefficient of a column called ``sigma``, say, is ``beta[sigma]`` there, as among priors.
    """
    taken = set(covariance)
    return [*(coefficient_key(name) if name in taken else name for name in coefficients), *covariance]


def coefficient_key(name: str) -> str:
    """Return the name of a coefficient that no other parameter can have, ``beta[Days]``."""
    return f"beta[{name}]"


def safe_name(name: str) -> str:
    """Return a name as variables and dimensions of PyMC, arviz and NetCDF can have it: ``site∕plot``."""
    return name.replace("/", SLASH)


def safe_labels(index: pd.Index) -> NDArray[Any]:
    """Return labels as files can hold them, shape (J,): numbers and times as they are, all others as texts.

    Texts are those of ``str``, or of ``repr`` where ``str`` gives two labels the same text, as for 1 and "1".
    """
    values = index.to_numpy()
    if values.dtype.kind in "biufM" and values.dtype != np.float16:
        return values
    texts = [str(value) for value in values]
    if len(set(texts)) < len(set(map(repr, values))):
        texts = [repr(value) for value in values]
    return np.array(texts, dtype=object)


def check_response(name: str) -> None:
    """Refuse a response that is called like a dimension of a posterior.

    Raises
    ------
    DataError
        With the remedy.
    """
    if name in RESERVED_RESPONSES:
        raise DataError(
            f"A response cannot be called {name!r}, which is a dimension of every posterior: rename the column."
        )


def check_factor(name: str) -> None:
    """Refuse a grouping factor that is called like a part of every posterior or table of variances.

    Raises
    ------
    DataError
        With the remedy.
    """
    if name in RESERVED_FACTORS:
        raise DataError(
            f"A grouping factor cannot be called {name!r}, which names a part of every posterior or table of "
            "variances: rename the column."
        )


def check_terms(terms: Sequence[RandomTerm]) -> None:
    """Refuse grouping factors whose names would hide parts of the posterior that belong to another.

    Raises
    ------
    ModelError
        If a factor ``h`` is called like ``sd_g``, ``cor_g``, ``r_g`` or ``g_effect`` of a factor ``g``.
    """
    taken = {f"{prefix}_{term.name}" for term in terms for prefix in ("sd", "cor", "r")}
    taken |= {f"{term.name}_{suffix}" for term in terms for suffix in ("effect", "pair")}
    for term in terms:
        if term.factor in taken:
            raise ModelError(
                f"The grouping factor {term.factor!r} has the name of another part of the posterior; rename the column."
            )
