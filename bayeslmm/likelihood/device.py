"""Where dense matrices are computed in batches: on this machine's processors by numpy, or on a graphics card by CuPy.

CuPy's arrays live on the card and have numpy's interface, so that one function serves both. What differs are the
four things a `Device` does: moving arrays, Cholesky factors, triangular systems, and telling how much room there is.
CuPy refuses to mix its arrays with numpy's, so every array goes through `to_device` and `to_host`, and each such move
is seen in the code.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.errors import MissingDependencyError, OptionError
from bayeslmm.likelihood.memory import available_memory
from bayeslmm.types import Array, DeviceWord

DeviceArray = Any  # of numpy or of CuPy, double precision
LARGE_ORDER = 2000  # from this order on a card is busy with one Cholesky factor
UNKNOWN_MEMORY = 1 << 30  # bytes taken for free where the system does not tell


class Device(ABC):
    """A namespace of arrays with what depends on where they are.

    Attributes
    ----------
    name
        What a fit's facts call it.
    xp
        numpy or cupy.
    """

    name: str
    xp: Any

    @abstractmethod
    def to_device(self, array: Array) -> DeviceArray:
        """Return an array of this machine's memory as one of the device."""

    @abstractmethod
    def to_host(self, array: DeviceArray) -> Array:
        """Return an array of the device as one of this machine's memory."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Return how much memory the device has left."""

    @abstractmethod
    def solve_lower(self, factors: DeviceArray, right: DeviceArray, *, transposed: bool) -> DeviceArray:
        """Return x of ``L x = right``, or of ``L^T x = right``; L lower triangular (b, m, m), right (b, m, k)."""

    @abstractmethod
    def _cholesky(self, matrices: DeviceArray) -> DeviceArray:
        """Return the lower Cholesky factors (b, m, m).

        Raises
        ------
        numpy.linalg.LinAlgError
            If one of the matrices is not positive definite.
        """

    def cholesky(self, matrices: DeviceArray) -> tuple[DeviceArray, Array]:
        """Return lower Cholesky factors (b, m, m), and which matrices have one, shape (b,), on this machine.

        The place of a matrix without a factor holds the identity, so that no later step stumbles over it.
        """
        count, order = matrices.shape[:2]
        try:
            return self._cholesky(matrices), np.ones(count, dtype=bool)
        except np.linalg.LinAlgError:
            pass
        good = np.ones(count, dtype=bool)
        factors = self.xp.empty_like(matrices)
        for k in range(count):
            try:
                factors[k : k + 1] = self._cholesky(matrices[k : k + 1])
            except np.linalg.LinAlgError:
                factors[k] = self.xp.eye(order)
                good[k] = False
        return factors, good

    @abstractmethod
    def release(self) -> None:
        """Give back memory that is held for later use only."""


class Host(Device):
    """The machine itself: numpy and scipy."""

    name = "cpu"
    xp = np

    def to_device(self, array: Array) -> DeviceArray:
        """Return the array itself."""
        return array

    def to_host(self, array: DeviceArray) -> Array:
        """Return the array itself."""
        return np.asarray(array)

    def free_bytes(self) -> int:
        """Return how much memory this process may still take."""
        found = available_memory()
        return UNKNOWN_MEMORY if found is None else found

    def solve_lower(self, factors: DeviceArray, right: DeviceArray, *, transposed: bool) -> DeviceArray:
        """Return x of ``L x = right``, or of ``L^T x = right``."""
        found = np.empty_like(right)
        for k, factor in enumerate(factors):
            found[k] = solve_triangular(factor, right[k], lower=True, trans=int(transposed), check_finite=False)
        return found

    def _cholesky(self, matrices: DeviceArray) -> DeviceArray:
        return np.linalg.cholesky(matrices)

    def release(self) -> None:
        """Do nothing: nothing is held."""


class Card(Device):
    """A graphics card of NVIDIA's: CuPy, which is imported here and nowhere else.

    Raises
    ------
    ImportError
        If CuPy cannot be imported.
    RuntimeError
        If CuPy finds no card, or cannot compute on it.
    """

    name = "cuda"

    def __init__(self) -> None:
        import cupy
        import cupyx
        import cupyx.scipy.linalg

        if cupy.cuda.runtime.getDeviceCount() == 0:
            raise RuntimeError("the driver knows of none")
        self.xp = cupy
        self._cupyx = cupyx
        self._cholesky(cupy.eye(2)[None])  # what CUDA's libraries lack shows now, not after minutes

    def to_device(self, array: Array) -> DeviceArray:
        """Copy an array to the card."""
        return self.xp.asarray(np.ascontiguousarray(array))

    def to_host(self, array: DeviceArray) -> Array:
        """Copy an array from the card."""
        return np.asarray(array.get())

    def free_bytes(self) -> int:
        """Return what the card has free, and what CuPy holds for later use."""
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def solve_lower(self, factors: DeviceArray, right: DeviceArray, *, transposed: bool) -> DeviceArray:
        """Return x of ``L x = right``, or of ``L^T x = right``."""
        solve, trans = self._cupyx.scipy.linalg.solve_triangular, int(transposed)
        if 0 in right.shape:
            return right.copy()
        if factors.shape[1] < LARGE_ORDER:
            return solve(factors, right, lower=True, trans=trans)
        return self.xp.stack([solve(one, b, lower=True, trans=trans) for one, b in zip(factors, right, strict=True)])

    def _cholesky(self, matrices: DeviceArray) -> DeviceArray:
        # the card's library tells of failures only when it is asked to, and returns half a factor otherwise
        with self._cupyx.errstate(linalg="raise"):
            if matrices.shape[1] < LARGE_ORDER and len(matrices) > 1:
                return self.xp.linalg.cholesky(matrices)
            return self.xp.stack([self.xp.linalg.cholesky(matrix) for matrix in matrices])

    def release(self) -> None:
        """Give CuPy's unused memory back to the card."""
        self.xp.get_default_memory_pool().free_all_blocks()


def find_device(word: DeviceWord) -> Device | None:
    """Return the device an option names.

    Parameters
    ----------
    word
        "cuda" for a card; "auto" for one where there is one; "cpu" for none.

    Returns
    -------
    Device or None
        None where everything stays on this machine.

    Raises
    ------
    MissingDependencyError
        If it is "cuda" and CuPy is not installed.
    OptionError
        If it is "cuda" and there is no card.
    """
    if word == "cpu":
        return None
    try:
        return Card()
    except ImportError as error:
        if word == "auto":
            return None
        raise MissingDependencyError(
            "device='cuda' needs CuPy, which cannot be imported: pip install 'bayeslmm[gpu]', or use device='cpu'."
        ) from error
    except RuntimeError as error:  # CuPy's errors of the driver and of the card are of this kind
        if word == "auto":
            return None
        raise OptionError(
            "device='cuda' needs a graphics card with CUDA 12, its driver and CUDA's libraries, and CuPy cannot "
            "compute on one. Look at nvidia-smi and cupy.show_config(), or use device='cpu' or 'auto'."
        ) from error
