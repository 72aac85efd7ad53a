r"""Measurements with outliers: Student's t about the linear predictor, scale :math:`\sigma`, :math:`\nu` degrees.

With :math:`t = (y - \eta)/(\sigma\sqrt\nu)` and :math:`c = 1/(1 + t^2)`,

.. math:: \ell &= \log\Gamma(\tfrac{\nu + 1}2) - \log\Gamma(\tfrac\nu2) - \tfrac12\log(\pi\nu) - \log\sigma
          - \tfrac{\nu + 1}2\log(1 + t^2), \\
          \ell' &= \tfrac{\nu + 1}{\sigma\sqrt\nu}\,tc, \qquad
          \ell'' = \tfrac{\nu + 1}{\sigma^2\nu}\,c\,(1 - 2c), \qquad
          \ell''' = \tfrac{\nu + 1}{(\sigma^2\nu)^{3/2}}\,2tc^2(1 - 4c) .

It is concave in :math:`\eta` for no response beyond :math:`|t| = 1`.
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import stdtr

from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.response import Request, Response, plain, single_column
from bayeslmm.families.special import bounded_exp, digamma
from bayeslmm.types import Array

HALF_LOG_PI = 0.5723649429247001
NORMAL_SCALE = 1.4826  # standard deviations of a normal per median absolute deviation


@numba.njit(cache=True, nogil=True)
def identity_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the identity link; phi holds log sigma and log nu."""
    last, constant = math.nan, 0.0
    for i in range(len(y)):
        nu = bounded_exp(phi[1, i])
        if nu != last:
            constant = math.lgamma(0.5 * nu + 0.5) - math.lgamma(0.5 * nu) - HALF_LOG_PI - 0.5 * math.log(nu)
            last = nu
        unit = math.exp(-phi[0, i]) / math.sqrt(nu)
        t = (y[i] - eta[i]) * unit
        c = 1.0 / (1.0 + t * t)
        weight = (nu + 1.0) * unit
        far = 2.0 * math.log(abs(t)) if abs(t) > 1e100 else math.log1p(t * t)
        out[0, i] = constant - phi[0, i] - 0.5 * (nu + 1.0) * far
        out[1, i] = weight * (t * c if c > 0.0 else 1.0 / t)
        out[2, i] = weight * unit * c * (1.0 - 2.0 * c)
        out[3, i] = weight * unit * unit * 2.0 * (t * c) * c * (1.0 - 4.0 * c)


@numba.njit(cache=True, nogil=True)
def identity_rows_by_dispersion(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (2, 3, n) for the identity link."""
    last, constant = math.nan, 0.0
    for i in range(len(y)):
        nu = bounded_exp(phi[1, i])
        if nu != last:
            constant = 0.5 * nu * (digamma(0.5 * nu + 0.5) - digamma(0.5 * nu)) - 0.5
            last = nu
        unit = math.exp(-phi[0, i]) / math.sqrt(nu)
        t = (y[i] - eta[i]) * unit
        c = 1.0 / (1.0 + t * t)
        tc = t * c
        far = 2.0 * math.log(abs(t)) if abs(t) > 1e100 else math.log1p(t * t)
        out[0, 0, i] = (nu + 1.0) * (1.0 - c) - 1.0
        out[0, 1, i] = -2.0 * (nu + 1.0) * unit * tc * c
        out[0, 2, i] = 2.0 * (nu + 1.0) * unit * unit * c * c * (4.0 * c - 3.0)
        out[1, 0, i] = constant - 0.5 * nu * far + 0.5 * (nu + 1.0) * (1.0 - c)
        out[1, 1, i] = unit * tc * (nu - (nu + 1.0) * c)
        out[1, 2, i] = unit * unit * c * ((nu + 1.0) * (1.0 - 5.0 * c + 4.0 * c * c) - (1.0 - 2.0 * c))


class Student(Family):
    """Measurements about their mean with heavy tails.

    Parameters
    ----------
    link
        "identity".
    """

    name: ClassVar[str] = "student"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    log_concave: ClassVar[bool] = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Scale and degrees of freedom."""
        return (
            Parameter("sigma", "log", "HalfStudentT(3, 1)", "in units of sd(y), as for normal responses", True),
            Parameter("nu", "log", "Gamma(2, 0.1)", "Juarez and Steel (2010): mass from 2 to 60, none at zero"),
        )

    @property
    def kernel(self) -> Kernel:
        """The loop of the identity link."""
        return identity_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log sigma and log nu."""
        return identity_rows_by_dispersion

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``(nu + 1)/((nu + 3) sigma^2)``."""
        phi = self.rows_of(working, len(eta))
        nu = np.exp(phi[1])
        weights = (nu + 1) / (nu + 3) * np.exp(-2 * phi[0])
        return weights if response.weights is None else weights * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read numbers."""
        y = single_column(values, request)
        return plain(y, np.zeros(len(y)), request)

    def start(self, response: Response) -> Array:
        """Return the logarithms of a robust scale and of ten degrees of freedom."""
        y = response.y
        spread = NORMAL_SCALE * float(np.median(np.abs(y - np.median(y)))) or float(np.std(y)) or 1.0
        return np.array([np.log(spread), np.log(10.0)])

    def start_predictor(self, response: Response) -> Array:
        """Return the response."""
        return response.y.copy()

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``sigma^2 nu/(nu - 2)``, infinite up to two degrees of freedom."""
        phi = self.rows_of(working, len(eta))
        nu = np.exp(phi[1])
        return np.where(nu > 2, np.exp(2.0 * phi[0]) * nu / np.where(nu > 2, nu - 2.0, 1.0), np.inf)

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y <= y), twice."""
        phi = self.rows_of(working, len(eta))
        return np.tile(stdtr(np.exp(phi[1]), (response.y - eta) * np.exp(-phi[0])), (2, 1))

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw t variables."""
        phi = self.rows_of(working, len(eta))
        return eta + np.exp(phi[0]) * rng.standard_t(np.exp(phi[1]))
