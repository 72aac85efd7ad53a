"""The same work for many items, in worker processes where more than one may be used."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_workers(work: Callable[[Item], Result], items: Iterable[Item], cores: int) -> Iterator[Result]:
    """Yield the results in the order of the items, each as soon as it and those before it are there.

    Parameters
    ----------
    work
        What is done with an item; with more than one core it and the items are sent to other processes.
    items
        The items.
    cores
        Worker processes, by joblib, so that its backends serve; 1 means this process.
    """
    if cores == 1:
        yield from map(work, items)
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=cores, return_as="generator")(delayed(work)(item) for item in items)
