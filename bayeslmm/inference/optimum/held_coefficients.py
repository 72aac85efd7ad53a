r"""Coefficients at the values that maximise the posterior, where their priors are not normal.

Given the covariance parameters, the coefficients :math:`\gamma_H` with Student t, Cauchy, Laplace or logistic priors,
all other coefficients and the random effects integrated out, have a normal likelihood with mean :math:`\mu` and
precision S, so their best values minimise

.. math:: q(\gamma) = (\gamma - \mu)^\top S (\gamma - \mu) - 2 \sum_h \log p_h(\gamma_h).

One at a time each minimum is known exactly. With :math:`\delta = \gamma_h - m_h` and c the conditional centre less
:math:`m_h`, a Student t prior has it at a root of

.. math:: \delta^3 - c\,\delta^2 + \Bigl(\nu s^2 + \frac{\nu + 1}{S_{hh}}\Bigr)\delta - c\,\nu s^2 = 0,

the real one with the lowest q, a Laplace prior at :math:`\operatorname{sign}(c)\max(|c| - 1/(S_{hh} b), 0)`, and a
logistic one, whose q is convex, where :math:`S_{hh}(\delta - c) + \tanh(\delta/(2s))/s = 0`.
Sweeps over the coefficients never raise q, and what is not smooth in q is a sum over single coefficients, so where they
stop is stationary (Tseng 2001); Newton's steps hurry them on. Where data and a prior contradict each other q has
several minima: sweeps start from the data and from the priors, and the lower end counts.

Source: P. Tseng (2001), *Journal of Optimization Theory and Applications* 109, 475-494.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.normal_prior import FixedPosterior, NormalPrior
from bayeslmm.priors.prior import SMALLEST, Prior
from bayeslmm.priors.real_line import Cauchy, Laplace, Logistic, Normal, StudentT
from bayeslmm.types import Array

MAXIMUM_SWEEPS = 500
MAXIMUM_STEPS = 100  # of Newton's in one coefficient
SETTLED = 1e-12  # of a coefficient's standard error
NARROWEST = 1e-4  # of its scale: the sd of the normal prior that stands for a Laplace prior at its kink
TIGHT = 1e6  # times the root of a held coefficient's precision, which stands for certainty


@dataclass(frozen=True, slots=True)
class HeldEquations:
    """The equations of the other coefficients, those of H held; what `fixed_posterior` asks for.

    Attributes
    ----------
    factor
        The factor at theta.
    products
        The cross-products, which count the other coefficients only.
    r_squared
        The penalised residual sum of squares at its minimum over the others.
    beta
        Their generalised least-squares estimate, on the columns that priors speak of, shape (p - h,).
    R_X
        Lower Cholesky factor of their cross-products with Z eliminated, shape (p - h, p - h).
    log_prior
        Log density of the priors of H.
    origin, basis
        The kernel's coefficients are ``origin + basis @ others``, shapes (p,) and (p, p - h).
    """

    factor: Factor
    products: CrossProducts
    r_squared: float
    beta: Array
    R_X: Array
    log_prior: float
    origin: Array
    basis: Array

    @property
    def order(self) -> int:
        """Order of the largest matrix that LAPACK sees."""
        return self.factor.order

    @property
    def log_det(self) -> float:
        """log|Omega|."""
        return self.factor.log_det

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|²."""
        return 2.0 * float(np.sum(np.log(np.diag(self.R_X))))


