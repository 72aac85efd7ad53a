"""Leverages of rows by probes, and what else is said of rows without a factor, against the factor."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.iterative.solved_rows import SolvedRows
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.left_out import DataRows, row_parts
from bayeslmm.likelihood.normal_prior import NormalPrior, fixed_posterior
from bayeslmm.results.leave_one_out import data_rows
from bayeslmm.types import Array

SOLVED = 1e-6  # what solves leave of residuals and fixed parts, to 1e-9 of the first residual
FORMULAS = ["y ~ x + (1 | a) + (1 | b)", "y ~ x + (x | a) + (1 | b) + (x || c)"]


def rows_of(formula: str, n: int = 900, parts: int = 1) -> tuple[Kernel, DataRows, list[Array], NormalPrior]:
    """Return a model with weights and an offset, its rows, parameters and a prior."""
    rng = np.random.default_rng(5)
    part = rng.integers(0, parts, n)
    a, b, c = (rng.integers(0, j, n) + 100 * part for j in (40, 25, 15))
    frame = pd.DataFrame({"x": rng.normal(size=n), "a": a, "b": b, "c": c, "o": rng.normal(size=n)})
    frame["y"] = 1 + frame["x"] + rng.normal(size=n) + frame["o"]
    model = blm.Model(formula, frame, weights=rng.uniform(0.5, 2.0, n), offset="o")
    kernel = model.kernel
    lambdas = [0.8 * np.tril(np.ones((s.n_columns, s.n_columns))) for s in kernel.shapes]
    for factor, shape in zip(lambdas, kernel.shapes, strict=True):
        if shape.n_theta == shape.n_columns:
            factor[np.tril_indices(len(factor), -1)] = 0.0
    fit = model.fit("reml")
    return kernel, data_rows(fit), lambdas, NormalPrior(0.3 * np.eye(2), np.array([0.5, -1.0]), 2 * np.log(0.3), 2)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("formula", FORMULAS)
def test_rows_are_those_of_the_factor(formula: str, parts: int) -> None:
    kernel, data, lambdas, prior = rows_of(formula, parts=parts)
    exact_posterior = fixed_posterior(factorise(kernel.products, lambdas), prior)
    exact = row_parts(kernel, exact_posterior, data)
    posterior, found, probes = SolvedRows(kernel, data, 128).parts(lambdas, prior)
    leverages = probes.leverages
    np.testing.assert_allclose(found.residual, exact.residual, atol=SOLVED)
    np.testing.assert_allclose(found.log_weights, exact.log_weights)
    share = 1.0 / (1.0 + posterior.pull)  # signs and order of T's columns are free
    np.testing.assert_allclose(found.fixed**2 @ share, exact.fixed**2 @ share, atol=SOLVED)
    off = leverages.value - exact.leverage
    assert np.abs(off).max() < 6.0 * leverages.error.max()
    assert 0.7 < np.sqrt(np.mean(off**2) / np.mean(leverages.error**2)) < 1.4  # 900 rows that share their probes
    assert np.sqrt(np.mean(off**2)) < 0.05 * exact.leverage.mean()
    moved = probes.moved(np.ones(len(off)))
    assert abs(off.sum()) < 5.0 * np.linalg.norm(moved)


def test_more_probes_err_less() -> None:
    kernel, data, lambdas, prior = rows_of(FORMULAS[0])
    exact = row_parts(kernel, fixed_posterior(factorise(kernel.products, lambdas), prior), data).leverage
    few, many = (SolvedRows(kernel, data, m).parts(lambdas, prior)[1].leverage - exact for m in (16, 256))
    assert np.mean(many**2) < 0.25 * np.mean(few**2)


def test_a_row_without_its_level() -> None:
    kernel, data, lambdas, prior = rows_of(FORMULAS[0])
    without = [np.where(np.arange(len(codes)) == 3 + k, -1, codes) for k, codes in enumerate(data.codes)]
    columns = tuple(np.where(c[:, None] < 0, 0.0, z) for c, z in zip(without, data.columns, strict=True))
    rows = DataRows(data.y, data.X, tuple(without), columns, data.root_weights)
    exact = row_parts(kernel, fixed_posterior(factorise(kernel.products, lambdas), prior), rows)
    _, found, probes = SolvedRows(kernel, rows, 128).parts(lambdas, prior)
    np.testing.assert_allclose(found.residual[:6], exact.residual[:6], atol=SOLVED)
    assert np.abs(found.leverage - exact.leverage)[:6].max() < 6.0 * probes.leverages.error.max()
