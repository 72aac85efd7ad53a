"""How many threads LAPACK may use.

OpenBLAS starts as many threads as there are cores, and they wait by spinning: two threads on two busy cores run many
times slower than one, on matrices of any size: a triangular solve of order two can take six milliseconds. So whatever
calls LAPACK runs in a `blas_threads` block.

The wheels of numpy and of scipy each bring an OpenBLAS of their own. Their threads would wait for each other's cores,
so only scipy's, whose LAPACK does the work on large matrices, is ever given more than one.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LARGE_ORDER = 500  # below this order of the trailing matrix a second thread costs more than it brings


class _Blocks:
    """The open blocks of all threads of this process: the outermost one decides, the last one restores."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = 0
        self.count = 1
        self.before: list[tuple[Any, int]] = []  # the libraries that were limited, and their threads before


_blocks = _Blocks()


@cache
def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


@cache
def _is_scipys(path: str) -> bool:
    """Whether a library lies in the folder that scipy's wheels bring: ``scipy.libs`` or ``scipy/.dylibs``."""
    folder = Path(path).parent
    return folder.name == "scipy.libs" or folder.parent.name == "scipy"


def _counts(libraries: list[Any], count: int) -> list[int]:
    """Return how many threads each library may use where LAPACK may use `count`: scipy's own, or all alike."""
    scipys = [_is_scipys(library.filepath) for library in libraries]
    return [count if own or not any(scipys) else 1 for own in scipys]


def idle_cores() -> int:
    """Return how many cores this process may use that nobody else is using now, at least one.

    The system's count of running threads is read rather than the load average, which would count this process's own
    past work as somebody else's. For the same reason the workers of BLAS, which go on spinning for a while after a
    call, do not count: they are the running threads of this process that Python knows nothing of.
    """
    try:
        usable = len(os.sched_getaffinity(0))
        running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
        ours = {thread.native_id for thread in threading.enumerate()}
        spinning = sum(int(task.name) not in ours and _is_running(task) for task in Path("/proc/self/task").iterdir())
    except (AttributeError, OSError, ValueError, IndexError):
        return 1
    return max(1, usable - max(running - spinning - 1, 0))


def _is_running(task: Path) -> bool:
    try:
        return (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "R"
    except FileNotFoundError:  # it has ended
        return False


def worker_threads(order: int, cores: int | None = None) -> int:
    """Return how many threads to use on matrices of an order: one, unless their work outweighs Python's.

    `cores` says how many there may be; None for as many as cores are idle.
    """
    return (cores or idle_cores()) if order >= LARGE_ORDER else 1


@contextmanager
def blas_threads(order: int) -> Iterator[int]:
    """Limit LAPACK's threads within the block: one, unless the matrix is large and cores are idle.

    Blocks may be nested and may be open in several threads at once; the setting is the process's, so the outermost
    block chooses it.
    """
    with _blocks.lock:
        if _blocks.open == 0:
            _blocks.count = worker_threads(order)
            _blocks.before = []
            for library, limit in zip(_libraries(), _counts(_libraries(), _blocks.count), strict=True):
                if library.num_threads > limit:
                    _blocks.before.append((library, library.num_threads))
                    library.set_num_threads(limit)
        _blocks.open += 1
    try:
        yield _blocks.count
    finally:
        with _blocks.lock:
            _blocks.open -= 1
            if _blocks.open == 0:
                for library, before in _blocks.before:
                    library.set_num_threads(before)


def in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    report: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
) -> list[R]:
    """Call a function for every item, in several threads at once, and return the results in the items' order.

    LAPACK gets one thread to a matrix: with more it rounds in another way, and draws would depend on the number of
    cores. `report` is called with the number of results there are. At the first exception, Ctrl-C included, items
    that wait are dropped, and `stop` is set for calls under way to heed: the exception goes on when they have ended.
    """
    found: list[R] = []
    with blas_threads(0), ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        try:
            for result in map(function, items) if pool is None else pool.map(function, items):
                found.append(result)
                if report is not None:
                    report(len(found))
        except BaseException:
            if stop is not None:
                stop.set()
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            raise
    return found


class HasOrder(Protocol):
    """Anything with a trailing matrix: cross-products, a factor, a kernel."""

    @property
    def order(self) -> int:
        """Order of the trailing matrix."""


S = TypeVar("S", bound=HasOrder)


def limits_threads(function: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a function in a `blas_threads` block for the order of its first argument."""

    @wraps(function)
    def limited(first: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with blas_threads(first.order):
            return function(first, *args, **kwargs)

    return limited
