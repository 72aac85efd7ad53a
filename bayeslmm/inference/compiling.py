"""A line on the terminal or in a notebook while loops are compiled, which happens once on a machine."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

PATIENCE = 1.0  # seconds of compilation that nobody needs to be told of
MESSAGE = "Compiling for the first time, up to a minute; later runs start at once."


class Watch(event.Listener):
    """Tells of compilation once it takes long; `clock` returns seconds."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self.tell, self.clock = tell, clock
        self.depth, self.since, self.seconds = 0, 0.0, 0.0
        self.told = False

    def on_start(self, event: Any) -> None:
        """Note that a function is being compiled, perhaps within another."""
        if self.depth == 0:
            self.since = self.clock()
        self.depth += 1
        self._tell_if_long()

    def on_end(self, event: Any) -> None:
        """Note that a function has been compiled."""
        self._tell_if_long()
        self.depth -= 1
        if self.depth == 0:
            self.seconds += self.clock() - self.since

    def _tell_if_long(self) -> None:
        if not self.told and self.seconds + self.clock() - self.since > PATIENCE:
            self.told = True
            self.tell(MESSAGE)


@contextmanager
def compilation_told(shown: bool) -> Iterator[None]:
    """Say on standard error, once in a process, that loops are being compiled, if that takes longer than `PATIENCE`.

    Parameters
    ----------
    shown
        Whether to say so, if there is a stream to say it on.
    """
    if not shown or sys.stderr is None or _WATCH.told:
        yield
        return
    with event.install_listener("numba:compile", _WATCH):
        yield


def _to_standard_error(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


_WATCH = Watch(_to_standard_error)
