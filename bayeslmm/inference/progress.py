"""A progress bar on the terminal or in a notebook."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bayeslmm.errors import check_switch


@contextmanager
def progress_bar(total: int | None, unit: str, shown: bool) -> Iterator[Callable[[int], None] | None]:
    """Yield a function to be called with the number done so far, None where nothing is shown.

    Parameters
    ----------
    total
        Where the bar ends; None where that is not known.
    unit
        What is counted.
    shown
        Whether to show the bar, if there is a stream to show it on: services and windowed programs have none.

    Raises
    ------
    OptionError
        If `shown` is neither True nor False.
    """
    check_switch("progressbar", shown)
    if not shown or sys.stderr is None:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit=f" {unit}", leave=False) as bar:

        def report(done: int) -> None:
            bar.update(done - bar.n)

        yield report
