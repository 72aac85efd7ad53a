"""Compiled arithmetic that gives the same bits every time a model is compiled."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ordered_arithmetic() -> Iterator[None]:
    """Compile PyTensor's functions without leave to reorder sums.

    With it, as PyTensor's default is, two compilations of one model differ in the last bits, and a long chain need not
    repeat itself.
    """
    import pytensor
    from numba import NumbaPerformanceWarning

    with warnings.catch_warnings(), pytensor.config.change_flags(numba__fastmath=False):
        # about a product with a transposed matrix, of the size of the approximation; nothing a user could change
        warnings.filterwarnings("ignore", category=NumbaPerformanceWarning)
        yield
