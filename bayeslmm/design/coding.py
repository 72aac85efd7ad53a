"""Terms as columns: numeric products directly, categories through formulaic's coding and naming."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design.design import Array
from bayeslmm.design.evaluate import SMALLEST_NUMBER, Evaluator, check_magnitude
from bayeslmm.errors import DataError, ModelError, counted
from bayeslmm.formula import Expression
from bayeslmm.scratch import Scratch

LARGEST_MATRIX = 500_000_000  # entries, 4 GB


@dataclass(frozen=True, slots=True)
class ColumnRecipe:
    """How a sum of terms becomes columns, the same on new data as on the data of the fit.

    Attributes
    ----------
    terms
        Factors of each term; empty for the intercept.
    spec
        formulaic's ``ModelSpec`` with levels and structure; None where all factors are plain numbers.
    names
        Names of the columns.
    """

    terms: tuple[tuple[Expression, ...], ...]
    spec: Any
    names: tuple[str, ...]


def build_columns(terms: Sequence[tuple[Expression, ...]], evaluator: Evaluator) -> tuple[Array, ColumnRecipe]:
    """Return the columns of a sum of terms, shape (n, p), and the recipe to build them again."""
    terms = tuple(terms)
    values = term_values(terms, evaluator)
    if not _all_plain(values):
        check_size(terms, values, len(evaluator.frame))
        for factor in {factor.label: factor for term in terms for factor in term}.values():
            if factor.is_column and isinstance(values[factor.label], pd.Categorical):
                evaluator.check_labels(evaluator.frame[factor.label])
    matrix, recipe = columns_of_values(terms, values, len(evaluator.frame))
    check_magnitude(matrix, recipe.names, smallest=SMALLEST_NUMBER)
    return matrix, recipe


def columns_of_values(
    terms: tuple[tuple[Expression, ...], ...], values: Mapping[str, Any], n: int
) -> tuple[Array, ColumnRecipe]:
    """Return the columns of terms for given values of their factors, shape (n, p), and the recipe."""
    if _all_plain(values):
        names = tuple(":".join(factor.label for factor in term) or "Intercept" for term in terms)
        return _products(terms, values, n, Scratch()), ColumnRecipe(terms, None, names)
    matrix, spec = encode_terms(terms, values, n)
    return matrix, ColumnRecipe(terms, spec, tuple(map(str, spec.column_names)))


def _all_plain(values: Mapping[str, Any]) -> bool:
    return all(type(value) is np.ndarray and value.ndim == 1 for value in values.values())


def check_unique(names: tuple[str, ...]) -> None:
    """Refuse two columns of one name."""
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"Two columns of the model are called {name!r}: rename a column or a level of the data.")


def rebuild_columns(recipe: ColumnRecipe, evaluator: Evaluator, scratch: Scratch | None = None) -> Array:
    """Return the columns of a recipe on the rows of another evaluator, shape (m, p), if given in scratch memory."""
    values = term_values(recipe.terms, evaluator)
    if recipe.spec is None:
        return _products(recipe.terms, values, len(evaluator.frame), scratch or Scratch())
    return _encode(recipe.spec, values, len(evaluator.frame))[0]


def term_values(terms: tuple[tuple[Expression, ...], ...], evaluator: Evaluator) -> dict[str, Any]:
    """Return the value of every factor of the terms, by label."""
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for factor in (factor for term in terms for factor in term):
        if factor.label == "1" or texts.setdefault(factor.label, factor.text) != factor.text:
            raise DataError(f"The column {factor.label!r} is named like an expression of the formula: rename it.")
        if factor.label not in values:
            values[factor.label] = evaluator.evaluate(factor)
    return values


def few_rows_sentence(n: int, recipe: ColumnRecipe, evaluator: Evaluator | None = None) -> str:
    """Say that n rows are too few for the columns of a recipe, and which factor makes most of these.

    With the rows at hand, name a cell that made texts of a column of numbers.
    """
    said = (
        f"{counted(n, 'row')} cannot estimate {len(recipe.names)} fixed columns and a residual: use "
        "more rows than columns"
    )
    labels = {factor.label for term in recipe.terms for factor in term if factor.is_column}
    made = {label: sum(f":{label}[" in f":{name}" for name in recipe.names) for label in sorted(labels)}
    widest = max(made, key=lambda label: made[label], default="")
    if made.get(widest, 0) < 2:
        return f"{said}."
    said = f"{said}. {widest!r} makes {made[widest]} of them, one for each level but the first"
    slips = evaluator.slips(evaluator.frame[widest]) if evaluator is not None and widest in evaluator.frame else ""
    if slips:
        return f"{said}, since {slips}: correct such cells, or mark them as missing, and convert the column to numbers."
    return f"{said}: if these are numbers or dates stored as text, convert the column to numbers."


def encode_terms(terms: tuple[tuple[Expression, ...], ...], values: Mapping[str, Any], n: int) -> tuple[Array, Any]:
    """Return the columns of terms for given values of their factors, shape (n, p), and formulaic's ``ModelSpec``."""
    return _encode(_formulaic_terms(terms), values, n)


