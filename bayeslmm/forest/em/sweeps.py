"""The loop of method="em": the learner, then the variance components, until the parameters settle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.covariance import factors_from_theta, theta_from_factors
from bayeslmm.design import NewRows, RandomTerm
from bayeslmm.forest.em.step import (
    Components,
    em_step,
    generalised_log_likelihood,
    marginal_log_likelihood,
    relative_factors,
    start,
)
from bayeslmm.forest.learners import Fitted, Trainer, predict_mean
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood.new_response import KernelStructure, random_part
from bayeslmm.types import Array

FEWEST_SWEEPS = 3  # before the parameters are asked whether they have settled


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows kept from the fit, to score it on.

    Attributes
    ----------
    features
        What the learner sees of them.
    rows
        Their linear columns and random terms.
    y
        Their response, shape (m,).
    weights
        Their weights, shape (m,), or None.
    """

    features: Any
    rows: NewRows
    y: Array
    weights: Array | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """When the loop ends.

    Attributes
    ----------
    max_iterations
        Most sweeps.
    tolerance
        Largest relative change of sigma and the covariances that counts as settled; None runs all sweeps.
    patience
        Sweeps without a better held-out score after which the loop ends; None does not look at the score.
    """

    max_iterations: int
    tolerance: float | None
    patience: int | None


@dataclass(frozen=True, slots=True)
class Swept:
    """Where the loop ended.

    Attributes
    ----------
    components
        Variance components, linear coefficients and random effects of the chosen sweep.
    learners
        The learners of that sweep, whose mean is f.
    predictions
        The f(X) the variances were judged by, shape (n,).
    ensemble
        f(X) as it predicts, which b was judged by, shape (n,).
    history
        One row per sweep.
    chosen
        The sweep kept, counted from 1.
    reason
        Why the loop ended: "settled", "held-out score" or "max_iterations".
    """

    components: Components
    learners: tuple[Any, ...]
    predictions: Array
    ensemble: Array
    history: pd.DataFrame
    chosen: int
    reason: str


def sweep(
    y: Array,
    rows: KernelStructure,
    terms: Sequence[RandomTerm],
    trainer: Trainer,
    stopping: Stopping,
    held_out: HeldOut | None = None,
) -> Swept:
    """Alternate between the learner and the variance components.

    With residuals "inbag" each sweep takes one EM step, which is MERF. Otherwise f is judged by rows it was
    not fitted to, the likelihood given f is that of an ordinary mixed model, and each sweep maximises it.

    With "crossfit" the variances come from learners that did not see the group, beta and b from the mean of all
    learners, which is the f that predicts. Were b to come from the former too, whatever f gets wrong about a group
    it has not seen would count as that group's effect: added to an f that has seen it, it would count twice, and
    taken out of y before the next fit it would never be learned.

    Parameters
    ----------
    y
        Response, shape (n,).
    rows
        Groups, linear columns and weights.
    terms
        The random terms, for names in the history.
    trainer
        The learner.
    stopping
        When to end.
    held_out
        Rows to score on; None scores out-of-sample predictions of f on the rows of the fit, where there are
        any.
    """
    components = start(rows.kernel.shapes, rows.X.shape[1])
    records: list[dict[str, float]] = []
    best: _Iterate | None = None
    reason = "max_iterations"
    for iteration in range(1, stopping.max_iterations + 1):
        fitted = trainer.round(y - rows.linear(components.beta) - rows.random(components.effects))
        before = components
        components = _step(trainer, rows, y, fitted, before)
        score = _score(trainer, rows, y - fitted.predictions, components, fitted, held_out)
        records.append(_record(rows, y, fitted, components, terms, score))
        if best is None or stopping.patience is None or score < best.score:
            best = _Iterate(score, iteration, components, fitted)
        if stopping.patience is not None and iteration - best.iteration >= stopping.patience:
            reason = "held-out score"
            break
        settled = stopping.tolerance is not None and change(before, components) < stopping.tolerance
        if settled and iteration >= FEWEST_SWEEPS:
            reason = "settled"
            break
    assert best is not None
    history = pd.DataFrame(records, index=pd.RangeIndex(1, len(records) + 1, name="iteration"))
    kept = best.fitted
    return Swept(best.components, kept.learners, kept.predictions, kept.ensemble, history, best.iteration, reason)


