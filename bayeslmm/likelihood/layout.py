"""Which random effects are eliminated level by level, and which form the dense trailing matrix.

A *nest* is a sequence of terms, each nested in the next (pups in litters in treatments): its levels can be
eliminated one after another without fill. If all terms form one nest, only X and y remain, and the work is linear
in the number of levels. Otherwise the term with the most random effects leads as a nest of one, and all other random
effects join X and y in one dense trailing matrix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.errors import ModelError
from bayeslmm.likelihood.memory import available_memory
from bayeslmm.types import Codes

LARGEST_DENSE = 3000  # trailing effects up to which a dense factor costs little
TRAILING_COPIES = 3  # the factor, its inverse, and LAPACK's or the caller's working copy
ALWAYS_THERE = 1 << 24  # bytes that no one asks the system about


@dataclass(frozen=True, slots=True)
class Layout:
    """The elimination order.

    Attributes
    ----------
    shapes
        Shapes of all terms, formula order.
    nest
        Formula positions of the nest's terms, innermost first; empty without random terms.
    trailing
        Formula positions of the terms in the dense trailing matrix, formula order.
    parents
        ``parents[k][l - k - 1]`` maps the levels of term of the nest k to those of nest term l > k, shape (J_k,).
    """

    shapes: tuple[TermShape, ...]
    nest: tuple[int, ...]
    trailing: tuple[int, ...]
    parents: tuple[tuple[Codes, ...], ...]

    @property
    def n_trailing(self) -> int:
        """Number of random effects in the trailing matrix."""
        return sum(self.shapes[k].n_effects for k in self.trailing)


def choose_layout(codes: Sequence[Codes], shapes: Sequence[TermShape]) -> Layout:
    """Choose the nest and the trailing terms from the codes (n,) of each term."""
    return layout_of(shapes, lambda inner, outer: nesting(codes[inner], codes[outer], shapes[inner].n_levels))


def layout_of(shapes: Sequence[TermShape], parents_of: Callable[[int, int], Codes | None]) -> Layout:
    """Choose the nest and the trailing terms.

    Parameters
    ----------
    shapes
        Shapes of the terms.
    parents_of
        Returns the level of a second term for each level of a first one, shape (J,), or None where some meets two.
    """
    shapes = tuple(shapes)
    order = sorted(range(len(shapes)), key=lambda k: (-shapes[k].n_levels, k))
    parents: list[tuple[Codes, ...]] = []
    for place, inner in enumerate(order):
        maps = [parents_of(inner, outer) for outer in order[place + 1 :]]
        if any(m is None for m in maps):
            break
        parents.append(tuple(m for m in maps if m is not None))
    else:
        return Layout(shapes, tuple(order), (), tuple(parents))
    lead = max(range(len(shapes)), key=lambda k: (shapes[k].n_effects, -k))
    trailing = tuple(k for k in range(len(shapes)) if k != lead)
    return Layout(shapes, (lead,), trailing, ((),))


def nesting(inner: Codes, outer: Codes, n_inner: int) -> Codes | None:
    """Return the outer level of each inner level, shape (J,), or None if some inner level meets two."""
    parent = np.zeros(n_inner, dtype=np.int32)
    parent[inner] = outer
    return parent if np.array_equal(parent[inner], outer) else None


def check_memory(layout: Layout, names: Sequence[str], n_fixed: int) -> None:
    """Refuse a trailing matrix that cannot be held.

    Raises
    ------
    ModelError
        With the sizes and the term that causes them.
    """
    order = layout.n_trailing + n_fixed + 1
    needed = trailing_bytes(order)
    if not layout.trailing or needed <= ALWAYS_THERE:
        return
    available = available_memory()
    if available is None or needed <= available:
        return
    largest = max(layout.trailing, key=lambda k: layout.shapes[k].n_effects)
    raise ModelError(
        f"The crossed random effects need a dense matrix of order {order:,} ({needed / 2**30:.1f} GiB with its "
        f"inverse); {available / 2**30:.1f} GiB are free. The term on {names[largest]!r} brings "
        f"{layout.shapes[largest].n_effects:,} random effects to it. Drop that term, merge its levels, or use a "
        "machine with more memory."
    )


def trailing_bytes(order: int) -> int:
    """Bytes the factorisation of a trailing matrix needs at its peak."""
    return TRAILING_COPIES * 8 * order * order