@dataclass(frozen=True, slots=True)
class HeldCoefficients:
    """Coefficients that are held, and the way from the kernel's coefficients to those that priors speak of.

    Attributes
    ----------
    turn, shift
        ``gamma = turn @ beta + shift``, shapes (p, p) and (p,).
    places
        Of the h coefficients held, shape (h,).
    priors
        Their priors.
    others
        The normal prior of the others, on the columns that priors speak of.
    """

    turn: Array
    shift: Array
    places: NDArray[np.intp]
    priors: tuple[Prior, ...]
    others: NormalPrior

    def best(self, posterior: FixedPosterior, sigma: float, start: Array | None = None) -> Array:
        """Return the values that maximise the posterior given theta and sigma, shape (h,).

        Parameters
        ----------
        posterior
            All coefficients given theta, the prior of H taken as flat.
        sigma
            Residual standard deviation.
        start
            Where to look besides the data and the priors, shape (h,).
        """
        rows = self.turn[self.places]
        spread = rows @ posterior.root * (sigma / np.sqrt(1.0 + sigma**2 * posterior.pull))
        precision = np.linalg.inv(spread @ spread.T)
        centre = rows @ posterior.mean(sigma) + self.shift[self.places]
        return minimise_held((precision + precision.T) / 2.0, centre, self.priors, start)

    def equations(self, factor: Factor, held: Array) -> HeldEquations:
        """Return the equations of the other coefficients at values of those held, shape (h,)."""
        p = len(self.turn)
        inverse: Array = np.asarray(np.linalg.inv(self.turn), dtype=float)
        basis: Array = np.delete(inverse, self.places, axis=1)
        origin = inverse[:, self.places] @ (held - self.shift[self.places])
        origin = origin - basis @ np.delete(self.shift, self.places)
        estimate, R = factor.beta, factor.R_X
        residual = R.T @ (origin - estimate)
        q, r = np.linalg.qr(R.T @ basis)
        others = -solve_triangular(r, q.T @ residual) if len(r) else np.zeros(0)
        left = residual - q @ (q.T @ residual)
        return HeldEquations(
            factor=factor,
            products=replace(factor.products, n_fixed=p - len(held)),
            r_squared=factor.r_squared + float(left @ left),
            beta=others,
            R_X=(r * np.where(np.diag(r) < 0, -1.0, 1.0)[:, None]).T,
            log_prior=float(sum(prior.logpdf(x) for prior, x in zip(self.priors, held, strict=True))),
            origin=origin,
            basis=basis,
        )

    def precision_factor(self, factor: Factor, prior: NormalPrior, sigma: float) -> Array:
        """Return the lower Cholesky factor of the coefficients' precision times sigma², those held as good as known.

        By a QR decomposition of roots, since the sum of precisions would lose the digits of the smaller one.
        """
        rows = self.turn[self.places]
        own = np.linalg.cholesky(factor.R_X @ factor.R_X.T + sigma**2 * prior.precision)
        lengths = np.linalg.norm(solve_triangular(own, rows.T, lower=True), axis=0)
        return _lower(np.vstack([TIGHT / lengths[:, None] * rows, own.T]))


def _lower(root: Array) -> Array:
    r = np.linalg.qr(root, mode="r")
    return np.asarray(r * np.where(np.diag(r) < 0, -1.0, 1.0)[:, None]).T


def minimise_held(precision: Array, centre: Array, priors: Sequence[Prior], start: Array | None = None) -> Array:
    """Return the minimum of q.

    Parameters
    ----------
    precision, centre
        S and mu, shapes (h, h) and (h,).
    priors
        h priors: Student t, Cauchy, Laplace or logistic.
    start
        A further place to start from, shape (h,).
    """
    middles = np.array([_middle(prior) for prior in priors])
    starts = [centre, middles] if start is None else [centre, middles, start]
    ends = [_descend(precision, centre, priors, np.array(first)) for first in starts]
    return min(ends, key=lambda end: _value(precision, centre, priors, end))


def _middle(prior: Prior) -> float:
    return float(prior.alpha if isinstance(prior, Cauchy) else prior.mu)  # type: ignore[attr-defined]


def _value(precision: Array, centre: Array, priors: Sequence[Prior], at: Array) -> float:
    distance = at - centre
    return float(distance @ precision @ distance) - 2.0 * sum(
        float(prior.logpdf(x)) for prior, x in zip(priors, at, strict=True)
    )


def _descend(precision: Array, centre: Array, priors: Sequence[Prior], at: Array) -> Array:
    errors = 1.0 / np.sqrt(np.diag(precision))
    for _ in range(MAXIMUM_SWEEPS):
        before = at.copy()
        for h, prior in enumerate(priors):
            rest = precision[h] @ (at - centre) - precision[h, h] * (at[h] - centre[h])
            at[h] = _best_alone(precision[h, h], centre[h] - rest / precision[h, h], prior)
        if len(at) == 1 or np.all(np.abs(at - before) <= SETTLED * errors):
            break
        quick = _newton(precision, centre, priors, at)
        if _value(precision, centre, priors, quick) < _value(precision, centre, priors, at):
            at = quick
    return at


