"""The terms of the fixed part: which columns belong to each, and the same columns in sum-to-zero coding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.build import Recipe
from bayeslmm.design.coding import ColumnRecipe, encode_terms, term_values
from bayeslmm.design.design import Design
from bayeslmm.design.evaluate import Evaluator
from bayeslmm.design.functions import coding, remembered
from bayeslmm.formula import Expression
from bayeslmm.types import Array

INTERCEPT = "Intercept"


@dataclass(frozen=True, slots=True)
class FixedTerm:
    """One term of the fixed part, with at least one column kept.

    Attributes
    ----------
    name
        As the formula has it, ``"treatment:sex"``; ``"Intercept"``.
    categories, numbers
        Labels of its categorical and of its numeric factors.
    places
        Places of its columns among the p columns of X.
    """

    name: str
    categories: frozenset[str]
    numbers: frozenset[str]
    places: NDArray[np.intp]

    def is_within(self, other: "FixedTerm") -> bool:
        """Whether the other term has all factors of this one, more categories, and the same numeric factors."""
        return self.numbers == other.numbers and self.categories < other.categories

    def is_marginal_to(self, other: "FixedTerm") -> bool:
        """Whether the other term has all factors of this one and more: without this one it would mean something else.

        The intercept is marginal to no term.
        """
        return frozenset() < self.categories | self.numbers < other.categories | other.numbers


def fixed_terms(design: Design) -> tuple[FixedTerm, ...]:
    """Return the terms of the fixed part in formula order, the intercept first; terms without columns are left out."""
    recipe: Recipe = design.recipe
    places = np.full(len(recipe.fixed.names), -1)
    places[recipe.kept] = np.arange(len(recipe.kept))
    found = []
    for term, columns in zip(recipe.fixed.terms, term_places(recipe.fixed), strict=True):
        kept = places[columns]
        kept = kept[kept >= 0]
        if len(kept) == 0:
            continue
        categories = frozenset(f.label for f in term if f.text in recipe.memory.levels)
        numbers = frozenset(f.label for f in term) - categories
        found.append(FixedTerm(":".join(f.label for f in term) or INTERCEPT, categories, numbers, kept))
    return tuple(found)


def term_places(recipe: ColumnRecipe) -> list[NDArray[np.intp]]:
    """Return the places of each term's columns among all columns of a recipe."""
    if recipe.spec is None:
        return [np.array([place]) for place in range(len(recipe.terms))]
    return [np.array(places, dtype=np.intp) for places in recipe.spec.term_indices.values()]


@dataclass(frozen=True, slots=True)
class SumToZero:
    """X with every category in sum-to-zero coding; the terms are those of the formula that have a column kept.

    Attributes
    ----------
    X
        Shape (n, p').
    places
        Places of each term's columns.
    differences
        For each term a square matrix from its coefficients to differences from the first level of each category.
    """

    X: Array
    places: list[NDArray[np.intp]]
    differences: list[Array]


def sum_to_zero_columns(design: Design) -> SumToZero:
    """Return the columns of a design's fixed part in sum-to-zero coding, but those of terms left out altogether."""
    recipe: Recipe = design.recipe
    terms = tuple(
        term
        for term, columns in zip(recipe.fixed.terms, term_places(recipe.fixed), strict=True)
        if np.isin(columns, recipe.kept).any()
    )
    frame = design.data.iloc[design.rows]
    evaluator = Evaluator(frame, design.functions, recipe.memory, False, design.data.index, design.rows)
    X, spec = encode_terms(terms, _in_sum_coding(term_values(terms, evaluator), recipe), len(frame))
    places = [np.array(columns, dtype=np.intp) for columns in spec.term_indices.values()]
    found = [_differences(term, recipe, len(columns)) for term, columns in zip(terms, places, strict=True)]
    return SumToZero(X, places, found)


def _differences(term: tuple[Expression, ...], recipe: Recipe, width: int) -> Array:
    matrix = np.eye(1)
    for factor in term:  # in columns of interactions the first factor varies fastest
        levels = recipe.memory.levels.get(factor.text)
        if levels is not None:
            effects = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
            matrix = np.kron(effects[1:] - effects[0], matrix)
    if width % len(matrix):
        return np.eye(width)  # a category without its margin, in full coding
    several = np.eye(width // len(matrix))  # numeric factors of several columns
    return np.asarray(np.kron(several, matrix), dtype=np.float64)


def _in_sum_coding(values: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    levels = {f.label: recipe.memory.levels.get(f.text) for term in recipe.fixed.terms for f in term}
    return {label: value if levels[label] is None else _summed(value, levels[label]) for label, value in values.items()}


def _summed(value: Any, levels: pd.Index) -> Any:
    categories = value if isinstance(value, pd.Categorical) else pd.Categorical(getattr(value, "__wrapped__", value))
    return remembered("C")(pd.Series(categories), coding("contr.sum")(), levels=levels.tolist())