def _products(
    terms: tuple[tuple[Expression, ...], ...], values: Mapping[str, Array], n: int, scratch: Scratch
) -> Array:
    if not any(terms):  # a column of ones takes no memory
        return np.broadcast_to(1.0, (n, len(terms)))
    matrix = scratch.array(n, len(terms))
    with np.errstate(over="ignore"):  # reported by name afterwards
        for column, term in enumerate(terms):
            matrix[:, column] = values[term[0].label] if term else 1.0
            for factor in term[1:]:
                matrix[:, column] *= values[factor.label]
    return matrix


def check_size(terms: tuple[tuple[Expression, ...], ...], values: Mapping[str, Any], n: int) -> None:
    """Refuse a matrix of more entries than memory is likely to hold."""
    widths = {label: _width(value) for label, value in values.items()}
    columns = sum(int(np.prod([widths[factor.label] for factor in term], dtype=float)) for term in terms)
    if columns * n > LARGEST_MATRIX:
        widest = max(widths, key=lambda label: widths[label])
        raise ModelError(
            f"The formula asks for about {columns:,} columns in {n:,} rows; {widest!r} alone has "
            f"{widths[widest]:,} levels. Make it a random term, (1 | {widest})."
        )


def _width(value: Any) -> int:
    if isinstance(value, pd.Categorical):
        return max(1, len(value.categories) - 1)
    wrapped = getattr(value, "__wrapped__", value)
    if isinstance(wrapped, pd.Series):
        return max(1, wrapped.nunique() - 1)
    return wrapped.shape[1] if isinstance(wrapped, np.ndarray) and wrapped.ndim == 2 else 1


def _formulaic_terms(terms: tuple[tuple[Expression, ...], ...]) -> Any:
    from formulaic.formula import SimpleFormula
    from formulaic.parser.types import Factor, Term

    return SimpleFormula(
        [
            Term([Factor(factor.label, eval_method="lookup") for factor in term])
            if term
            else Term([Factor("1", eval_method="literal")])
            for term in terms
        ],
        _ordering="none",
    )


def _encode(spec: Any, values: Mapping[str, Any], n: int) -> tuple[Array, Any]:
    from formulaic.errors import FormulaicError
    from formulaic.materializers import PandasMaterializer

    ready = {label: pd.Series(value) if isinstance(value, pd.Categorical) else value for label, value in values.items()}
    # The values are looked up by label, so formulaic evaluates no text and sees no frame but this one.
    materializer = PandasMaterializer(pd.DataFrame(index=pd.RangeIndex(n)), context=ready)
    try:
        encoded = materializer.get_model_matrix(spec, output="numpy", na_action="ignore")
    except (FormulaicError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"The columns of the formula cannot be coded: {error}") from error
    matrix = np.ascontiguousarray(np.asarray(encoded.__wrapped__, dtype=np.float64))
    return matrix, encoded.model_spec