@dataclass(frozen=True, slots=True)
class _Iterate:
    score: float
    iteration: int
    components: Components
    fitted: Fitted


def _step(trainer: Trainer, rows: KernelStructure, y: Array, fitted: Fitted, old: Components) -> Components:
    residual = y - fitted.predictions
    if trainer.residuals == "inbag":
        return em_step(rows, residual, old)
    new = likeliest(rows, residual)
    return new if trainer.residuals == "oob" else effects_at(rows, y - fitted.ensemble, new)


def likeliest(rows: KernelStructure, residual: Array) -> Components:
    """Return the REML estimates given f, and b and beta at them; without linear columns REML is ML."""
    kernel = rows.at(residual)
    found = maximise(kernel, "reml")
    factors = factors_from_theta(found.theta, kernel.shapes)
    covariances = tuple(found.sigma**2 * f @ f.T for f in factors)
    conditional = kernel.conditional(found.theta, "reml", found.sigma)
    return Components(found.sigma**2, covariances, conditional.beta, conditional.b)


def effects_at(rows: KernelStructure, residual: Array, components: Components) -> Components:
    """Return beta and b given other residuals, at the same variances."""
    kernel = rows.at(residual)
    theta = theta_from_factors(relative_factors(components, kernel.shapes), kernel.shapes)
    conditional = kernel.conditional(theta, "ml", components.sigma)
    return replace(components, beta=conditional.beta, effects=conditional.b)


def change(old: Components, new: Components) -> float:
    """Return the largest change of sigma², and of each covariance matrix relative to its size."""
    changes = [abs(new.sigma2 - old.sigma2) / new.sigma2]
    for before, after in zip(old.covariances, new.covariances, strict=True):
        scale = max(float(np.abs(after).max()), 1e-6 * new.sigma2)
        changes.append(float(np.abs(after - before).max()) / scale)
    return max(changes)


def _score(
    trainer: Trainer,
    rows: KernelStructure,
    residual: Array,
    components: Components,
    fitted: Fitted,
    held_out: HeldOut | None,
) -> float:
    """Return the root mean squared error on rows f has not seen; NaN where it has seen all."""
    if held_out is not None:
        new = held_out.rows
        error = held_out.y - predict_mean(fitted.learners, held_out.features) - new.X @ components.beta
        return root_mean_square(error - random_part(new.terms, components.effects, len(error)), held_out.weights)
    if trainer.residuals == "inbag":
        return float("nan")
    return root_mean_square(residual - rows.linear(components.beta), rows.weights)


def root_mean_square(error: Array, weights: Array | None) -> float:
    """Return the (weighted) root mean square."""
    return float(np.sqrt(np.average(error**2, weights=weights)))


def _record(
    rows: KernelStructure,
    y: Array,
    fitted: Fitted,
    components: Components,
    terms: Sequence[RandomTerm],
    score: float,
) -> dict[str, float]:
    record = {
        "gll": generalised_log_likelihood(rows, y - fitted.ensemble, components),
        "loglik": marginal_log_likelihood(rows.at(y - fitted.predictions), components),
        "held_out_rmse": score,
        "sigma": components.sigma,
    }
    for term, D in zip(terms, components.covariances, strict=True):
        sd = np.sqrt(np.diag(D))
        for s, effect in enumerate(term.effects):
            record[f"sd_{term.name}[{effect}]"] = float(sd[s])
        if not term.has_correlations:
            continue
        for j in range(term.n_columns):
            for i in range(j + 1, term.n_columns):
                product = sd[i] * sd[j]
                name = f"cor_{term.name}[{term.effects[j]}, {term.effects[i]}]"
                record[name] = float(D[i, j] / product) if product > 0 else float("nan")
    return record
