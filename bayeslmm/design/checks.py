"""What the data do not identify among the random terms of a design."""

from dataclasses import dataclass
from typing import Literal

from bayeslmm.design.design import Design, RandomTerm

Kind = Literal["single level", "one row per level", "too many effects"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a design does not identify.

    Attributes
    ----------
    term
        Name of the random term.
    kind
        ``"single level"``: the term's covariance is unknown. ``"one row per level"``, ``"too many effects"``:
        its covariance cannot be distinguished from the residual variance, unless ``sigma`` is known.
    message
        A sentence with the remedy.
    """

    term: str
    kind: Kind
    message: str


def identifiability(design: Design) -> list[Finding]:
    """Return what the likelihood of a design leaves undetermined, in term order; empty if nothing.

    The rules are those of lme4: at least two levels per grouping factor, fewer levels than rows, and no more
    random effects in a term than rows.
    """
    return [finding for term in design.terms if (finding := _check_term(term, design.n)) is not None]


def _check_term(term: RandomTerm, n: int) -> Finding | None:
    levels, effects = term.n_levels, term.n_levels * term.n_columns
    if levels < 2:
        return Finding(
            term.name, "single level",
            f"the grouping factor {term.factor!r} has a single level, so its variance cannot be estimated: "
            "leave the term out, or give it a proper prior",
        )  # fmt: skip
    if levels >= n:
        return Finding(
            term.name, "one row per level",
            f"the grouping factor {term.factor!r} has {levels} levels in {n} rows, so its variance cannot "
            "be distinguished from the residual's: leave the term out, fix sigma=, or state informative priors",
        )  # fmt: skip
    if effects > n:
        return Finding(
            term.name, "too many effects",
            f"the term {term.name!r} has {effects} random effects ({levels} levels, {term.n_columns} "
            f"columns) for {n} rows, so their covariance cannot be distinguished from the residual's: use fewer "
            "columns, fix sigma=, or state informative priors",
        )  # fmt: skip
    return None
