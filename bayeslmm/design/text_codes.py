"""Codes of texts in the order in which rows bring them, by a hash of their bytes: no object is made of any of them."""

from copy import copy
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import Codes
from bayeslmm.design.first_come import Coder
from bayeslmm.scratch import Scratch

Bytes = NDArray[np.uint8]
Slots = NDArray[np.uint64]
FEWEST_SLOTS = 2**10


class TextCoder(Coder):
    """Numbers the distinct texts of a column as they come.

    Their bytes stand one after another. A table of slots, at least twice as many as there are texts, holds 32 bits of
    the hash of each and its code; texts whose bits agree are compared byte by byte.

    Parameters
    ----------
    dtype
        The type of the column.
    """

    def __init__(self, dtype: Any) -> None:
        self.count = 0
        self._dtype = dtype
        self._held: Bytes = np.empty(0, dtype=np.uint8)
        self._ends = np.zeros(1, dtype=np.int64)
        self._hashes = np.empty(0, dtype=np.uint64)
        self._slots = np.zeros(FEWEST_SLOTS, dtype=np.uint64)
        self._sorted: Any = None
        self._scratch = Scratch(np.uint64)

    def codes(self, column: pd.Series, scratch: Scratch | None = None) -> Codes | None:
        """Return the code of each row, (n,); None where the column is not of the same type.

        If given, they are in scratch memory of 32-bit whole numbers.
        """
        found = _bytes_of(column) if column.dtype == self._dtype else None
        return None if found is None else self._add(*found, (scratch or Scratch(np.int32)).array(len(column)))

    def merge(self, other: Coder) -> Codes | None:
        """Return the codes here of the levels there, by their codes there; None as ``codes`` does."""
        if other.count == 0:
            return np.empty(0, dtype=np.int32)
        if not isinstance(other, TextCoder) or other._dtype != self._dtype:
            return None
        data = other._held[: other._ends[other.count]]
        return self._add(other._ends[: other.count + 1].copy(), _fixed(data), np.empty(other.count, dtype=np.int32))

    def levels(self) -> Any:
        """Return the levels in ascending order, (J,).

        Raises
        ------
        UnicodeError
            If bytes were read as text.
        """
        texts = self._texts()
        return self._dtype.construct_array_type()._from_sequence(texts.take(self._in_order(texts)), dtype=self._dtype)

    def order(self) -> Codes:
        """Return the codes of the levels in ascending order, (J,)."""
        return np.asarray(self._in_order(self._texts())).astype(np.int32)

    def packed(self) -> "TextCoder":
        """Return the codes without room for more; they share memory with these."""
        found = copy(self)
        found._sorted = None
        found._slots = np.empty(0, dtype=np.uint64)  # filled again from the hashes
        found._held = self._held[: self._ends[self.count]]
        found._ends, found._hashes = self._ends[: self.count + 1], self._hashes[: self.count]
        return found

    def _add(self, ends: NDArray[np.int64], data: Bytes, codes: Codes) -> Codes:
        n = len(codes)
        self._held = _longer(self._held, int(self._ends[self.count] + ends[-1] - ends[0]))
        self._ends = _longer(self._ends, self.count + n + 1)
        self._hashes = _longer(self._hashes, self.count + n)
        if len(self._slots) < 2 * (self.count + n):
            self._slots = np.zeros(1 << (2 * (self.count + n)).bit_length(), dtype=np.uint64)
            _refill(self._hashes, self.count, self._slots)
        if n:
            hashes = self._scratch.array(n)
            _hash_each(ends, data, hashes)
            self.count = _number(
                ends, data, hashes, self._held, self._ends, self._hashes, self._slots, self.count, codes
            )
            self._sorted = None
        return codes

    def _texts(self) -> Any:
        import pyarrow as pa

        held = self._held[: self._ends[self.count]]
        ends = self._ends[: self.count + 1]
        texts = pa.LargeStringArray.from_buffers(self.count, pa.py_buffer(ends), pa.py_buffer(held))
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise UnicodeError(str(error)) from error
        return texts

    def _in_order(self, texts: Any) -> Any:
        import pyarrow.compute as pc

        if self._sorted is None:  # a million takes as long as adding ten million rows
            self._sorted = pc.array_sort_indices(texts)
        return self._sorted


