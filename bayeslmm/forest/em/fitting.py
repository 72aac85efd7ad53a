"""method="em": from the data of a fit and options to a fitted forest."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design import Design, NewRows, RandomTerm
from bayeslmm.design.row_labels import RowLabels
from bayeslmm.errors import OptionError
from bayeslmm.forest.data.inputs import Training, take_rows
from bayeslmm.forest.em.sweeps import HeldOut, Stopping, sweep
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.learners import Residuals, Trainer, choose_fold_factor, group_folds, prepare
from bayeslmm.likelihood.new_response import KernelStructure

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class EMOptions:
    """Options of the loop; see `MixedEffectsForest`."""

    learner: Any
    residuals: Residuals
    max_iterations: int
    tolerance: float
    early_stopping: bool | None
    validation_fraction: float | None
    patience: int
    n_folds: int
    crossfit_by: str | None
    seed: int | None


def fit_em(training: Training, options: EMOptions) -> tuple[FittedForest, int]:
    """Fit, and return the fit and the sweep kept."""
    check_options(options)
    design, features = training.design, training.features
    held_out = None
    if options.validation_fraction is not None:
        design, features, held_out = split_rows(training, options)
    rows = kernel_structure(design)
    swept = sweep(design.y, rows, design.terms, make_trainer(design, features, options), _stopping(options), held_out)
    fitted = FittedForest(
        roles=training.roles,
        design=design,
        features=features,
        learners=swept.learners,
        predictions=swept.predictions,
        ensemble=swept.ensemble,
        components=swept.components,
        history=swept.history,
    )
    return fitted, swept.chosen


def kernel_structure(design: Design) -> KernelStructure:
    """Return the groups, linear columns and weights of a design."""
    return KernelStructure.build(design.X, design.terms, design.weights, [term.name for term in design.terms])


def make_trainer(design: Design, features: Any, options: EMOptions) -> Trainer:
    """Return what fits the learner."""
    learner = prepare(options.learner, features, options.residuals, options.seed)
    if options.residuals != "crossfit":
        return Trainer(learner, features, design.weights, options.residuals, None)
    factors = list({term.factor: term for term in design.terms}.values())
    codes, counts = [term.codes for term in factors], [term.n_levels for term in factors]
    k = choose_fold_factor(codes, counts, [term.factor for term in factors], options.crossfit_by)
    folds = group_folds(codes[k], counts[k], factors[k].factor, options.n_folds)
    return Trainer(learner, features, design.weights, options.residuals, folds, codes[k])


def check_options(options: EMOptions) -> None:
    """Refuse options that have no meaning.

    Raises
    ------
    OptionError
        With what would have one.
    """
    if not isinstance(options.max_iterations, int | np.integer) or options.max_iterations < 1:
        raise OptionError(f"max_iterations={options.max_iterations!r} must be a whole number of at least 1.")
    if options.validation_fraction is not None and not 0 < options.validation_fraction < 1:
        raise OptionError(f"validation_fraction={options.validation_fraction!r} must lie between 0 and 1.")
    if not isinstance(options.patience, int | np.integer) or options.patience < 1:
        raise OptionError(f"patience={options.patience!r} must be a whole number of at least 1.")
    if options.early_stopping and options.residuals == "inbag" and options.validation_fraction is None:
        raise OptionError(
            "early_stopping needs rows that f did not see: give validation_fraction=0.1, or use "
            "residuals='crossfit' or 'oob'."
        )


def _stopping(options: EMOptions) -> Stopping:
    tolerance = None if options.residuals == "inbag" else options.tolerance
    scored = options.residuals != "inbag" or options.validation_fraction is not None
    stops = scored if options.early_stopping is None else options.early_stopping
    return Stopping(options.max_iterations, tolerance, options.patience if stops else None)


def split_rows(training: Training, options: EMOptions) -> tuple[Design, Any, HeldOut]:
    """Hold out a random share of the rows, leaving at least one row of every level in the fit."""
    design = training.design
    held = held_out_rows(design.terms, design.n, float(options.validation_fraction or 0), options.seed)
    kept, out = np.flatnonzero(~held), np.flatnonzero(held)
    if not len(out):
        raise OptionError("No row can be held out without emptying a group; use validation_fraction=None.")
    rows = NewRows(
        X=design.X[out],
        terms=tuple(_term_rows(term, out) for term in design.terms),
        new_labels=tuple(RowLabels([(term.codes[out], term.levels)]) for term in design.terms),
        offset=np.zeros(len(out)),
        index=design.index[out],
        places=out,
        labels=design.index[out],
        estimable=np.ones(len(out), dtype=bool),
    )
    weights = None if design.weights is None else design.weights[out]
    held_out = HeldOut(take_rows(training.features, out), rows, design.y[out], weights)
    return design_rows(design, kept), take_rows(training.features, kept), held_out


def held_out_rows(terms: tuple[RandomTerm, ...], n: int, fraction: float, seed: int | None) -> NDArray[np.bool_]:
    """Return which rows are held out, shape (n,); at least one row of every level stays in the fit."""
    order = np.random.default_rng(seed).permutation(n)
    must_stay = np.zeros(n, dtype=bool)
    for term in terms:
        _, first = np.unique(term.codes[order], return_index=True)
        must_stay[order[first]] = True
    free = order[~must_stay[order]]
    held = np.zeros(n, dtype=bool)
    held[free[: round(fraction * n)]] = True
    return held


def design_rows(design: Design, kept: Rows) -> Design:
    """Return a design of some of its rows; levels and recipe stay."""
    return replace(
        design,
        y=design.y[kept],
        fixed_columns=design.X[kept],
        terms=tuple(_term_rows(term, kept) for term in design.terms),
        weights=None if design.weights is None else design.weights[kept],
        index=design.index[kept],
        places=design.rows[kept],
    )


def _term_rows(term: RandomTerm, rows: Rows) -> RandomTerm:
    return replace(term, codes=np.ascontiguousarray(term.codes[rows]), columns=np.ascontiguousarray(term.columns[rows]))
