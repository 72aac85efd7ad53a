r"""Rows of large crossed factors left out one at a time, without a factor.

The leverages are estimated by the same probes at every point, so that the densities are smooth and the quadratic of
`leave_one_out` through a few points stands for them at the draws. With :math:`l = 1 - h` what the leverage leaves and e
the residual, an error of h moves

.. math:: \log p(y_i \mid y_{-i}) = \tfrac12\bigl(\log l - e^2/(l\sigma^2)\bigr) + \cdots \quad\text{by}\quad
          -\frac{1}{2l}\Bigl(1 + \frac{e^2}{l\sigma^2}\Bigr)\,\delta h,

which is added to the errors of the rows and, probe by probe, to that of their sum.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayeslmm.comparison.leave_one_out import CovarianceDraws, Report, by_quadratic
from bayeslmm.comparison.pareto_loo import LeftOut, leave_out
from bayeslmm.likelihood.iterative.solved_rows import SolvedRows
from bayeslmm.likelihood.left_out import DataRows, rows_left_out
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array

FEW_DRAWS = 32  # that are used as they are where a quadratic will not do: each takes solves


def rows_left_out_by_solves(
    density: CovarianceDensity, draws: CovarianceDraws, data: DataRows, report: Report = None
) -> LeftOut:
    """Return the predictive densities of every row left out.

    Parameters
    ----------
    density
        The model, with crossed factors.
    draws
        Draws of its covariance parameters.
    data
        All rows.
    report
        Called with the number of points done.
    """
    rows = SolvedRows(density.kernel, data)

    def evaluate(lambdas: Sequence[Array], prior: NormalPrior, sigma: Array) -> tuple[Array, Array]:
        posterior, parts, _ = rows.parts(lambdas, prior)
        return rows_left_out(parts, posterior, sigma)

    with blas_threads(0):
        found = by_quadratic(density, draws, evaluate, report)
        found = _at_few_draws(density, draws, rows, report) if found is None else found
        return _with_error_of_probes(found, density, draws, rows)


def _at_few_draws(density: CovarianceDensity, draws: CovarianceDraws, rows: SolvedRows, report: Report) -> LeftOut:
    """Return what the densities at few of the draws say."""
    chosen = np.unique(np.linspace(0, len(draws.sigma) - 1, FEW_DRAWS).astype(int))
    out, within = (np.empty((len(chosen), len(rows.data.y))) for _ in range(2))
    for place, d in enumerate(chosen):
        posterior, parts, _ = rows.parts(draws.at(d), _prior(density, draws, d))
        out[place], within[place] = (each[0] for each in rows_left_out(parts, posterior, draws.sigma[d : d + 1]))
        if report is not None:
            report(place + 1)
    return leave_out(out, within)


def _with_error_of_probes(
    found: LeftOut, density: CovarianceDensity, draws: CovarianceDraws, rows: SolvedRows
) -> LeftOut:
    """Return the densities with the error of the probes, found at the draw in the middle, added to theirs."""
    phi = draws.phi(density)
    middle = int(np.argmin(np.sum(((phi - phi.mean(axis=0)) / (phi.std(axis=0) + 1e-300)) ** 2, axis=1)))
    sigma = float(draws.sigma[middle])
    posterior, parts, probes = rows.parts(draws.at(middle), _prior(density, draws, middle))
    share = 1.0 / (1.0 + sigma**2 * posterior.pull)
    left = 1.0 - parts.leverage - (parts.fixed**2) @ share
    residual = parts.residual - parts.fixed @ ((1.0 - share) * posterior.distance)
    slope = -0.5 / left * (1.0 + residual**2 / (left * sigma**2))
    return replace(
        found,
        error=np.hypot(found.error, np.abs(slope) * probes.leverages.error),
        probes_moved=probes.moved(slope),
    )


def _prior(density: CovarianceDensity, draws: CovarianceDraws, d: int) -> NormalPrior:
    phi = density.phi(draws.at(d))
    phi[density.n_covariance :] = draws.log_mixing[d]
    return density.fixed_prior_at(phi)
