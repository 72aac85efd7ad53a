"""Weights of contrasts between k means, each row one contrast."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from math import gcd, lcm
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.errors import OptionError
from bayeslmm.types import Array

KINDS = ("pairwise", "trt.vs.ctrl", "sequential", "polynomial")
DEGREES = ("linear", "quadratic", "cubic", "quartic")
HIGHEST = 6  # degree of a polynomial


def contrast_weights(kind: Any, names: Sequence[str]) -> tuple[list[str], Array]:
    """Return names and weights (m, k) of contrasts between k means.

    Parameters
    ----------
    kind
        "pairwise" (first less second), "trt.vs.ctrl" (each less the first), "sequential" (each less the one before),
        "polynomial" (orthogonal, equal steps, in integers), or weights by name: a mapping, or a frame with one column
        per contrast and one row per mean.
    names
        Of the means.

    Raises
    ------
    OptionError
        If the kind is unknown, there are fewer than two means, or weights do not fit them.
    """
    k = len(names)
    if not isinstance(kind, str):
        return _given(kind, names)
    if kind not in KINDS:
        raise OptionError(f"The contrast {kind!r} is unknown; use one of {', '.join(map(repr, KINDS))}, or a frame.")
    if k < 2:
        raise OptionError("A contrast needs two means or more; name a variable with several values, or give at={...}.")
    if kind == "polynomial":
        rows = _polynomials(k)
        return [DEGREES[d] if d < len(DEGREES) else f"degree {d + 1}" for d in range(len(rows))], rows
    pairs = {
        "pairwise": combinations(range(k), 2),
        "trt.vs.ctrl": ((j, 0) for j in range(1, k)),
        "sequential": ((j, i) for i, j in pairwise(range(k))),
    }[kind]
    chosen = list(pairs)
    unit = np.eye(k)
    return [f"{names[i]} - {names[j]}" for i, j in chosen], np.array([unit[i] - unit[j] for i, j in chosen])


def _given(kind: Any, names: Sequence[str]) -> tuple[list[str], Array]:
    if not isinstance(kind, pd.DataFrame | Mapping):
        raise OptionError(
            f"The contrast {kind!r} is unknown; use one of {', '.join(map(repr, KINDS))}, weights by name, or a frame."
        )
    try:
        frame = pd.DataFrame({str(name): np.asarray(kind[name], dtype=float) for name in kind})
    except (TypeError, ValueError):
        raise OptionError("The weights of contrasts are not numbers, or not equally many.") from None
    if len(frame) != len(names) or frame.shape[1] == 0:
        listed = ", ".join(names[:8])
        raise OptionError(f"The contrasts have {len(frame)} weights each, and there are {len(names)} means: {listed}.")
    if isinstance(kind, pd.DataFrame) and not isinstance(kind.index, pd.RangeIndex):
        given = [str(label) for label in kind.index]
        if sorted(given) != sorted(names):
            raise OptionError(f"The rows of the weights are {', '.join(given)}, and the means {', '.join(names)}.")
        frame = frame.iloc[[given.index(name) for name in names]]
    if not np.isfinite(frame.to_numpy()).all():
        raise OptionError("The weights of contrasts are not finite.")
    return list(frame.columns), frame.to_numpy().T


def _polynomials(k: int) -> Array:
    """Return orthogonal polynomials on k equal steps in the smallest integers, degrees 1, 2, ..."""
    basis = [[Fraction(1)] * k]
    for degree in range(1, min(k, HIGHEST + 1)):
        row = [Fraction(i) ** degree for i in range(k)]
        for known in basis:
            share = sum((a * b for a, b in zip(row, known, strict=True)), Fraction(0)) / sum(
                (a * a for a in known), Fraction(0)
            )
            row = [a - share * b for a, b in zip(row, known, strict=True)]
        basis.append(row)
    found = []
    for row in basis[1:]:
        whole = lcm(*(value.denominator for value in row))
        integers = [int(value * whole) for value in row]
        divisor = gcd(*integers)
        found.append([value / divisor for value in integers])
    return np.array(found, dtype=float)