def is_text_column(column: pd.Series) -> bool:
    """Whether a column holds texts as Arrow does."""
    return isinstance(column.dtype, pd.StringDtype) and column.dtype.storage == "pyarrow"


def _bytes_of(column: pd.Series) -> tuple[NDArray[np.int64], Bytes] | None:
    """Return where texts end, after where the first begins, (n + 1,), and their bytes; None if one is missing."""
    import pyarrow as pa

    texts = pa.chunked_array(column.array.__arrow_array__()).combine_chunks()  # type: ignore[attr-defined]
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.chunk(0) if texts.num_chunks else pa.array([], type=pa.large_string())
    if texts.null_count:
        return None
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        texts = texts.cast(pa.large_string())
    _, places, data = texts.buffers()
    wide = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.zeros(1, dtype=np.int64)
    if len(texts):
        ends = np.frombuffer(places, dtype=wide)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return ends, _fixed(np.frombuffer(data or b"", dtype=np.uint8))


def _fixed(values: Bytes) -> Bytes:
    """Return a view that cannot be written to, the one kind of bytes that loops are compiled for."""
    view = values.view()
    view.flags.writeable = False
    return view


def _longer(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Return an array of that length or more, twice as long as it was, with the same entries first."""
    if len(values) >= length:
        return values
    found = np.empty(max(length, 2 * len(values)), dtype=values.dtype)
    found[: len(values)] = values
    return found


@numba.njit(cache=True, nogil=True)
def _hash_each(ends: NDArray[np.int64], data: Bytes, hashes: NDArray[np.uint64]) -> None:
    """FNV-1a of the bytes of each text, its bits then mixed as splitmix64 does."""
    for i in range(hashes.shape[0]):
        value = np.uint64(14695981039346656037)
        for k in range(ends[i], ends[i + 1]):
            value = (value ^ np.uint64(data[k])) * np.uint64(1099511628211)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes[i] = value ^ (value >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _number(
    ends: NDArray[np.int64],
    data: Bytes,
    values: NDArray[np.uint64],
    held: Bytes,
    held_ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    slots: Slots,
    count: int,
    codes: Codes,
) -> int:
    """Give every text the code of its equal among those held, or hold it; `values` are their hashes.

    A slot is the upper half of a hash, then the code of its text plus 1, or zero. Each array of what is held has room
    for all texts, were they new.
    """
    mask = np.uint64(slots.shape[0] - 1)
    low = np.uint64(0xFFFFFFFF)
    for i in range(codes.shape[0]):
        start, end = ends[i], ends[i + 1]
        value = values[i]
        place = value & mask
        while True:
            slot = slots[place]
            if slot == np.uint64(0):
                first = held_ends[count]
                for k in range(end - start):
                    held[first + k] = data[start + k]
                held_ends[count + 1] = first + end - start
                hashes[count] = value
                slots[place] = (value & ~low) | np.uint64(count + 1)
                codes[i] = count
                count += 1
                break
            if (slot ^ value) <= low:
                code = np.int64(slot & low) - 1
                first = held_ends[code]
                if held_ends[code + 1] - first == end - start:
                    k = 0
                    while k < end - start and held[first + k] == data[start + k]:
                        k += 1
                    if k == end - start:
                        codes[i] = code
                        break
            place = (place + np.uint64(1)) & mask
    return count


@numba.njit(cache=True, nogil=True)
def _refill(hashes: NDArray[np.uint64], count: int, slots: Slots) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    low = np.uint64(0xFFFFFFFF)
    for code in range(count):
        place = hashes[code] & mask
        while slots[place] != np.uint64(0):
            place = (place + np.uint64(1)) & mask
        slots[place] = (hashes[code] & ~low) | np.uint64(code + 1)
