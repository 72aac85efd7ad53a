r"""A better centre for Gaussian approximations than the mode.

The mean of the posterior lies away from its mode, by the skewness of many rows together. Among normal approximations
with the covariance :math:`C = \Omega^{-1}` of Laplace's, the one nearest in Kullback-Leibler divergence has the mean at
which the *averaged* score vanishes,

.. math:: \Lambda^\top Z^\top\,E[\ell'(\eta_i + \sqrt{h_i}\,x)] - u = 0, \qquad x \sim N(0, 1),

:math:`h_i` the variance of row i's linear predictor (Opper and Archambeau 2009); coefficients likewise. A few steps
with the factor at the mode solve it. As centres of proposals these means make importance weights far more even where
there are many effects with few rows each.
"""

from dataclasses import replace

import numpy as np

from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.generalized.mode import Problem, score
from bayeslmm.likelihood.generalized.pair_inverse import pair_inverse, row_products
from bayeslmm.likelihood.generalized.solve import solve
from bayeslmm.types import Array

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(3)  # of the averages over each row's linear predictor; more nodes
WEIGHTS = WEIGHTS / WEIGHTS.sum()  # do not make importance weights more even
MAXIMUM_STEPS = 20
NEGLIGIBLE = 1e-4  # squared length of a step, in posterior standard deviations: a proposal needs no more


def centre_on_mean(problem: Problem, evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with the mode's effects and coefficients moved to the approximate mean.

    The factor, and with it the covariance, stay those at the mode. Where a step would leave the family's domain, or
    the steps do not shrink, the mode itself is returned.
    """
    mode, point, predictor = evaluation.mode, evaluation.point, problem.predictor
    scaled = [z @ factor for z, factor in zip(predictor.z, point.lambdas, strict=True)]
    variances = row_products(pair_inverse(mode.factor, predictor), predictor, scaled).leverages
    spread = np.sqrt(np.maximum(variances, 0.0))
    u, beta, last = list(mode.u), mode.beta, np.inf
    for _ in range(MAXIMUM_STEPS):
        slopes = averaged_slopes(problem, predictor.eta(beta, u, point.lambdas), spread, point.working)
        right, right_fixed = score(problem, point.lambdas, u, beta, slopes)
        step, step_fixed = solve(mode.factor, right, right_fixed)
        size = sum(float(np.sum(r * d)) for r, d in zip(right, step, strict=True)) + float(right_fixed @ step_fixed)
        if not np.isfinite(size) or size > last:
            return evaluation
        u = [values + d for values, d in zip(u, step, strict=True)]
        beta = beta + step_fixed if problem.inner else beta
        if size <= NEGLIGIBLE:
            break
        last = size
    return replace(evaluation, mode=replace(mode, u=u, beta=beta, eta=predictor.eta(beta, u, point.lambdas)))


def averaged_slopes(problem: Problem, eta: Array, spread: Array, working: Array) -> Array:
    """Return the first derivative of each row's log density, averaged over a normal linear predictor, (n,)."""
    total = np.zeros(len(eta))
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        total += weight * problem.family.derivatives(problem.response, eta + node * spread, working)[1]
    return total
