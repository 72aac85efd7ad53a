"""Whether memory holds what a method is to keep, said before it begins."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from bayeslmm.errors import ModelError, is_word
from bayeslmm.inference.draws import SUMMARY
from bayeslmm.inference.options import Options
from bayeslmm.likelihood.memory import available_memory

DRAWS_PEAK = 1.3  # times what is kept is the most that memory holds while draws are made
DRAWS_REMEDY = (
    "Keep none with store=(), or those of some terms with store=('g',); take fewer draws=, or halve them with "
    "precision='float32'. All other draws stay the same. store='summary' keeps means, sds and quantiles, where "
    "responses are normal and random effects are integrated out."
)
EIGHT = 8  # bytes of a number that is computed with


def check_room_for_draws(names: Sequence[str], effects: Sequence[int], options: Options) -> None:
    """Refuse draws, or summaries, of random effects that memory does not hold, before any is made.

    Parameters
    ----------
    names, effects
        The terms of the model and the random effects of each.
    options
        How many draws there are and what is kept of them.

    Raises
    ------
    ModelError
        With the sizes, the term most of them belong to, and the remedies.
    """
    if is_word(options.store, (SUMMARY,)):
        needed = [EIGHT * (2 + len(options.quantiles)) * count for count in effects]
        what, remedy = "summaries", "Keep none with store=(), or fewer quantiles=."
    else:
        width, draws = np.dtype(options.dtype).itemsize, options.draws * options.chains
        needed = [width * draws * count * kept for count, kept in zip(effects, options.keep(names), strict=True)]
        what, remedy = "draws", DRAWS_REMEDY
    _require(
        DRAWS_PEAK * sum(needed),
        f"The {what} of the random effects need {_gibibytes(sum(needed))}; {{free}} are free. Most of them belong to "
        f"the term on {_largest(names, needed)!r}. {remedy}",
    )


def check_room_for_coordinates(names: Sequence[str], effects: Sequence[int], options: Options, times: float) -> None:
    """Refuse to sample random effects themselves where memory does not hold them for all draws.

    Parameters
    ----------
    names, effects, options
        As in `check_room_for_draws`.
    times
        Copies that the method holds of the draws of all effects, kept or not.

    Raises
    ------
    ModelError
        With the sizes, the term most of them belong to, and the remedies.
    """
    needed = [times * EIGHT * options.draws * options.chains * count for count in effects]
    _require(
        sum(needed),
        f"Here the random effects themselves are sampled, and all their draws, kept or not, take "
        f"{_gibibytes(sum(needed))}; {{free}} are free. Most of them belong to the term on "
        f"{_largest(names, needed)!r}. Take fewer draws=, or use method='importance', which with store=() keeps none.",
    )


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn the end of memory into an error that says what to do.

    Raises
    ------
    ModelError
        In place of a MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise ModelError(
            "Memory ran out. Keep no random effects with store=(), or their means, sds and quantiles alone with "
            "store='summary'; take fewer draws=, or simplify the random effects."
        ) from error


def _require(needed: float, message: str) -> None:
    """Refuse what needs more bytes than are free; the message has a place for these."""
    available = available_memory()
    if available is not None and needed > available:
        sentence = message.format(free=_gibibytes(available))
        raise ModelError(sentence)


def _largest(names: Sequence[str], needed: Sequence[float]) -> str:
    return names[max(range(len(names)), key=lambda k: needed[k])] if names else ""


def _gibibytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