def _newton(precision: Array, centre: Array, priors: Sequence[Prior], at: Array) -> Array:
    """Return where Newton's step ends, coefficients at a kink staying there."""
    free = np.array([not isinstance(p, Laplace) or x != p.mu for p, x in zip(priors, at, strict=True)])
    slope = precision @ (at - centre) - np.array([float(p.dlogpdf(x)) for p, x in zip(priors, at, strict=True)])
    bend = precision + np.diag([_bend(p, x) for p, x in zip(priors, at, strict=True)])
    moved = at.copy()
    if free.any():
        moved[free] -= np.linalg.lstsq(bend[np.ix_(free, free)], slope[free], rcond=None)[0]
    return moved


def _bend(prior: Prior, x: float) -> float:
    """Return minus the second derivative of a log density."""
    if isinstance(prior, Laplace):
        return 0.0
    if isinstance(prior, Logistic):
        return float((1.0 - np.tanh(0.5 * (x - prior.mu) / prior.s) ** 2) / (2.0 * prior.s**2))
    nu, middle, scale = _student(prior)
    z2 = ((x - middle) / scale) ** 2
    return (nu + 1.0) * (nu - z2) / (nu + z2) ** 2 / scale**2


def _best_alone(precision: float, centre: float, prior: Prior) -> float:
    """Return the minimum of q in one coefficient."""
    if isinstance(prior, Laplace):
        c = centre - prior.mu
        return float(prior.mu + np.sign(c) * max(abs(c) - 1.0 / (precision * prior.b), 0.0))
    if isinstance(prior, Logistic):
        return float(prior.mu + prior.s * _logistic_root((centre - prior.mu) / prior.s, precision * prior.s**2))
    nu, middle, scale = _student(prior)
    c, spread = (centre - middle) / scale, 1.0 / (precision * scale**2)  # in units of the prior's scale
    roots = np.roots([1.0, -c, nu + (nu + 1.0) * spread, -c * nu])
    real = roots.real[np.abs(roots.imag) <= 1e-6 * (1.0 + np.abs(roots))]
    value = (real - c) ** 2 / spread + (nu + 1.0) * np.log1p(real**2 / nu)
    best = float(real[np.argmin(value)])
    for _ in range(2):  # the roots of a cubic are eigenvalues, and lose digits where c is large
        slope = (best - c) / spread + (nu + 1.0) * best / (nu + best**2)
        bend = 1.0 / spread + (nu + 1.0) * (nu - best**2) / (nu + best**2) ** 2
        best -= slope / bend if bend > 0 else 0.0
    return float(middle + scale * best)


def _logistic_root(c: float, precision: float) -> float:
    """Return where ``precision (d - c) + tanh(d / 2)`` is zero.

    It rises, and is concave on the side of zero where its root is: from zero, Newton's steps go up to the root and
    never beyond it.
    """
    side, c = np.sign(c), abs(c)
    d = 0.0
    for _ in range(MAXIMUM_STEPS):
        lean = np.tanh(0.5 * d)
        step = (precision * (c - d) - lean) / (precision + 0.5 * (1.0 - lean**2))
        d += step
        if abs(step) <= SETTLED * (1.0 + d):
            break
    return float(side * d)


def _student(prior: Prior) -> tuple[float, float, float]:
    """Return degrees of freedom, location and scale."""
    if isinstance(prior, Cauchy):
        return 1.0, prior.alpha, prior.beta
    assert isinstance(prior, StudentT)
    return prior.nu, prior.mu, prior.sigma


def standing_in(prior: Prior, x: float) -> Normal:
    r"""Return the normal prior with the same location, and the same slope at x.

    Its variance is :math:`-(x - m) / (\log p)'(x)`: :math:`s^2(\nu + z^2)/(\nu + 1)` for Student t,
    :math:`b|x - m|` for Laplace, :math:`s(x - m)/\tanh((x - m)/(2s))` for logistic.
    """
    if isinstance(prior, Logistic):
        z = max(abs(x - prior.mu) / prior.s, NARROWEST)  # the ratio is two at zero
        return Normal(prior.mu, float(prior.s * np.sqrt(z / np.tanh(0.5 * z))))
    if isinstance(prior, Laplace):
        variance = max(prior.b * abs(x - prior.mu), (NARROWEST * prior.b) ** 2)
        return Normal(prior.mu, max(float(np.sqrt(variance)), SMALLEST))
    nu, middle, scale = _student(prior)
    z = (x - middle) / scale
    return Normal(middle, float(scale * np.sqrt((nu + z**2) / (nu + 1.0))))
