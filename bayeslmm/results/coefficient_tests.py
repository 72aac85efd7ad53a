"""Tests of a point fit's coefficients, labelled."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.errors import OptionError, check_level
from bayeslmm.results import effects
from bayeslmm.testing.choice import Estimates, check_ddf, default_errors, errors_by
from bayeslmm.testing.contrasts import linear_functions
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation
from bayeslmm.types import Ddf

if TYPE_CHECKING:
    from bayeslmm.results.point import PointFit

DESCRIPTIONS: dict[Ddf, str] = {
    "satterthwaite": "t with Satterthwaite's degrees of freedom",
    "kenward-roger": "t with Kenward and Roger's degrees of freedom",
    "residual": "t with the residual degrees of freedom",
    "normal": "normal",
}


class ErrorsOfFit:
    """The errors of a fit's coefficients by each method, found when first asked for."""

    def __init__(self, fit: "PointFit") -> None:
        self.fit = fit
        self.found: dict[Ddf | None, tuple[ErrorsOfEstimation, Ddf]] = {}

    def find(self, ddf: str | None) -> tuple[ErrorsOfEstimation, Ddf]:
        """Return the errors, and the method where none was named."""
        named = None if ddf is None else check_ddf(ddf)
        if named not in self.found:
            estimates = estimates_of(self.fit)
            self.found[named] = default_errors(estimates) if named is None else (errors_by(estimates, named), named)
        return self.found[named]


class NormalErrorsOfFit(ErrorsOfFit):
    """The errors of a fit without a factor: normal unless another method is named, which then makes the factor."""

    def find(self, ddf: str | None) -> tuple[ErrorsOfEstimation, Ddf]:
        """Return the errors, and the method where none was named."""
        if ddf is not None and ddf != "normal":
            return super().find(ddf)
        covariance = np.asarray(self.fit.modes.beta_cov, dtype=float)
        return ErrorsOfEstimation(np.asarray(self.fit.modes.beta, dtype=float), covariance), "normal"


class GeneralizedErrorsOfFit(ErrorsOfFit):
    """The errors of the coefficients of a generalized model, whose tests are normal."""

    def find(self, ddf: str | None) -> tuple[ErrorsOfEstimation, Ddf]:
        """Return the errors, and that they are normal.

        Raises
        ------
        OptionError
            If degrees of freedom are asked for.
        """
        if ddf is not None and check_ddf(ddf) != "normal":
            raise OptionError(f"ddf={ddf!r} is for normal responses; tests of this fit are normal.")
        covariance = np.asarray(self.fit.modes.beta_cov, dtype=float)
        return ErrorsOfEstimation(np.asarray(self.fit.modes.beta, dtype=float), covariance), "normal"


def estimates_of(fit: "PointFit") -> Estimates:
    """Return what the tests need of a fit."""
    return Estimates(
        fit.kernel,
        fit.theta,
        np.asarray(fit.modes.beta, dtype=float),
        np.asarray(fit.modes.beta_cov, dtype=float),
        fit.sigma,
        fit.method,
        fit.spec.sigma is not None,
        fit.status.ok,
    )


def coefficient_table(fit: "PointFit", level: float | None, ddf: str | None) -> pd.DataFrame:
    """Return estimate, std_error, df, t and p (z and p where normal), with limits where a level is given."""
    errors, method = fit._errors.find(ddf)
    tested = linear_functions(np.eye(fit.design.p), errors)
    columns = {"estimate": tested.estimate, "std_error": tested.std_error}
    columns |= {"z": tested.t} if method == "normal" else {"df": tested.df, "t": tested.t}
    columns["p"] = tested.p
    if level is not None:
        check_level(level)
        columns["lower"], columns["upper"] = tested.limits(level)
    return pd.DataFrame(columns, index=effects.fixed_index(fit.design))
