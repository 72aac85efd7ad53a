r"""Positive measurements whose logarithm is normal about the linear predictor with deviation :math:`\sigma`."""

from typing import Any, ClassVar

import numpy as np

from bayeslmm.families.definition import Parameter
from bayeslmm.families.gaussian import Gaussian, scaled
from bayeslmm.families.response import Request, Response, positive
from bayeslmm.types import Array


class LogNormal(Gaussian):
    """Positive measurements of median ``exp(eta)``; `Response.y` holds their logarithms.

    Parameters
    ----------
    link
        "identity", of the mean of the logarithm.
    """

    name: ClassVar[str] = "lognormal"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The standard deviation of the logarithm."""
        return (Parameter("sigma", "log", "HalfStudentT(3, 1)", "in units of sd(log y)", True),)

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read positive numbers."""
        remedy = "The lognormal distribution is for positive measurements; model zeros apart, or use another family."
        y = np.log(positive(values, request, remedy))
        return scaled(y, -y, request)

    def mean(self, eta: Array, working: Array) -> Array:
        """Return ``exp(eta + sigma^2/2)``."""
        return np.exp(eta + 0.5 * np.exp(2.0 * self.rows_of(working, len(eta))[0]))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``exp(2 eta + s^2) (exp(s^2) - 1)``, s^2 the variance of the logarithm."""
        spread = super().variance(response, eta, working)
        return np.exp(2.0 * eta + spread) * np.expm1(spread)
