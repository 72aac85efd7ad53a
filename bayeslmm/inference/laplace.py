"""The mode of the covariance parameters' posterior and the normal approximation there."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy  # scipy.optimize takes a fifth of a second to load and does so at its first use

from bayeslmm.covariance import sd_places
from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.batched_density import BatchedDensity
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array

INSIDE = 0.75  # of the way from a prior's lower end to its upper one, where the data want a value beyond
LARGEST_VARIANCE = 4.0  # where the data and the prior say next to nothing, two units of log or atanh

NO_DIGITS = 1e13  # a log density beyond this is rounded to more than a thousandth


@dataclass(frozen=True, slots=True)
class Laplace:
    """A normal approximation of (phi, log sigma).

    Attributes
    ----------
    mode
        Shape (d,).
    covariance
        Inverse of the negative Hessian, shape (d, d), made positive definite.
    log_density
        Log density at the mode, up to a constant.
    evaluations
        Number of evaluations of the density used.
    """

    mode: Array
    covariance: Array
    log_density: float
    evaluations: int

    def of_first(self, d: int) -> "Laplace":
        """Return the approximation of the first d coordinates, the others integrated out."""
        return replace(self, mode=self.mode[:d], covariance=self.covariance[:d, :d])


def find_laplace(
    density: CovarianceDensity, batched: BatchedDensity | None = None, start: tuple[Array, int] | None = None
) -> Laplace:
    """Maximise the posterior of (phi, log sigma) from the REML estimate and measure its curvature.

    LAPACK gets one thread: with more it rounds in another way, and draws would depend on the number of cores.

    Parameters
    ----------
    density
        The model.
    batched
        The density on a device, where the gradients around the mode are then computed.
    start
        What `reml_start` returns, where it is known.

    Raises
    ------
    FittingError
        If the density cannot be evaluated at its start.
    """
    with blas_threads(0):
        return _climb(density, batched, start)


def _climb(density: CovarianceDensity, batched: BatchedDensity | None, known: tuple[Array, int] | None) -> Laplace:
    if density.dimension == 0:
        return Laplace(np.zeros(0), np.zeros((0, 0)), density.value(np.zeros(0)), 1)
    start, evaluations = reml_start(density) if known is None else known
    count = 0

    def negative(x: Array) -> tuple[float, Array]:
        """Return minus the log density and its gradient; infinity where the kernel fails."""
        nonlocal count
        count += 1
        try:
            value, gradient = density.value_and_gradient(x)
        except (FittingError, FloatingPointError, np.linalg.LinAlgError):
            return np.inf, np.zeros_like(x)
        return (-value, -gradient) if np.isfinite(value) else (np.inf, np.zeros_like(x))

    start = within_supports(density, start)
    if not np.isfinite(negative(start)[0]):
        density.value_and_gradient(start)
        raise FittingError(
            "The posterior density is zero at the REML estimate. Look at the priors of the standard deviations and of "
            "sigma (model.priors) and state some that allow for what the data say."
        )
    unit = units(density)

    def scaled(z: Array) -> tuple[float, Array]:
        """Return the same as a function of z, in units of about one standard deviation from the start."""
        value, gradient = negative(start + unit * z)
        return value, unit * gradient

    with np.errstate(all="ignore"):
        result = scipy.optimize.minimize(
            scaled, np.zeros_like(start), jac=True, method="BFGS", options={"gtol": 1e-4, "maxiter": 200}
        )
    if abs(result.fun) > NO_DIGITS:
        raise FittingError(
            f"The log posterior is {-float(result.fun):.2g} where it is highest, so that rounding hides its shape: "
            "a prior and the data differ by many orders of magnitude. "
            'Compare model.priors with the estimates of method="reml", and state priors on the scale of the data.'
        )
    mode = start + unit * result.x
    if batched is None:
        hessian = gradient_differences(lambda x: negative(x)[1], mode, unit * 0.1)
    else:
        around = points_around(mode, unit * 0.1)
        hessian = differences(-batched.values_and_gradients(around)[1], unit * 0.1)
        count += len(around)
    return Laplace(mode, positive_inverse(hessian), -float(result.fun), evaluations + count)


def reml_start(density: CovarianceDensity) -> tuple[Array, int]:
    """Return (phi, log sigma) at the REML estimate, kept off the boundary, and the evaluations it took."""
    kernel = density.kernel
    maximum = maximise(kernel, "reml", sigma=density.sigma)
    phi = density.phi(kernel.lambdas(maximum.theta))
    start = phi if density.sigma is not None else np.append(phi, np.log(maximum.sigma))
    return start, maximum.n_evaluations


def within_supports(density: CovarianceDensity, x: Array) -> Array:
    """Move standard deviations and sigma that their priors rule out to where the priors allow them."""
    moved = x.copy()
    if density.sigma is None and density.priors.sigma is not None:
        moved[-1] = np.log(_allowed(density.priors.sigma, float(np.exp(moved[-1]))))
    sigma = float(np.exp(moved[-1])) if density.sigma is None else density.sigma
    sds = [prior for term in density.priors.terms for prior in term.sd]
    for place, prior in zip(sd_places(density.kernel.shapes), sds, strict=True):
        moved[place] = np.log(_allowed(prior, sigma * float(np.exp(moved[place]))) / sigma)
    return moved


def _allowed(prior: Prior, value: float) -> float:
    """Return a value the prior's support holds, the given one if it does."""
    lower, upper = max(prior.support[0], 0.0), prior.support[1]
    if lower < value < upper:
        return value
    return lower + INSIDE * (upper - lower) if np.isfinite(upper) else lower + max(value, lower)


def units(density: CovarianceDensity) -> Array:
    """Return rough standard deviations of the coordinates, shape (d,)."""
    units: list[float] = []
    for shape in density.kernel.shapes:
        units += [1.0 / np.sqrt(2.0 * shape.n_levels)] * shape.n_columns
        units += [1.0 / np.sqrt(shape.n_levels)] * (shape.n_coordinates - shape.n_columns)
    units += [1.0] * (density.n_phi - len(units))  # log w of priors that are mixtures
    if density.sigma is None:
        units.append(1.0 / np.sqrt(2.0 * max(density.kernel.n - density.kernel.p, 1)))
    return np.minimum(np.array(units), 0.5)


def gradient_differences(gradient: Callable[[Array], Array], at: Array, steps: Array) -> Array:
    """Return the Jacobian of a gradient by central differences, symmetrised, shape (d, d)."""
    return differences(np.array([gradient(x) for x in points_around(at, steps)]), steps)


def points_around(at: Array, steps: Array) -> Array:
    """Return the points a step above and, after these, a step below in every coordinate, shape (2 d, d)."""
    moves = np.diag(steps)
    return np.concatenate([at + moves, at - moves])


def differences(gradients: Array, steps: Array) -> Array:
    """Return the Jacobian, symmetrised, from the gradients (2 d, d) at `points_around`."""
    above, below = np.split(gradients.reshape(2 * len(steps), len(steps)), 2)
    matrix = (above - below) / (2.0 * steps[:, None])
    return 0.5 * (matrix + matrix.T)


def positive_inverse(hessian: Array) -> Array:
    """Invert a Hessian, with directions of little or negative curvature given `LARGEST_VARIANCE`."""
    if hessian.size == 0:
        return hessian
    values, vectors = np.linalg.eigh(np.where(np.isfinite(hessian), hessian, 0.0))
    variances = 1.0 / np.maximum(values, 1.0 / LARGEST_VARIANCE)
    return (vectors * variances) @ vectors.T
