r"""Scipy's LAPACK and BLAS, called without Python's global lock.

The functions of ``scipy.linalg.lapack`` hold the lock while they work, so that two threads factor two matrices no
faster than one. The same routines are reached here through the pointers that ``scipy.linalg.cython_lapack``
and ``cython_blas`` publish; calls by ctypes release the lock. Matrices are column-major and are overwritten.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import cython_blas, cython_lapack
from scipy.linalg.lapack import dtrtrs

from bayeslmm.errors import FittingError
from bayeslmm.types import Array

LOWER, TRANSPOSED, NOT_TRANSPOSED, NOT_UNIT = b"L", b"T", b"N", b"N"


def cholesky(matrix: Array) -> int:
    """Replace the lower triangle of a symmetric matrix (m, m) by that of its Cholesky factor.

    Returns
    -------
    Zero, or the place, counted from one, of the first pivot that is not positive.
    """
    return _in_place("dpotrf", matrix)


def inverse_from_cholesky(factor: Array) -> int:
    """Replace a lower Cholesky factor L (m, m) by the lower triangle of the inverse of ``L L^T``.

    Returns
    -------
    Zero, or the place, counted from one, of a diagonal element of L that is zero.
    """
    return _in_place("dpotri", factor)


def solve_lower(factor: Array, right: Array) -> int:
    """Replace the columns of right (m, k) by the solution x of ``L x = right``, L lower triangular (m, m).

    Returns
    -------
    Zero, or the place, counted from one, of a diagonal element of L that is zero.
    """
    return _solve(NOT_TRANSPOSED, factor, right)


def solve_transposed(factor: Array, right: Array) -> int:
    """Replace the columns of right (m, k) by the solution x of ``L^T x = right``, L lower triangular (m, m).

    Returns
    -------
    Zero, or the place, counted from one, of a diagonal element of L that is zero.
    """
    return _solve(TRANSPOSED, factor, right)


def solved_transposed(lower: Array, right: Array) -> Array:
    """Return x with ``L^T x = right``, L lower triangular (m, m), right (m,) or (m, k), in any order of memory.

    For matrices so small that scipy's checks and copies would cost more than the solution.
    """
    return np.asarray(dtrtrs(lower, right.reshape(len(right), -1), lower=1, trans=1)[0].reshape(right.shape))


def subtract_gram(rows: Array, matrix: Array) -> None:
    """Subtract ``rows.T @ rows``, rows (k, q), from the first q rows and columns of matrix (m, m), both in C order.

    Only the upper triangle is written.
    """
    order, (count, width) = _order(matrix.T), rows.shape
    if width > order or rows.dtype != np.float64 or not rows.flags.c_contiguous:
        raise FittingError(f"The rows must be doubles in C order, at most {order} columns of them.")
    if count and width:
        one = [ctypes.byref(ctypes.c_double(value)) for value in (-1.0, 1.0)]
        sizes, ends = [_number(width), _number(count)], [_number(width), _number(order)]
        _routine("dsyrk")(LOWER, NOT_TRANSPOSED, *sizes, one[0], _data(rows), ends[0], one[1], _data(matrix), ends[1])


def _solve(form: bytes, factor: Array, right: Array) -> int:
    """Replace the columns of right by the solution of a triangular system and return dtrtrs' info."""
    order = _order(factor)
    if right.ndim != 2 or len(right) != order or right.dtype != np.float64 or not right.flags.f_contiguous:
        raise FittingError(f"The right-hand sides must be column-major with {order} rows.")
    info = ctypes.c_int(0)
    _routine("dtrtrs")(
        LOWER,
        form,
        NOT_UNIT,
        _number(order),
        _number(right.shape[1]),
        _data(factor),
        _number(max(order, 1)),
        _data(right),
        _number(max(order, 1)),
        ctypes.byref(info),
    )
    return info.value


def _in_place(name: str, matrix: Array) -> int:
    """Call a routine that overwrites the lower triangle of one square matrix and return its info."""
    order = _order(matrix)
    info = ctypes.c_int(0)
    _routine(name)(LOWER, _number(order), _data(matrix), _number(max(order, 1)), ctypes.byref(info))
    return info.value


def _order(matrix: Array) -> int:
    """Return the order of a square column-major matrix of doubles: anything else would be read as other memory."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype != np.float64:
        raise FittingError("A square matrix of doubles is needed.")
    if not (matrix.flags.f_contiguous and matrix.flags.writeable):
        raise FittingError("A writeable column-major matrix is needed.")
    return len(matrix)


def _number(value: int) -> Any:
    return ctypes.byref(ctypes.c_int(value))


def _data(matrix: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(matrix.ctypes.data)


@cache
def _routine(name: str) -> Any:
    """Return a routine of LAPACK or BLAS as a foreign function of pointers, from scipy's capsule of that name.

    Raises
    ------
    FittingError
        If scipy's build has integers that are not C's.
    """
    found = cython_lapack.__pyx_capi__
    capsule = found[name] if name in found else cython_blas.__pyx_capi__[name]
    api = ctypes.pythonapi
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    signature = get_name(capsule)
    arguments = signature.decode().partition("(")[2].rstrip(")").split(", ")
    if not all(a in ("char *", "int *") or a.endswith("_d *") for a in arguments):
        raise FittingError(f"This build of scipy has a {name} of another kind: {signature.decode()}.")
    kinds = [ctypes.c_char_p if a == "char *" else ctypes.c_void_p for a in arguments]
    return ctypes.CFUNCTYPE(None, *kinds)(get_pointer(capsule, signature))
