r"""The bootstrap of a mixed model: its refits, and the intervals made of them.

Parametric: :math:`y^* = X\hat\beta + Z b^* + \varepsilon^*`, new effects and new residuals from the fit. By groups:
whole levels of the outermost grouping factor are drawn with replacement, and a level drawn twice is two levels.
Replicate i has its own generator, child i of the seed, so the result does not depend on how replicates are shared out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import FittingError, OptionError
from bayeslmm.inference.workers import in_workers
from bayeslmm.intervals.refits import Estimate, Refitter
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.types import Array

LARGEST_PIECE = 50  # replicates that a worker does between two reports


@dataclass(frozen=True, slots=True)
class FittedModel:
    """What the bootstrap needs of a fit.

    Attributes
    ----------
    design
        The data.
    refitter, structure
        The way to fit other responses.
    beta, factors, sigma
        The coefficients (p,), the covariance factors in the user's columns, not relative: sigma lambda, and sigma.
    """

    design: Design
    refitter: Refitter
    structure: KernelStructure
    beta: Array
    factors: tuple[Array, ...]
    sigma: float

    def simulate(self, rng: np.random.Generator) -> Array:
        """Return a response of new levels, less the offset, shape (n,)."""
        design = self.design
        effects = [
            rng.standard_normal((t.n_levels, t.n_columns)) @ f.T
            for t, f in zip(design.terms, self.factors, strict=True)
        ]
        noise = self.sigma * rng.standard_normal(design.n)
        if design.weights is not None:
            noise /= np.sqrt(design.weights)
        structure = self.structure
        return structure.linear(self.beta) + (structure.random(effects) if effects else 0.0) + noise

    def by_groups(self, rng: np.random.Generator) -> Estimate:
        """Fit the rows of levels drawn with replacement."""
        codes = self.design.terms[outermost(self.design)].codes
        n_levels = int(codes.max()) + 1
        return self.refitter.fit(kernel_of_levels(self.design, codes, rng.integers(0, n_levels, n_levels)))


def outermost(design: Design) -> int:
    """Return the place of a term in whose levels those of all other terms are nested.

    Raises
    ------
    OptionError
        If there is none.
    """
    if not design.terms:
        raise OptionError("kind='groups' draws the levels of a grouping factor, and there is none: use 'parametric'.")
    order = np.argsort([term.n_levels for term in design.terms], kind="stable")
    place = int(order[0])
    outer = design.terms[place].codes
    for term in design.terms:
        first = np.zeros(term.n_levels, dtype=outer.dtype)
        first[term.codes] = outer
        if not np.array_equal(first[term.codes], outer):
            raise OptionError(
                f"kind='groups' draws whole levels of {design.terms[place].name}, but {term.name} is crossed with it: "
                "use kind='parametric'."
            )
    return place


def kernel_of_levels(design: Design, codes: NDArray[Any], levels: NDArray[Any]) -> Kernel:
    """Return the kernel of the rows of some levels, each entry of `levels` a level of its own."""
    return kernel_of(design_of_levels(design, codes, levels))


def kernel_of(design: Design) -> Kernel:
    """Return the kernel of a design's rows."""
    y = design.y if design.offset is None else design.y - design.offset
    return Kernel.build(y, design.X, design.terms, design.weights, names=[term.name for term in design.terms])


def design_of_levels(design: Design, codes: NDArray[Any], levels: NDArray[Any]) -> Design:
    """Return the design of the rows of some levels, each entry of `levels` a level of its own.

    Levels are called what they are in the data; the second and later copies of one have the number of the copy behind.

    Raises
    ------
    FittingError
        If the rows do not identify all coefficients.
    """
    rows, drawn = rows_of_levels(codes, levels)
    copies = pd.Series(levels).groupby(levels).cumcount().to_numpy()
    X = np.ascontiguousarray(design.X[rows])
    if X.shape[1] and np.linalg.matrix_rank(X) < X.shape[1]:
        raise FittingError("The levels drawn do not identify all coefficients.")
    return replace(
        design,
        y=design.y[rows],
        fixed_columns=X,
        terms=tuple(_term_of_levels(term, rows, drawn, copies) for term in design.terms),
        weights=None if design.weights is None else design.weights[rows],
        offset=None if design.offset is None else design.offset[rows],
        index=design.index[rows],
        places=rows if design.places is None else design.places[rows],
        outcome=None if design.outcome is None else design.outcome.at_rows(rows),
    )


