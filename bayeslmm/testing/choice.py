"""Which distribution the tests of a fit's coefficients have, and the errors that belong to it."""

from dataclasses import dataclass
from typing import get_args

import numpy as np

from bayeslmm.errors import FittingError, OptionError, is_word
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation, ResidualErrors
from bayeslmm.testing.kenward_roger import kenward_roger
from bayeslmm.testing.satterthwaite import satterthwaite
from bayeslmm.types import Array, Ddf

MANY_ROWS = 200  # per coefficient,
LARGE_DF = 1000  # and all degrees of freedom above this: as good as normal


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the tests of a fit need of it.

    Attributes
    ----------
    kernel
        The data.
    theta, beta, covariance, sigma
        Where the fit ended, shapes (k,), (p,) and (p, p).
    method
        "ml", "reml" or "map".
    sigma_known
        Whether sigma is no parameter.
    trusted
        Whether the search for the optimum succeeded.
    """

    kernel: Kernel
    theta: Array
    beta: Array
    covariance: Array
    sigma: float
    method: str
    sigma_known: bool
    trusted: bool


def check_ddf(ddf: str) -> Ddf:
    """Return `ddf` if it names a way to find degrees of freedom."""
    if not is_word(ddf, get_args(Ddf)):
        listed = ", ".join(map(repr, get_args(Ddf)))
        raise OptionError(f"ddf={ddf!r} is unknown; use one of {listed}.")
    return ddf  # type: ignore[return-value]


def errors_by(fit: Estimates, ddf: str) -> ErrorsOfEstimation:
    """Return the coefficients' errors by the method asked for.

    Raises
    ------
    OptionError
        If it is unknown, or does not fit the fit.
    """
    chosen = check_ddf(ddf)
    kernel = fit.kernel
    if chosen == "normal":
        return ErrorsOfEstimation(fit.beta, fit.covariance)
    if fit.method == "map":
        raise OptionError(
            f"ddf={ddf!r} is for likelihoods, and this is a posterior mode: use ddf='normal', or fit with "
            "method='reml'."
        )
    if chosen == "residual":
        if kernel.shapes:
            raise OptionError(
                "ddf='residual' is exact without random terms only, and this model has some: use "
                "ddf='satterthwaite' or, after REML, ddf='kenward-roger'."
            )
        if fit.sigma_known:
            return ErrorsOfEstimation(fit.beta, fit.covariance)
        return ResidualErrors(fit.beta, fit.covariance, float(kernel.n - kernel.p))
    if chosen == "satterthwaite":
        return satterthwaite(kernel, fit.theta, fit.method, fit.beta, fit.sigma, sigma_known=fit.sigma_known)
    if fit.method != "reml":
        raise OptionError(
            "ddf='kenward-roger' is for REML: fit with method='reml', or use ddf='satterthwaite' after ML."
        )
    return kenward_roger(kernel, fit.theta, fit.beta, fit.sigma, sigma_known=fit.sigma_known)


def default_errors(fit: Estimates) -> tuple[ErrorsOfEstimation, Ddf]:
    """Return the errors of tests for which no method was named, and the method.

    Satterthwaite's with random terms, residual without; normal for a posterior mode, for a search that failed, and
    where the degrees of freedom are too many to matter.
    """
    kernel = fit.kernel
    normal: tuple[ErrorsOfEstimation, Ddf] = (errors_by(fit, "normal"), "normal")
    if fit.method == "map" or not fit.trusted or kernel.p == 0:
        return normal
    if not kernel.shapes:
        return normal if fit.sigma_known else (errors_by(fit, "residual"), "residual")
    many = kernel.n > MANY_ROWS * kernel.p
    if many and min(shape.n_levels for shape in kernel.shapes) - kernel.p > LARGE_DF:
        return normal
    try:
        found = errors_by(fit, "satterthwaite")
        large = many and bool((found.df(np.eye(kernel.p)) > LARGE_DF).all())
    except FittingError:
        return normal
    return normal if large else (found, "satterthwaite")
