r"""The linear mixed model that a generalized one is at its estimates.

At the mode, with weights :math:`W = -\partial^2\ell/\partial\eta^2` and the working response
:math:`z = \eta + W^{-1}\,\partial\ell/\partial\eta`, the conditional estimates are those of a normal response z with
precision W and the random effects' covariances as they are (McCullagh and Nelder 1989, *Generalized Linear Models*).
What leaving out rows changes there is one Newton step of the fit without them (Pregibon 1981, *Annals of Statistics*
9).
"""

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.left_out import DataRows

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit

LIGHTEST = 1e-10  # weight of a row relative to the largest, below which rounding leaves nothing of its working response


def working_model(fit: "GeneralizedPointFit") -> tuple[Kernel, Factor, DataRows]:
    """Return the working model's cross-products, its factor at the estimates, and its rows; its sigma is one."""
    design, maximum = fit.design, fit.maximum
    rows = maximum.solution.evaluation.mode.rows
    weights = -np.asarray(rows[2], dtype=float)
    if (weights <= 0).any():
        expected = fit.family.expected_weights(fit.outcome, maximum.eta, maximum.dispersion)
        weights = np.where(weights > 0, weights, expected)
    weights = np.maximum(weights, LIGHTEST * weights.max())
    offset = 0.0 if design.offset is None else design.offset
    response = maximum.eta - offset + np.asarray(rows[1]) / weights
    kernel = Kernel.build(response, design.X, design.terms, weights)
    data = DataRows(
        y=response,
        X=design.X,
        codes=tuple(term.codes for term in design.terms),
        columns=tuple(term.columns for term in design.terms),
        root_weights=np.sqrt(weights),
    )
    return kernel, factorise(kernel.products, kernel.lambdas(fit.theta)), data
