"""What the data do not identify among the random terms of a design."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayeslmm.design.confounding import confounded, has_telling_level
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.streamed import is_streamed

Kind = Literal["single level", "one row per level", "too many effects", "confounded"]
ROUNDING = 1e-12  # of a column's largest value: what two equal computed values may differ by


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
        ``"confounded"``: other covariance parameters, of this term and perhaps of others, give the same likelihood, or
        columns of the term are constant within its levels, so that no level has effects of its own for them.
    message
        A sentence with the remedy.
    """

    term: str
    kind: Kind
    message: str


def identifiability(design: Design, sigma_known: bool = False) -> list[Finding]:
    """Return what the likelihood of a design leaves undetermined, in term order; empty if nothing.

    The first rules are those of lme4: at least two levels per grouping factor, fewer levels than rows, and no more
    random effects in a term than rows. Where they find nothing, covariance parameters that are exactly confounded are
    looked for.

    Parameters
    ----------
    design
        The design.
    sigma_known
        Whether the residual standard deviation is given, and separates variances from it.
    """
    found = [finding for term in design.terms if (finding := _check_term(term, design.n)) is not None]
    if sigma_known:
        found = [finding for finding in found if finding.kind == "single level"]
    return found or _confounded(design, sigma_known)


def generalized_identifiability(design: Design, rows_tell: bool) -> list[Finding]:
    """Return what a design leaves undetermined where the response's family has no residual variance.

    Parameters
    ----------
    design
        The design.
    rows_tell
        Whether a single response can vary more than its family says, as a count can and a yes or no cannot. Where it
        can, a grouping factor with a level for every row stands for overdispersion.
    """
    found = [finding for term in design.terms if (finding := _check_term(term, design.n)) is not None]
    single = [finding for finding in found if finding.kind == "single level"]
    if rows_tell:
        return single or _confounded(design, True)
    apart = [
        Finding(
            term.name, "one row per level",
            f"the grouping factor {term.factor!r} has a level for every row, and a yes or no per level cannot tell its "
            "variance: leave the term out",
        )
        for term in design.terms if term.n_levels >= design.n
    ]  # fmt: skip
    return single + apart or _confounded(design, True)


def _confounded(design: Design, sigma_known: bool) -> list[Finding]:
    if is_streamed(design) or (len(design.terms) == 1 and has_telling_level(design.terms[0])):
        return []
    apart = [_constant(term, columns) for term in design.terms if len(columns := _constant_columns(term)) > 1]
    names = confounded(design.terms, design.weights, design.n, sigma_known)
    if not names:
        return apart
    term = next(
        t.name for t in design.terms if any(name.startswith((f"sd_{t.name}[", f"cor_{t.name}[")) for name in names)
    )
    *first, last = names
    stated = f"{', '.join(first)} and {last}" if first else last
    return [
        Finding(
            term, "confounded",
            f"the data do not determine {stated}: other values have the same likelihood, whatever the response; "
            "leave a column or a term out",
        )
    ]  # fmt: skip


def _constant_columns(term: RandomTerm) -> list[str]:
    """Return the effects of a correlated term whose columns have one value within every level."""
    if not term.has_correlations:
        return []
    rows = np.zeros(term.n_levels, dtype=np.intp)
    rows[term.codes] = np.arange(len(term.codes))
    spread = np.abs(term.columns - term.columns[rows[term.codes]]).max(axis=0)
    constant = spread <= ROUNDING * np.abs(term.columns).max(axis=0)
    return [effect for effect, found in zip(term.effects, constant, strict=True) if found]


def _constant(term: RandomTerm, columns: list[str]) -> Finding:
    names = [name for name in columns if name != "Intercept"]
    verb, which = ("is", "its effect") if len(names) == 1 else ("are", "their effects")
    beside = "the intercept" if "Intercept" in columns else "one another"
    return Finding(
        term.name, "confounded",
        f"in the term {term.name!r}, {' and '.join(names)} {verb} constant within every level, so no level shows "
        f"{which} apart from {beside}: write (1 | {term.factor}), and keep the predictor in the fixed part",
    )  # fmt: skip


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
