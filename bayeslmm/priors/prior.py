"""What every prior can do: log density, its derivative, draws, a change of units."""

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, fields
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from bayeslmm.errors import PriorError
from bayeslmm.types import Array

Size = int | tuple[int, ...] | None

SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a parameter: squares and ratios stay finite


class Distribution:
    """A distribution with fixed parameters, checked on construction.

    Subclasses are frozen dataclasses whose fields are the parameters, with PyMC's names. ``str()`` is what a
    table shows (six digits); ``repr()`` keeps every digit, and `parse_prior` reads both.
    """

    __slots__ = ()
    proper: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in self.parameter_names():
            object.__setattr__(self, name, _finite(getattr(self, name), name, type(self).__name__))
        self._check()

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Names of the parameters in the order of the constructor."""
        return tuple(parameter.name for parameter in fields(cls))  # type: ignore[arg-type]

    @classmethod
    def required_parameters(cls) -> tuple[str, ...]:
        """Names of the parameters without a default."""
        return tuple(parameter.name for parameter in fields(cls) if parameter.default is MISSING)  # type: ignore[arg-type]

    def _check(self) -> None:
        """Raise PriorError where the parameters are impossible."""

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not value > 0:
                raise PriorError(f"{type(self).__name__}: the parameter {name} must be positive, got {value:g}.")
            if value < SMALLEST:
                raise PriorError(
                    f"{type(self).__name__}: the parameter {name} must be at least {SMALLEST:g}, got {value:g}."
                )

    def __str__(self) -> str:
        values = ", ".join(f"{getattr(self, name):.6g}" for name in self.parameter_names())
        return f"{type(self).__name__}({values})"


def _finite(value: object, name: str, owner: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise PriorError(f"{owner}: the parameter {name} must be a number, got {value!r}.") from error
    if not math.isfinite(number):
        raise PriorError(f"{owner}: the parameter {name} is {number}, not finite.")
    if abs(number) > LARGEST:
        raise PriorError(f"{owner}: the parameter {name} must not exceed {LARGEST:g} in size, got {number:g}.")
    return number


class Prior(Distribution, ABC):
    """The prior of one real parameter."""

    __slots__ = ()

    @property
    def support(self) -> tuple[float, float]:
        """The interval outside which the density is zero."""
        return (-math.inf, math.inf)

    @abstractmethod
    def logpdf(self, x: ArrayLike) -> Array:
        """Return the normalised log density at x, elementwise; -inf outside the support."""

    @abstractmethod
    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of `logpdf` at x, elementwise; zero outside the support."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior, shape `size`. Raises PriorError for an improper prior."""

    @abstractmethod
    def affine(self, shift: float, scale: float) -> Self:
        """Return the prior of ``shift + scale * x``, scale > 0 (a change of units or of origin)."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """The mean; nan where there is none."""

    @property
    @abstractmethod
    def sd(self) -> float:
        """The standard deviation; inf or nan where there is none."""


def inside(support: tuple[float, float], x: Array, values: Array, outside: float) -> Array:
    """Return `values` where x lies in the support and `outside` elsewhere."""
    lower, upper = support
    return np.where((x >= lower) & (x <= upper), values, outside)
