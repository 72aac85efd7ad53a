r"""The levels of an interaction of factors, found by number.

A combination of codes (c₁, …, c_K) is the mixed-radix number c = (…(c₁·J₂ + c₂)·J₃ + …). The J combinations that
occur are kept sorted; a row's level is the place of its number among them, found in a hash with open addressing:
number c is looked for from slot ⌊2⁻⁶⁴⁺ᵏ (c·φ mod 2⁶⁴)⌋ of 2ᵏ ≥ 2J on, φ the odd integer next to 2⁶⁴ over the golden
ratio, which spreads runs of numbers evenly (Knuth 1998, The Art of Computer Programming 3, section 6.4).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Codes

GOLDEN = np.uint64(11400714819323198485)
FEW = 4  # levels per row from which a binary search for each row is cheaper than a hash of all levels


class CombinationCoder:
    """From numbers of combinations to their places among those that occur, -1 for one that does not.

    Parameters
    ----------
    observed
        The combinations that occur, sorted and distinct, shape (J,).
    """

    def __init__(self, observed: NDArray[np.int64]) -> None:
        self._observed = observed
        self._slots: NDArray[np.int32] | None = None

    def codes(self, combined: NDArray[np.int64]) -> Codes:
        """Return the level of each row, shape (n,)."""
        observed = self._observed
        if self._slots is None and len(observed) > FEW * len(combined):
            place = np.minimum(np.searchsorted(observed, combined), len(observed) - 1)
            return np.where(observed[place] == combined, place, -1).astype(np.int32)
        if self._slots is None:
            self._slots = _hash(observed, max(1, int(2 * len(observed) - 1).bit_length()))
        return _find(combined, observed, self._slots)


@numba.njit(cache=True, nogil=True)
def _hash(observed: NDArray[np.int64], bits: int) -> NDArray[np.int32]:
    """Return the place of the combination in each of 2**bits slots, -1 for an empty one."""
    slots = np.full(1 << bits, -1, dtype=np.int32)
    shift = np.uint64(64 - bits)
    for j in range(observed.shape[0]):
        slot = np.int64((np.uint64(observed[j]) * GOLDEN) >> shift)
        while slots[slot] >= 0:
            slot = (slot + 1) & (slots.shape[0] - 1)
        slots[slot] = j
    return slots


@numba.njit(cache=True, nogil=True)
def _find(combined: NDArray[np.int64], observed: NDArray[np.int64], slots: NDArray[np.int32]) -> Codes:
    codes = np.empty(combined.shape[0], dtype=np.int32)
    last = slots.shape[0] - 1
    bits = 0
    while (1 << bits) <= last:
        bits += 1
    shift = np.uint64(64 - bits)
    for i in range(combined.shape[0]):
        slot = np.int64((np.uint64(combined[i]) * GOLDEN) >> shift)
        place = slots[slot]
        while place >= 0 and observed[place] != combined[i]:
            slot = (slot + 1) & last
            place = slots[slot]
        codes[i] = place
    return codes
