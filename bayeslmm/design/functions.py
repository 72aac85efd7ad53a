"""What the functions of a formula compute; formulaic's where it has them, remembered for new data."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bayeslmm.errors import DataError
from bayeslmm.formula.vocabulary import PARAMETERS
from bayeslmm.types import Array


def log(x: Array, base: float | None = None) -> Array:
    """Return the logarithm to a base; the natural one without.

    Raises
    ------
    DataError
        If the base is no positive number other than one.
    """
    if base is None:
        return np.log(x)
    if not isinstance(base, int | float) or not 0 < base < np.inf or base == 1:
        raise DataError("log: the base is a positive number other than 1, as in log(x, base=2).")
    exact = {2.0: np.log2, 10.0: np.log10}.get(base)
    return np.log(x) / np.log(base) if exact is None else exact(x)


ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "log": log,
    "log10": np.log10,
    "log2": np.log2,
    "log1p": np.log1p,
    "exp": np.exp,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "floor": np.floor,
    "ceil": np.ceil,
}
_SIZES = ("degree", "df")
_SWITCHES = {"center", "scale", "rescale"}
_LARGEST_BASIS = 200  # columns of poly, bs, cr, cs, cc


def remembered(name: str) -> Callable[..., Any]:
    """Return one of formulaic's transforms that keep what they learned from the data of the fit."""
    from formulaic.transforms import TRANSFORMS

    return TRANSFORMS[name]


def split_columns(values: Any) -> tuple[Array, tuple[str, ...]]:
    """Return what a function of several columns gives as one array, shape (n, k), and the k names in brackets."""
    names = getattr(getattr(values, "__formulaic_metadata__", None), "column_names", None)
    wrapped = getattr(values, "__wrapped__", values)
    if isinstance(wrapped, dict):
        return np.column_stack(list(wrapped.values())).astype(np.float64), tuple(map(str, wrapped))
    array = np.asarray(wrapped, dtype=np.float64)
    return array, tuple(map(str, names or range(array.shape[1])))


def join_columns(array: Array, names: tuple[str, ...]) -> Any:
    """Return several columns, shape (n, k), as formulaic takes them, so that their names are ``expression[name]``."""
    from formulaic.materializers.types import FactorValues

    return FactorValues(array, kind="numerical", column_names=names, format="{name}[{field}]", encoded=False)


def coding(name: str) -> Any:
    """Return a contrast coding by patsy's name (``Treatment``) or R's (``contr.treatment``)."""
    from formulaic.transforms import TRANSFORMS, contrasts

    if name.startswith("contr."):
        return getattr(contrasts.ContrastsRegistry, name.removeprefix("contr."))
    return contrasts.SASContrasts if name == "SAS" else TRANSFORMS[name]


def check_switches(name: str, arguments: list[Any], words: Mapping[str, Any]) -> None:
    """Refuse numbers where ``scale`` takes true or false: in R they would be subtracted, or divided by."""
    given = dict(zip(PARAMETERS[name], arguments, strict=False)) | dict(words)
    for switch in _SWITCHES & given.keys():
        if not isinstance(given[switch], bool):
            raise DataError(
                f"{name} takes True or False for {switch}, not {given[switch]!r}: write arithmetic as I((x - 2) / 3)."
            )


def check_size(name: str, arguments: list[Any], words: Mapping[str, Any]) -> None:
    """Refuse a basis that no data could fill, before it is allocated."""
    by_place = arguments[:1] if PARAMETERS[name] and PARAMETERS[name][0] in _SIZES else []
    sizes = [*by_place, *(words[size] for size in _SIZES if size in words)]
    for size in sizes:
        if isinstance(size, bool | str) or (isinstance(size, float) and not size.is_integer()):
            raise DataError(f"{name}: a basis of {size!r} columns is not possible; use a whole number.")
        if isinstance(size, (int, float)) and not 1 <= size <= _LARGEST_BASIS:
            raise DataError(f"{name}: a basis of {size} columns is not possible; use 1 to {_LARGEST_BASIS}.")
