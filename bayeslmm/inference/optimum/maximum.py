"""Maximum likelihood and restricted maximum likelihood."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslmm.inference.optimum.profiled import minimise_likelihood
from bayeslmm.inference.optimum.rounding import describe_rounding, judged, require_residuals
from bayeslmm.inference.optimum.search import Minimum, Record
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import check_criterion
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Maximum:
    """A maximum of the (restricted) likelihood or of the posterior.

    Attributes
    ----------
    theta
        Free entries of the user's relative covariance factors, shape (k,).
    objective
        Minus twice the log-likelihood there.
    sigma
        Residual standard deviation.
    thetas, objectives
        Every evaluation in order, shapes (m, k) and (m,).
    gradient_norm
        Euclidean norm of the gradient in coordinates of unit curvature: half its square is about what more steps
        could gain.
    code
        "converged", "boundary" or "failed"; of a generalized model also "doubtful".
    message
        The same as a sentence.
    """

    theta: Array
    objective: float
    sigma: float
    thetas: Array
    objectives: Array
    gradient_norm: float
    code: str
    message: str

    @property
    def n_evaluations(self) -> int:
        """Number of evaluations of the objective."""
        return len(self.objectives)


def maximise(
    kernel: Kernel,
    method: str = "reml",
    *,
    sigma: float | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Maximum:
    """Maximise the (restricted) likelihood over theta.

    Parameters
    ----------
    kernel
        The data.
    method
        "ml" or "reml".
    sigma
        Residual standard deviation, if it is known.
    progress
        Called after every evaluation with its number and the objective.

    Raises
    ------
    FittingError
        If the objective cannot be evaluated at the start or where the search ended, or the residuals cannot be told
        from zero.
    """
    criterion = check_criterion(method)
    record = Record(report=progress)
    with blas_threads(kernel.products.order):
        minimum = minimise_likelihood(kernel, criterion, sigma, record)
    if sigma is None:
        dof = kernel.products.n - (kernel.products.n_fixed if criterion == "reml" else 0)
        require_residuals(kernel.products, minimum.sigma, dof)
    minimum = judged(minimum, kernel.products, minimum.sigma)
    shift, theta = kernel.shift(criterion), kernel.theta(minimum.lambdas)
    if not minimum.converged:
        kernel.objective(theta, criterion, sigma)  # so far out that rounding decides, it may not be there again
    return Maximum(
        theta=theta,
        objective=minimum.value + shift,
        sigma=minimum.sigma,
        thetas=kernel.thetas(record.lambdas),
        objectives=np.array(record.values) + shift,
        gradient_norm=minimum.gradient_norm,
        code=code_of(minimum),
        message=describe(minimum, kernel, minimum.sigma),
    )


def code_of(minimum: Minimum) -> str:
    """Return the status code of a search."""
    if not minimum.converged:
        return "failed"
    return "boundary" if minimum.singular else "converged"


def describe(minimum: Minimum, kernel: Kernel, sigma: float) -> str:
    """Say in a sentence how a search ended, sigma the residual sd there."""
    if rounding := describe_rounding(minimum, kernel.products, sigma):
        return rounding
    if not minimum.converged:
        return (
            f"The search stopped with a scaled gradient of {minimum.gradient_norm:.1e}: do not trust these estimates. "
            "Simplify the random effects or rescale the columns."
        )
    if minimum.singular:
        names = [
            name for name, factor in zip(kernel.names, minimum.lambdas, strict=True) if (np.diag(factor) == 0).any()
        ]
        return (
            f"Converged on the boundary: the covariance of {', '.join(names)} is singular (a variance of zero or a "
            "correlation of one), so the data support fewer random effects than the formula has."
        )
    return f"Converged: the scaled gradient is {minimum.gradient_norm:.1e}."
