"""What is decided once all rows are summed: collinear columns, centring, and whether there is something to estimate."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import find_structure
from bayeslmm.design.batches import Recipes
from bayeslmm.design.build import Recipe, term_name
from bayeslmm.design.centring import Centring, no_centring
from bayeslmm.design.coding import check_unique, few_rows_sentence
from bayeslmm.design.evaluate import SMALLEST_NUMBER, check_magnitude
from bayeslmm.design.gram import Gram, gram_centring, gram_dependence, gram_independent
from bayeslmm.design.learning import Learned
from bayeslmm.design.names import check_terms
from bayeslmm.design.streamed import StreamedDesign, StreamedTerm
from bayeslmm.design.summaries import ColumnSummary, Summaries
from bayeslmm.errors import DataError, ModelError
from bayeslmm.likelihood.partial_sums import PartialSums
from bayeslmm.likelihood.streamed_kernel import fixed_gram, response_gram, term_gram
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Streamed:
    """All that is left of the rows.

    Attributes
    ----------
    learned, recipes
        How rows become columns.
    sums
        Their cross-products.
    triangle
        The triangular factor of the fixed columns, where the cross-products left their rank in doubt and rows were at
        hand.
    """

    learned: Learned
    recipes: Recipes
    sums: PartialSums
    triangle: Array | None = None


def decide(streamed: Streamed, triangle: Callable[[], Array] | None = None) -> StreamedDesign:
    """Return the design of summed rows.

    Parameters
    ----------
    streamed
        The sums, and how they were made.
    triangle
        Returns the triangular factor of the fixed columns, for a rank that cross-products leave in doubt; None where
        the rows cannot be read again.

    Raises
    ------
    ModelError
        If the response is constant, or there are not more rows than independent fixed columns.
    """
    learned, recipes, sums = streamed.learned, streamed.recipes, streamed.sums
    plan = learned.plan
    _check_response(streamed)
    gram = fixed_gram(sums)
    check_unique(recipes.fixed.names)
    _check_size(gram, recipes.fixed.names)
    streamed, keep = _independent(streamed, gram, triangle)
    kept = np.flatnonzero(keep)
    if sums.n <= len(kept):
        raise ModelError(few_rows_sentence(sums.n, recipes.fixed))
    if not len(kept) and not plan.formula.bars:
        raise ModelError(f"The formula {plan.formula.text!r} has nothing to estimate besides sigma: add a term.")
    names = recipes.fixed.names
    taken = gram.take(kept)
    terms, grams = _terms(streamed)
    check_terms(terms)
    summaries = Summaries(
        n=sums.n,
        mean_weight=gram.total / sums.n,
        response=_summary(response_gram(sums)),
        fixed=_summary(taken),
        terms=tuple(map(_summary, grams)),
    )
    recipe = Recipe(
        plan.parts,
        learned.memory,
        recipes.fixed,
        kept,
        np.flatnonzero(~keep),
        gram_dependence(gram, keep),
        recipes.effects,
        learned.groupings,
    )
    return StreamedDesign(
        formula=plan.formula,
        response=plan.parts.response.label,
        fixed_names=tuple(names[j] for j in kept),
        terms=terms,
        n=sums.n,
        n_dropped=dict(learned.counts.dropped),
        dropped_columns=tuple(name for name, kept_too in zip(names, keep, strict=True) if not kept_too),
        centring=gram_centring(taken),
        weights_column=plan.weights_column,
        offset_column=plan.offset_column,
        functions=plan.functions,
        recipe=recipe,
        summaries=summaries,
        sums=streamed,
        left_out=_summary(gram.take(np.flatnonzero(~keep))),
    )


def _independent(
    streamed: Streamed, gram: Gram, triangle: Callable[[], Array] | None
) -> tuple[Streamed, NDArray[np.bool_]]:
    """Return which fixed columns are kept, and the sums with the triangular factor, if it was asked for."""
    asked: list[Array] = [] if streamed.triangle is None else [streamed.triangle]

    def factor() -> Array:
        if not asked:
            assert triangle is not None
            asked.append(triangle())
        return asked[0]

    keep = gram_independent(gram, factor if asked or triangle is not None else None)
    return (replace(streamed, triangle=asked[0]) if asked else streamed), keep


def _check_response(streamed: Streamed) -> None:
    sums, name = streamed.sums, streamed.learned.plan.parts.response.label
    if not np.isfinite(sums.gram).all():
        raise DataError("The sums of squares overflow: change the units of the columns or of the weights.")
    check_magnitude(np.array([[sums.low[0][-2]], [sums.high[0][-2]]]), (name,), smallest=SMALLEST_NUMBER)
    if sums.low[0][-2] == sums.high[0][-2]:
        raise ModelError(f"The response {name} is constant ({sums.low[0][-2]:g}), so there is nothing to model.")
    if sums.low[0][-1] == sums.high[0][-1]:
        raise ModelError(f"The response {name} minus the offset is constant: there is nothing to model.")


def _check_size(gram: Gram, names: tuple[str, ...]) -> None:
    check_magnitude(np.vstack([gram.ranges.low, gram.ranges.high]), names, smallest=SMALLEST_NUMBER)


def _terms(streamed: Streamed) -> tuple[tuple[StreamedTerm, ...], list[Gram]]:
    bars = streamed.learned.plan.formula.bars
    names = {bar.factor for bar in bars}
    terms: list[StreamedTerm] = []
    grams: list[Gram] = []
    for k, (bar, recipe, grouping) in enumerate(
        zip(bars, streamed.recipes.effects, streamed.learned.groupings, strict=True)
    ):
        check_unique(recipe.names)
        gram = term_gram(streamed.sums, k)
        _check_size(gram, recipe.names)
        covariance = find_structure(bar.covariance)
        centring: Centring = gram_centring(gram) if covariance.moves_with_origin else no_centring(len(recipe.names))
        name = term_name(bar.factor, names, [term.name for term in terms])
        terms.append(StreamedTerm(name, bar.factor, recipe.names, grouping.levels, covariance, centring))
        grams.append(gram)
    return tuple(terms), grams


def _summary(gram: Gram) -> ColumnSummary:
    ranges = gram.ranges
    return ColumnSummary(gram.means, gram.sds, ranges.low, ranges.high, ranges.binary)
