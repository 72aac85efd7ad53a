"""How many threads LAPACK may use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

LARGE_ORDER = 500  # below this order of the trailing matrix a second thread costs more than it brings


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def idle_cores() -> int:
    """Return how many cores this process may use that nobody else is using now, at least one.

    The kernel's count of running threads is read rather than the load average, which would count this process's own
    past work as somebody else's.
    """
    try:
        usable = len(os.sched_getaffinity(0))
        running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0])
    except (AttributeError, OSError, ValueError, IndexError):
        return 1
    return max(1, usable - max(running - 1, 0))


@contextmanager
def blas_threads(order: int) -> Iterator[int]:
    """Limit LAPACK's threads within the block: one, unless the matrix is large and cores are idle.

    Two threads on two busy cores run several times slower than one.
    """
    count = idle_cores() if order >= LARGE_ORDER else 1
    with _controller().limit(limits=count, user_api="blas"):
        yield count
