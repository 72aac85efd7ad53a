"""CuPy without a card: arrays that numpy must not touch, as CuPy's must not, and a count of the moves between them.

What CuPy refuses is refused (numpy functions, numpy arrays as operands, indices and values), and what it does without a
word is done without a word: a Cholesky factor of a matrix that has none is half a factor unless errors are asked for.
"""

import operator
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
from scipy.linalg import solve_triangular

SCALARS = (int, float, np.integer, np.floating)


def bare(value):
    """The numpy array of a fake one; scalars, slices and shapes as they are."""
    if isinstance(value, FakeArray):
        return value.values
    if isinstance(value, tuple | list):
        return type(value)(bare(v) for v in value)
    if value is None or value is Ellipsis or isinstance(value, (*SCALARS, slice)):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def wrapped(function):
    def call(*args, **options):
        return FakeArray(function(*(bare(a) for a in args), **options))

    return call


class FakeArray:
    """An array on a card that is not there."""

    moves = SimpleNamespace(to_card=0, from_card=0)

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, *args, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, *args, **options):
        raise TypeError("numpy's functions are not for arrays of the card")

    def __array_function__(self, *args, **options):
        raise TypeError("numpy's functions are not for arrays of the card")

    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    dtype = property(lambda self: self.values.dtype)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return (FakeArray(v) for v in self.values)

    def __getitem__(self, places):
        return FakeArray(self.values[bare(places)])

    def __setitem__(self, places, value):
        self.values[bare(places)] = bare(value)

    def __neg__(self):
        return FakeArray(-self.values)

    def reshape(self, *shape):
        return FakeArray(self.values.reshape(*shape))

    def transpose(self, *axes):
        return FakeArray(self.values.transpose(*axes))

    def copy(self):
        return FakeArray(self.values.copy())

    def sum(self, axis=None):
        return FakeArray(self.values.sum(axis=axis))

    def get(self):
        FakeArray.moves.from_card += 1
        return self.values.copy()


def _add_operators():
    def forward(function):
        return lambda self, other: FakeArray(function(self.values, bare(other)))

    def backward(function):
        return lambda self, other: FakeArray(function(bare(other), self.values))

    def in_place(function):
        def change(self, other):
            function(self.values, bare(other))
            return self

        return change

    for name in ("add", "sub", "mul", "truediv", "pow"):
        setattr(FakeArray, f"__{name}__", forward(getattr(operator, name)))
        setattr(FakeArray, f"__r{name}__", backward(getattr(operator, name)))
        setattr(FakeArray, f"__i{name}__", in_place(getattr(operator, f"i{name}")))


_add_operators()


class FakeCuPy:
    """The modules, and what a test may set: cards, free memory, and when memory runs out."""

    def __init__(self, cards=1, free=1 << 30):
        self.cards, self.free = cards, free
        self.raises = False
        self.most_matrices = np.inf  # a larger batch of Cholesky factors runs out of memory
        self.released = 0
        self.moves = FakeArray.moves = SimpleNamespace(to_card=0, from_card=0)

    def asarray(self, values):
        if isinstance(values, FakeArray):
            return values
        self.moves.to_card += 1
        return FakeArray(np.array(values))

    def cholesky(self, matrices):
        values = bare(matrices)
        if values.ndim == 3 and len(values) > self.most_matrices:
            raise MemoryError("Out of memory allocating 8 bytes")
        try:
            return FakeArray(np.linalg.cholesky(values))
        except np.linalg.LinAlgError:
            if self.raises:
                raise
            return FakeArray(np.tril(values))

    @contextmanager
    def errstate(self, linalg):
        before, self.raises = self.raises, linalg == "raise"
        try:
            yield
        finally:
            self.raises = before

    @staticmethod
    def solve_triangular(a, b, trans=0, lower=False):
        factors, right = bare(a), bare(b)
        options = {"trans": trans, "lower": lower, "check_finite": False}
        if factors.ndim == 2:
            return FakeArray(solve_triangular(factors, right, **options))
        return FakeArray([solve_triangular(x, y, **options) for x, y in zip(factors, right, strict=True)])

    def release(self):
        self.released += 1

    def modules(self):
        cupy, cupyx, scipy, linalg = (ModuleType(n) for n in ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.linalg"))
        for name in ("matmul", "sqrt", "log", "concatenate", "stack"):
            setattr(cupy, name, wrapped(getattr(np, name)))
        for name in ("empty", "zeros", "eye", "zeros_like", "empty_like"):
            setattr(cupy, name, wrapped(getattr(np, name)))
        cupy.asarray = self.asarray
        cupy.linalg = SimpleNamespace(cholesky=self.cholesky)
        runtime = SimpleNamespace(getDeviceCount=lambda: self.cards, memGetInfo=lambda: (self.free, self.free))
        cupy.cuda = SimpleNamespace(runtime=runtime)
        cupy.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=self.release)
        linalg.solve_triangular = self.solve_triangular
        scipy.linalg, cupyx.scipy, cupyx.errstate = linalg, scipy, self.errstate
        return {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": scipy, "cupyx.scipy.linalg": linalg}


def install(monkeypatch, **options):
    """Put a fake CuPy where it is imported from."""
    found = FakeCuPy(**options)
    for name, module in found.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


def remove(monkeypatch):
    """Let CuPy not be installed."""
    monkeypatch.setitem(sys.modules, "cupy", None)
