"""The algebra of model formulas (Wilkinson and Rogers 1973): sums of terms, and what their operators do."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bayeslmm.formula.formula import Bar

Term = tuple[str, ...]  # factors of an interaction; () is the intercept

MAX_TERMS = 1_000  # of an expanded formula
MAX_ORDER = 8  # factors in one interaction; the coding of k categorical factors looks at 2**k subsets

INTERCEPT: Term = ()


class TooLargeError(Exception):
    """An expansion passes a bound; the parser turns this into an error that marks the place."""


@dataclass(slots=True)
class Sum:
    """A sum of terms, and of the parts that only addition can reach.

    Attributes
    ----------
    terms
        Terms in the order written.
    drops_intercept
        Whether ``0`` or ``-1`` was written.
    bars, offsets, learner
        Random terms, offset expressions and columns of ``bart(...)``.
    """

    terms: list[Term] = field(default_factory=list)
    drops_intercept: bool = False
    bars: list[Bar] = field(default_factory=list)
    offsets: list[str] = field(default_factory=list)
    learner: list[str] = field(default_factory=list)

    @property
    def only_terms(self) -> bool:
        """Whether operators other than addition have a meaning for it."""
        return not (self.drops_intercept or self.bars or self.offsets or self.learner)

    def add(self, other: "Sum") -> None:
        """Add the other sum in place; a later ``0`` removes an earlier intercept, and the reverse."""
        if other.drops_intercept:
            self.terms = [term for term in self.terms if term != INTERCEPT]
            self.drops_intercept = True
        if INTERCEPT in other.terms:
            self.drops_intercept = False
        self.terms = _bounded(unique(self.terms + other.terms))
        self.bars += other.bars
        self.offsets += other.offsets
        self.learner += other.learner

    def subtract(self, other: "Sum") -> None:
        """Remove the other sum's terms in place; ``- 1`` removes the intercept, ``- 0`` restores it."""
        removed = {frozenset(term) for term in other.terms}
        if other.drops_intercept:
            self.add(Sum([INTERCEPT]))
        self.drops_intercept = self.drops_intercept or frozenset() in removed
        self.terms = [term for term in self.terms if frozenset(term) not in removed]


def unique(terms: Iterable[Term]) -> list[Term]:
    """Return the terms without repetitions; ``a:b`` and ``b:a`` are one term."""
    seen: dict[frozenset[str], Term] = {}
    for term in terms:
        seen.setdefault(frozenset(term), term)
    return list(seen.values())


def interact(left: list[Term], right: list[Term]) -> list[Term]:
    """``left:right``, every term of one with every term of the other."""
    if len(left) * len(right) > MAX_TERMS:
        raise TooLargeError(f"this expands to more than {MAX_TERMS:,} terms")
    return _bounded(unique(tuple(dict.fromkeys(a + b)) for a in left for b in right))


def cross(left: list[Term], right: list[Term]) -> list[Term]:
    """``left*right`` = ``left + right + left:right``."""
    return _bounded(unique(left + right + interact(left, right)))


def nest(left: list[Term], right: list[Term]) -> list[Term]:
    """``left/right`` = ``left + (all of left):right``."""
    everything = tuple(dict.fromkeys(factor for term in left for factor in term))
    return _bounded(unique(left + interact([everything], right)))


def power(base: list[Term], exponent: int) -> list[Term]:
    """``base**exponent``, all interactions up to the order of the exponent."""
    terms = base
    for _ in range(exponent - 1):
        larger = _bounded(unique(terms + interact(terms, base)))
        if len(larger) == len(terms):
            break
        terms = larger
    return terms


def by_order(terms: list[Term]) -> list[Term]:
    """Sort by the number of factors, the intercept first, otherwise as written."""
    return sorted(terms, key=len)


def _bounded(terms: list[Term]) -> list[Term]:
    if len(terms) > MAX_TERMS:
        raise TooLargeError(f"this expands to more than {MAX_TERMS:,} terms")
    if any(len(term) > MAX_ORDER for term in terms):
        raise TooLargeError(f"this is an interaction of more than {MAX_ORDER} factors")
    return terms
