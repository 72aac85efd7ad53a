"""Compiled arithmetic that gives the same bits every time a model is compiled."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ordered_arithmetic() -> Iterator[None]:
    """Compile PyTensor's functions without leave to reorder sums.

    With it, as PyTensor's default is, two compilations of one model differ in the last bits, and a long chain need not
    repeat itself.
    """
    import pytensor

    with pytensor.config.change_flags(numba__fastmath=False):
        yield
