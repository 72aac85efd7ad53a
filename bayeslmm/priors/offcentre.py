"""Warnings about priors that are stated far outside the data."""

from collections.abc import Sequence

import numpy as np

from bayeslmm.design.centring import Centring
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.summaries import ColumnSummary
from bayeslmm.formula.formula import COVARIANCE_BARS
from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.priors.moments import fixed_summary, term_summary
from bayeslmm.types import Array

FAR_FROM_ZERO = 3.0  # standard deviations of x between zero and its mean


def far_from_zero_warnings(design: Design, centring: Centring, terms: Sequence[TermPriors]) -> tuple[str, ...]:
    """Return a sentence for every column whose prior holds at an x = 0 far from the data.

    A slope's column whose mean is more than 3 sd(x) from zero makes the other effects of its term (or of the
    fixed part) those of a point far outside the data, where priors scaled by the data do not hold. Fixed parts whose
    priors are stated on centred columns are safe, and terms whose priors hold at an end of x's range; those of
    ``||``, of ``(0 + x | g)``, of presets and of the user are not.
    """
    sentences = []
    if np.any(design.centring.constant) and not np.any(centring.constant):
        for j, far in enumerate(_far_columns(fixed_summary(design), design.centring.constant)):
            if far:
                sentences.append(_fixed_sentence(design.fixed_names[j], far))
    for term, priors in zip(design.terms, terms, strict=True):
        for s, far in enumerate(_far_columns(term_summary(design, term), term.centring.constant)):
            if far and not priors.centring.means[s]:
                sentences.append(_term_sentence(term, s, far))
    return tuple(sentences)


def _far_columns(summary: ColumnSummary, constant: Array) -> list[tuple[float, float] | None]:
    """Return (mean, sd) of each column far from zero, None for the others; indicators are never far."""
    harmless = (constant != 0) | summary.constant | summary.binary
    far = ~harmless & (np.abs(summary.mean) > FAR_FROM_ZERO * summary.sd)
    moments = zip(summary.mean.tolist(), summary.sd.tolist(), strict=True)
    return [pair if is_far else None for pair, is_far in zip(moments, far, strict=True)]


def _term_sentence(term: RandomTerm, s: int, moments: tuple[float, float]) -> str:
    effect = term.effects[s]
    bars = COVARIANCE_BARS[term.covariance.name]
    return (
        f"Random term ({' + '.join(term.effects)} {bars} {term.factor}): the mean of {effect!r} is "
        f"{moments[0]:.4g}, more than {FAR_FROM_ZERO:g} of its standard deviations ({moments[1]:.3g}) from "
        f"zero, and the priors of sd_{term.name} hold at {effect} = 0, far outside the data. "
        f"Centre the column, for instance center({effect})."
    )


def _fixed_sentence(name: str, moments: tuple[float, float]) -> str:
    return (
        f"Coefficient {name!r}: the mean of its column is {moments[0]:.4g}, more than {FAR_FROM_ZERO:g} of "
        f"its standard deviations ({moments[1]:.3g}) from zero, and the priors of the other coefficients "
        f"hold at {name} = 0, far outside the data. Centre the column, for instance center({name})."
    )
