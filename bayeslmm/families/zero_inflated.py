r"""Counts with more zeros than their distribution has: a share :math:`\pi` of the rows is always zero (Lambert 1992).

With :math:`g_0(\eta)` the log density of a zero among the counts, :math:`\zeta = \mathrm{logit}\,\pi` and
:math:`q = 1/(1 + e^{\zeta - g_0})`, a zero has

.. math:: \ell = \log(e^\zeta + e^{g_0}) - \log(1 + e^\zeta), \quad \ell' = qg_0', \quad
          \ell'' = qg_0'' + q(1 - q)g_0'^2, \quad
          \ell''' = qg_0''' + 3q(1 - q)g_0'g_0'' + q(1 - q)(1 - 2q)g_0'^3,

and any other count :math:`\log f - \log(1 + e^\zeta)`. The last dispersion parameter is :math:`\zeta`; it may differ
between rows, by a linear predictor of its own. The prior of the Intercept of that predictor speaks of its value at the
column means :math:`\bar c`, :math:`\zeta_0 + \bar c^\top\zeta_1`, as that of the model's own does.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import OptionError
from bayeslmm.families import negative_binomial, poisson
from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.negative_binomial import log_row, log_row_by_shape
from bayeslmm.families.response import Request, Response, below_zero
from bayeslmm.families.special import LARGEST, logistic, softplus
from bayeslmm.types import Array

CONSTANT = 1e-10  # relative spread below which a column is a constant
INTERCEPT = "Intercept"  # the name of a column of ones that its formula adds
ZERO_SCALE = 2.5  # units of the logit
ZERO = Parameter("zero", "logit", "Uniform(0, 1)", "every share of extra zeros alike")


@numba.njit(cache=True, nogil=True)
def zero_row(g0: float, g1: float, g2: float, g3: float, zeta: float) -> tuple[float, float, float, float]:
    """Return the log density of a zero and its first three derivatives."""
    gap = zeta - g0
    value = g0 + softplus(gap) - softplus(zeta) if gap < 0.0 else zeta + softplus(-gap) - softplus(zeta)
    q = logistic(-gap)
    if q * abs(g3) < 1e-300:
        return value, 0.0, 0.0, 0.0
    spread = q * logistic(gap)
    odd = spread * (1.0 - 2.0 * q)
    return value, q * g1, q * g2 + spread * g1 * g1, q * g3 + 3.0 * spread * g1 * g2 + odd * g1 * g1 * g1


@numba.njit(cache=True, nogil=True)
def poisson_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for Poisson counts; phi holds zeta."""
    poisson.log_rows(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[0, i]
        if y[i] > 0.0:
            out[0, i] -= softplus(zeta)
        else:
            out[0, i], out[1, i], out[2, i], out[3, i] = zero_row(out[0, i], out[1, i], out[2, i], out[3, i], zeta)


@numba.njit(cache=True, nogil=True)
def poisson_rows_by_zero(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for Poisson counts."""
    for i in range(len(y)):
        zeta = phi[0, i]
        mean = math.exp(min(eta[i], LARGEST))
        fill_by_zero(y[i] == 0.0, -mean, -mean, -mean, zeta, out[0, :, i])


@numba.njit(cache=True, nogil=True)
def fill_by_zero(is_zero: bool, g0: float, g1: float, g2: float, zeta: float, out: Array) -> None:
    """Fill out (3,) with the derivatives by zeta of the log density and its first two derivatives."""
    out[0] = -logistic(zeta)
    out[1] = 0.0
    out[2] = 0.0
    if not is_zero:
        return
    q = logistic(g0 - zeta)
    spread = q * logistic(zeta - g0)
    out[0] = (1.0 - q) * logistic(-zeta) - q * logistic(zeta)
    if q * abs(g2) > 1e-300:
        out[1] = -spread * g1
        out[2] = -spread * g2 - spread * (1.0 - 2.0 * q) * g1 * g1


@numba.njit(cache=True, nogil=True)
def negative_binomial_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for negative binomial counts; phi holds log shape and zeta."""
    negative_binomial.log_rows(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[1, i]
        if y[i] > 0.0:
            out[0, i] -= softplus(zeta)
        else:
            out[0, i], out[1, i], out[2, i], out[3, i] = zero_row(out[0, i], out[1, i], out[2, i], out[3, i], zeta)


@numba.njit(cache=True, nogil=True)
def negative_binomial_rows_by_dispersion(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (2, 3, n) for negative binomial counts."""
    negative_binomial.log_rows_by_shape(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[1, i]
        g0, g1, g2, _ = log_row(0.0, eta[i], phi[0, i])
        fill_by_zero(y[i] == 0.0, g0, g1, g2, zeta, out[1, :, i])
        if y[i] == 0.0:
            k0, k1, k2 = log_row_by_shape(0.0, eta[i], phi[0, i])
            q = logistic(g0 - zeta)
            spread = q * logistic(zeta - g0)
            out[0, 0, i] = q * k0
            out[0, 1, i] = spread * k0 * g1 + q * k1
            out[0, 2, i] = spread * k0 * g2 + q * k2 + spread * (1.0 - 2.0 * q) * k0 * g1 * g1 + 2.0 * spread * g1 * k1


class _WithZeros(Family):
    """What families with a part for zeros share: that part, reading, starting and drawing.

    Parameters
    ----------
    link
        "log".
    columns
        Columns of the logit of the share of zeros, (n, r), whose coefficients take the place of the share; None for one
        share of all rows. Predictors may come as several passes over the n rows, one after the other.
    names
        Names of the columns.

    Attributes
    ----------
    zeros_apart
        Whether every zero comes from the share of zeros, none from the counts.
    """

    links: ClassVar[tuple[str, ...]] = ("log",)
    log_concave: ClassVar[bool] = False
    standard_rows: ClassVar[bool] = True
    counts: ClassVar[type[Family]]
    zeros_apart: ClassVar[bool] = False

    def __init__(self, link: str | None = None, columns: Array | None = None, names: Sequence[str] = ()) -> None:
        super().__init__(link)
        self._counts = self.counts(link)
        self._columns, self._names = columns, tuple(names)

    def __repr__(self) -> str:
        described = "" if self._columns is None else f", zero ~ {' + '.join(self._names)}"
        return f"{type(self).__name__}(link={self._link.name!r}{described})"

    @property
    def zero_columns(self) -> Array | None:
        """Columns of the logit of the share of zeros, (n, r)."""
        return self._columns

    def with_zero_columns(self, columns: Array, names: Sequence[str] | None = None) -> Self:
        """Return the family with other columns of the logit of the share of zeros, such as those of new rows."""
        return type(self)(self.link.name, columns, self._names if names is None else names)

    @property
    def has_zero_part(self) -> bool:
        """True: a share of zeros."""
        return True

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of the counts, then the share of zeros or the coefficients of its logit."""
        if self._columns is None:
            return (*self._counts.parameters, ZERO)
        return (*self._counts.parameters, *self._zero_coefficients())

    def _zero_coefficients(self) -> list[Parameter]:
        """Return a parameter per column, its prior in units of the column.

        That of a constant that is no Intercept is so wide that the one at the columns' means has a scale of its own,
        whatever their origin.
        """
        assert self._columns is not None
        spread, mean = self._columns.std(axis=0), self._columns.mean(axis=0)
        varying = self._varies()
        far = np.sqrt(1.0 + np.sum((mean[varying] / spread[varying]) ** 2))
        scales = np.where(varying, 1.0 / np.where(varying, spread, 1.0), far / np.where(varying, 1.0, np.abs(mean)))
        reason = "of the logit of a share: most of its range for one standard deviation of the column"
        found = [
            Parameter(f"zero[{name}]", "none", f"Normal(0, {ZERO_SCALE * scale:.6g})", reason)
            for name, scale in zip(self._names, scales, strict=True)
        ]
        if INTERCEPT in self._names:
            reason = "of the logit of a share: most of its range; at the column means"
            place = self._names.index(INTERCEPT)
            found[place] = Parameter(f"zero[{INTERCEPT}]", "none", f"Normal(0, {ZERO_SCALE:g})", reason)
        return found

    def _varies(self) -> NDArray[np.bool_]:
        """Return which columns are no constants, (r,)."""
        assert self._columns is not None
        return np.asarray(self._columns.std(axis=0) > CONSTANT * np.abs(self._columns.mean(axis=0)))

    @property
    def prior_turn(self) -> Array | None:
        """The identity but for the row of the Intercept of the share of zeros, which is moved to the column means."""
        if self._columns is None or INTERCEPT not in self._names:
            return None
        turn, head = np.eye(self.n_dispersion), self._counts.n_dispersion
        place = self._names.index(INTERCEPT)
        means = np.where(self._varies(), self._columns.mean(axis=0), 0.0)
        turn[head + place, head:] = np.where(np.arange(len(means)) == place, 1.0, means)
        return turn

    @property
    def dispersion_scales(self) -> Array:
        """Ones, and for coefficients of the share of zeros one over the column's root mean square."""
        if self._columns is None:
            return super().dispersion_scales
        size = np.sqrt(np.mean(self._columns**2, axis=0))
        return np.concatenate([np.ones(self._counts.n_dispersion), 1.0 / np.where(size > 0, size, 1.0)])

    def kernel_parameters(self, working: Array) -> Array:
        """Return what the loops take, (m,), or of each row, (m, n), where the share of zeros has columns."""
        if self._columns is None or working.ndim == 2:
            return working
        head = self._counts.n_dispersion
        zeta = self._columns @ working[head:]
        return np.vstack([np.repeat(working[:head, None], len(zeta), axis=1), zeta[None, :]])

    def rows_of(self, working: Array, n: int) -> Array:
        """Return phi for each row, (m, n); with columns for n rows or several passes over them."""
        if self._columns is None:
            return super().rows_of(working, n)
        phi = self.kernel_parameters(np.asarray(working, dtype=float))
        if n % phi.shape[1]:
            raise OptionError(
                f"The share of zeros has columns for {phi.shape[1]} rows, and {n} are asked for: ask for those of the "
                "fit, or leave zero= out."
            )
        return phi if phi.shape[1] == n else np.tile(phi, (1, n // phi.shape[1]))

    def by_dispersion(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the derivatives by the working values of log f and its first two derivatives, (m, 3, n)."""
        kernel = self.dispersion_kernel
        if self._columns is None or kernel is None:
            return super().by_dispersion(response, eta, working)
        head = self._counts.n_dispersion
        out = np.zeros((head + 1, 3, len(eta)))
        kernel(response.y, response.size, eta, self.rows_of(working, len(eta)), out)
        if response.weights is not None:
            out *= response.weights
        columns = np.tile(self._columns.T, (1, len(eta) // len(self._columns)))
        return np.concatenate([out[:head], columns[:, None, :] * out[head]])

    def _of_counts(self, working: Array) -> Array:
        """Return the working values of the counts' own parameters."""
        return np.asarray(working)[: self._counts.n_dispersion]

    def _start(self, counts: Array, zeta: float) -> Array:
        """Return working values for those of the counts and a logit of the share of zeros."""
        if self._columns is None:
            return np.concatenate([counts, [zeta]])
        constant = np.linalg.lstsq(self._columns, np.full(len(self._columns), zeta), rcond=None)[0]
        return np.concatenate([counts, constant])

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return those of the counts."""
        return self._counts.expected_weights(response, eta, self._of_counts(working))

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read counts."""
        return self._counts.read(values, request)

    def start(self, response: Response) -> Array:
        """Return the counts' start, and half the zeros as extra ones."""
        share = 0.5 * np.mean(response.y == 0)
        zero = np.clip(share, 0.02, 0.9)
        return self._start(self._counts.start(response), float(np.log(zero / (1 - zero))))

    def start_predictor(self, response: Response) -> Array:
        """Return the logarithm of the count; zeros at the mean of the others."""
        positive = response.y[response.y > 0]
        mean = float(positive.mean()) if len(positive) else 0.5
        return np.log(np.where(response.y > 0, response.y, 0.5 * mean))

    def mean(self, eta: Array, working: Array) -> Array:
        """Return ``(1 - pi) exp(eta)``."""
        zeta = self.rows_of(working, len(eta))[-1]
        return self.link.mean(eta) / (1.0 + np.exp(zeta))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return that of the mixture with zero."""
        inner = self._of_counts(working)
        rest = 1.0 / (1.0 + np.exp(self.rows_of(working, len(eta))[-1]))
        mean = self.link.mean(eta)
        return rest * (self._counts.variance(response, eta, inner) + mean**2) - (rest * mean) ** 2

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y)."""
        rest = 1.0 / (1.0 + np.exp(self.rows_of(working, len(eta))[-1]))
        found = 1.0 - rest + rest * self._counts.cdf(response, eta, self._of_counts(working))
        found[0] = below_zero(response.y, found[0])
        return found

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw counts and set a share of them to zero."""
        y = self._counts.simulate(response, eta, self._of_counts(working), rng)
        zeta = self.rows_of(working, len(eta))[-1]
        return np.where(rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-zeta)), 0.0, y)


class ZeroInflatedPoisson(_WithZeros):
    """Poisson counts and extra zeros.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "zero_inflated_poisson"
    counts: ClassVar[type[Family]] = poisson.Poisson

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return poisson_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by zeta."""
        return poisson_rows_by_zero


class ZeroInflatedNegativeBinomial(_WithZeros):
    """Negative binomial counts and extra zeros.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "zero_inflated_negative_binomial"
    counts: ClassVar[type[Family]] = negative_binomial.NegativeBinomial

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return negative_binomial_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log shape and zeta."""
        return negative_binomial_rows_by_dispersion