def rows_of_levels(codes: NDArray[Any], levels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows of some levels, one level after the other, and for each row the place of its level among them."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 2))
    rows = np.concatenate([order[starts[level] : starts[level + 1]] for level in levels])
    return rows, np.repeat(np.arange(len(levels)), starts[levels + 1] - starts[levels])


def _term_of_levels(term: RandomTerm, rows: NDArray[Any], drawn: NDArray[Any], copies: NDArray[Any]) -> RandomTerm:
    pairs = drawn.astype(np.int64) * term.n_levels + term.codes[rows]
    known, new = np.unique(pairs, return_inverse=True)
    copy, level = np.divmod(known, term.n_levels)
    levels, number = term.levels[level], copies[copy]
    if number.any():
        labels = [f"{label} ({k + 1})" if k else label for label, k in zip(levels, number, strict=True)]
        levels = pd.Index(labels, dtype=object, name=term.levels.name)
    columns = np.ascontiguousarray(term.columns[rows])
    return replace(term, codes=new.astype(np.int32), columns=columns, levels=levels)


def replicates(
    piece: Callable[[Sequence[np.random.SeedSequence]], list[Any]],
    n: int,
    seed: Any,
    cores: int,
    report: Callable[[int], None] | None = None,
) -> list[Any]:
    """Return n replicates, made from the children of a seed, of which `piece` takes some and returns as many."""
    seeds = np.random.SeedSequence(seed).spawn(n)
    pieces = [seeds[i : i + LARGEST_PIECE] for i in range(0, n, LARGEST_PIECE)]
    found: list[Any] = []
    for made in in_workers(piece, pieces, cores):
        found += made
        if report is not None:
            report(len(found))
    return found


def one_by_one(one: Callable[[np.random.Generator], Any], seeds: Sequence[np.random.SeedSequence]) -> list[Any]:
    """Return `one` of the generator of each seed; None where it raised a `FittingError`."""
    found = []
    for seed in seeds:
        try:
            found.append(one(np.random.default_rng(seed)))
        except FittingError:
            found.append(None)
    return found


def percentile_limits(values: Array, level: float) -> tuple[Array, Array]:
    """Return the percentile limits of each column of values (m, k), (k,) each; NaN entries are left out."""
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    lower, upper = np.nanquantile(values, ends, axis=0)
    return lower, upper


def bca_limits(values: Array, estimate: Array, left_out: Array, level: float) -> tuple[Array, Array]:
    r"""Return Efron's bias-corrected and accelerated limits (1987) of each column.

    Parameters
    ----------
    values
        Replicates, shape (m, k).
    estimate
        The fit's, shape (k,).
    left_out
        Estimates with each group left out in turn, shape (J, k), for the acceleration
        :math:`\sum d^3 / 6(\sum d^2)^{3/2}`.
    level
        Probability of the interval.
    """
    lower, upper = np.full(len(estimate), np.nan), np.full(len(estimate), np.nan)
    for k, (column, centre) in enumerate(zip(values.T, estimate, strict=True)):
        column = column[np.isfinite(column)]
        if len(column) == 0:
            continue
        below = (np.sum(column < centre) + np.sum(column == centre) / 2.0) / len(column)
        bias = ndtri(np.clip(below, 0.5 / len(column), 1 - 0.5 / len(column)))
        change = np.nanmean(left_out[:, k]) - left_out[:, k]
        spread = np.nansum(change**2) ** 1.5
        acceleration = np.nansum(change**3) / (6.0 * spread) if spread > 0 else 0.0
        z = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
        lower[k], upper[k] = np.quantile(column, ndtr(bias + z / (1.0 - acceleration * z)))
    return lower, upper
