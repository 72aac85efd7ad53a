r"""Profiles of the likelihood: one parameter held, all others at their optimum.

.. math:: \zeta(v) = \mathrm{sign}(v - \hat v)\sqrt{d(v) - d(\hat v)}

is standard normal if v is the truth, and a straight line where Wald's interval is right (Bates et al. 2015, section
5). The profile is followed outwards in steps of about one unit of zeta. The derivative of d(v) is that of d by the
parameter held, so zeta is known with its slope at every point, a cubic goes through both, and the limits of an interval
are read off it. Each optimum starts from where the path leads, in coordinates of unit curvature.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # scipy.optimize takes a fifth of a second to load and does so at its first use
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline, CubicSpline, PchipInterpolator
from scipy.special import ndtri

from bayeslmm.covariance import TermShape
from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.quasi_newton import descend
from bayeslmm.intervals.natural_parameters import Deviance, user_orders, with_fixed_function
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.types import Array

MARGIN = 0.1  # of zeta, beyond the limits of the widest interval
STEP = 0.9  # of zeta between points
GAIN = 1e-5  # of the deviance, where an optimum stops
DIFFERENCE = 1e-3  # of a parameter in its unit, for the curvature at the optimum
LEAST_SD = 0.02  # in units of the residual, from which a search for an sd starts: at zero there is no slope
LARGEST_Z = 5.0  # atanh of a correlation of 0.9999
HIGHER = 1e-3  # a deviance below the optimum's by this is another optimum
MAXIMUM_POINTS = 25

Objective = Callable[[Array], tuple[float, Array]]
Held = Callable[[float, Array], tuple[float, Array, float]]  # value, nuisance -> d, slope by nuisance, slope by value


@dataclass(frozen=True, slots=True)
class Curve:
    """The profile of one parameter.

    Attributes
    ----------
    values, zeta, slopes
        Points, signed roots of the deviance's rise, and their derivatives, ascending, shape (m,) each.
    lowest, highest
        The range of the parameter.
    n_evaluations
        Evaluations of the deviance with its gradient.
    """

    values: Array
    zeta: Array
    slopes: Array
    lowest: float
    highest: float
    n_evaluations: int

    def interpolate(self, values: Array) -> Array:
        """Return zeta at values within the range of the points."""
        return np.asarray(CubicHermiteSpline(self.values, self.zeta, self.slopes)(values))

    def limits(self, level: float) -> tuple[float, float]:
        """Return the interval of a probability; where zeta does not go so far, the end is that of the range."""
        target = float(ndtri(0.5 + level / 2.0))
        return self._crossing(-target, self.lowest), self._crossing(target, self.highest)

    def _crossing(self, target: float, end: float) -> float:
        if target < self.zeta[0] or target > self.zeta[-1]:
            return end
        place = int(np.clip(np.searchsorted(self.zeta, target), 1, len(self.zeta) - 1))
        low, high = self.values[place - 1], self.values[place]
        return float(scipy.optimize.brentq(lambda v: float(self.interpolate(np.array(v))) - target, low, high))


def transformed(curve: Curve, function: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Curve:
    """Return the profile of an increasing function of the parameter; `slope` is the derivative of the function."""
    values = function(curve.values)
    ends = function(np.array([curve.lowest, curve.highest]))
    return Curve(values, curve.zeta, curve.slopes / slope(curve.values), ends[0], ends[1], curve.n_evaluations)


class Profiler:
    """Profiles of one ML fit.

    Parameters
    ----------
    kernel
        The data.
    factors
        The relative covariance factors at the optimum, user's columns.
    sigma
        Residual standard deviation there.
    sigma_known
        Whether it is no parameter.
    beta, beta_cov
        The coefficients with their covariance, shapes (p,) and (p, p).
    level
        Largest probability of an interval that will be asked for.
    """

    def __init__(
        self,
        kernel: Kernel,
        factors: list[Array],
        sigma: float,
        *,
        sigma_known: bool,
        beta: Array,
        beta_cov: Array,
        level: float = 0.99,
    ) -> None:
        self.kernel, self.factors, self.sigma = kernel, factors, sigma
        self.known = sigma if sigma_known else None
        self.beta, self.beta_cov = beta, beta_cov
        floors = [
            np.concatenate([LEAST_SD * sigma / m.scale, np.zeros(s.n_coordinates - s.n_columns)])
            for m, s in zip(kernel.maps, kernel.shapes, strict=True)
        ]
        self.floors = np.concatenate([*floors, np.zeros(0 if sigma_known else 1)])
        self.reach = float(ndtri(0.5 + level / 2.0)) + MARGIN
        self.curvatures: dict[bytes, Array] = {}

    def coefficient(self, j: int) -> Curve:
        """Return the profile of the coefficient at place j."""
        weights = np.eye(self.kernel.p)[j]
        whole = Deviance(self.kernel, self.known, user_orders(self.kernel.shapes))
        base, psi, curvature = self._start(whole, whole.point(self.factors, self.sigma))
        spent = whole.count
        counts = [0]

        def held(value: float, nuisance: Array) -> tuple[float, Array, float]:
            counts[0] += 1
            fixed = Deviance(with_fixed_function(self.kernel, weights, value), self.known, whole.orders)
            found, slope = fixed(nuisance)
            return found, slope, np.nan

        error = float(np.sqrt(self.beta_cov[j, j]))
        path = _Path(held, base, _whitening(curvature), None, self.reach, np.zeros(len(psi), dtype=bool))
        curve = path.both_sides(float(self.beta[j]), psi, error, -np.inf, np.inf)
        return replace(curve, n_evaluations=counts[0] + spent)

    def covariance(self, place: int, *, term: int | None = None, first: int = 0, kind: str = "sd") -> Curve:
        """Return the profile of psi at `place`, with the effect `first` of `term` leading its correlations.

        `kind` is "sd", "z" or "sigma" (then of its logarithm).
        """
        deviance = Deviance(self.kernel, self.known, user_orders(self.kernel.shapes, term, first))
        optimum = deviance.point(self.factors, self.sigma)
        signed = sd_places(self.kernel.shapes, term) if kind == "z" else np.zeros(0, dtype=int)
        start = self._start(deviance, optimum)
        unit = start[1][place] if kind == "sd" else 1.0
        curve = follow(deviance, start, optimum, place, kind, unit, self.floors[place], signed, self.reach)
        return replace(curve, n_evaluations=deviance.count)

    def _start(self, deviance: Deviance, optimum: Array) -> tuple[float, Array, Array]:
        """Return d at the optimum, psi with its sds moved off zero, and the Hessian there."""
        base, slope = deviance(optimum)
        psi = np.where(np.abs(optimum) < self.floors, self.floors, optimum)
        key = b"".join(order.tobytes() for order in deviance.orders)
        if key not in self.curvatures:
            units = np.where(self.floors > 0, np.abs(psi), 1.0)
            origin = slope if np.array_equal(psi, optimum) else deviance(psi)[1]
            self.curvatures[key] = curvature_at(deviance, psi, origin, DIFFERENCE * units)
        return base, psi, self.curvatures[key]


def follow(
    deviance: Callable[[Array], tuple[float, Array]],
    start: tuple[float, Array, Array],
    optimum: Array,
    place: int,
    kind: str,
    unit: float,
    floor: float,
    signed_places: Array,
    reach: float,
) -> Curve:
    """Return the profile of one coordinate of a deviance.

    Parameters
    ----------
    deviance
        Value and gradient.
    start
        The deviance at the optimum, where to start from, and the Hessian there.
    optimum
        All coordinates at the optimum.
    place, kind
        The coordinate; "sd" and "z" end where those do.
    unit
        About a standard error, where the Hessian does not say.
    floor
        A hundredth of which an sd must have not to be zero.
    signed_places
        Coordinates that must stay positive: a correlation held means another one where an sd changes its sign.
    reach
        How far to follow zeta.
    """
    base, psi, curvature = start
    others = np.delete(np.arange(len(psi)), place)
    signed = np.isin(others, signed_places)

    def held(value: float, nuisance: Array) -> tuple[float, Array, float]:
        if (nuisance[signed] <= 0).any():
            raise FittingError("A standard deviation is negative.")
        found, slope = deviance(np.insert(nuisance, place, value))
        return found, slope[others], float(slope[place])

    lowest, highest = {"sd": (0.0, np.inf), "z": (-LARGEST_Z, LARGEST_Z)}.get(kind, (-np.inf, np.inf))
    whitening = _whitening(curvature[np.ix_(others, others)])
    towards = -whitening @ whitening.T @ curvature[others, place]
    left = float(curvature[place, place] + curvature[place, others] @ towards)
    error = np.sqrt(2.0 / left) if left > 0.02 / unit**2 else unit
    estimate = float(optimum[place])
    if kind == "sd" and estimate < floor / 100.0:
        estimate = 0.0
    path = _Path(held, base, whitening, towards, reach, signed)
    curve = path.both_sides(estimate, psi[others], float(error), lowest, highest)
    if kind == "z":  # the ends of the search are not those of a correlation
        curve = replace(curve, lowest=-np.inf, highest=np.inf)
    return curve


def curvature_at(deviance: Callable[[Array], tuple[float, Array]], psi: Array, slope: Array, steps: Array) -> Array:
    """Return the Hessian at psi by differences of the gradient, of which `slope` is the one there."""
    rows = [(deviance(psi + move)[1] - slope) / step for move, step in zip(np.diag(steps), steps, strict=True)]
    found = np.array(rows).reshape(len(psi), len(psi))
    return np.asarray((found + found.T) / 2.0)


def sd_places(shapes: Sequence[TermShape], term: int | None) -> Array:
    """Return the places of a term's sds among all covariance parameters."""
    starts = np.cumsum([0, *(shape.n_coordinates for shape in shapes)])
    return np.arange(shapes[term].n_columns) + starts[term] if term is not None else np.zeros(0, dtype=int)


def _whitening(curvature: Array) -> Array:
    """Return B with B' H B = I, from the Hessian made positive, scale by scale."""
    if len(curvature) == 0:
        return curvature
    units = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-12))
    values, vectors = np.linalg.eigh(curvature * np.outer(units, units))
    return np.asarray(units[:, None] * vectors / np.sqrt(np.maximum(np.abs(values), 1e-3)))


@dataclass(slots=True)
class _Path:
    """The way along a profile.

    Attributes
    ----------
    held
        The deviance with the parameter at a value.
    base
        The deviance at the optimum.
    whitening
        Coordinates of the others, of unit curvature.
    towards
        Where the others go at first, by unit of the value; None where that is not known.
    reach
        How far to follow zeta.
    positive
        Which of the others are positive.
    """

    held: Held
    base: float
    whitening: Array
    towards: Array | None
    reach: float
    positive: NDArray[np.bool_]

    def both_sides(self, estimate: float, nuisance: Array, error: float, lowest: float, highest: float) -> Curve:
        down = self.side(estimate, nuisance, -error, lowest) if estimate > lowest else []
        up = self.side(estimate, nuisance, error, highest)
        slope = float(np.mean([abs(side[0][1] / (side[0][0] - estimate)) for side in (down, up) if side]))
        if not down:
            slope = up[0][2]  # at the boundary nothing is known from the other side
        points = [*reversed(down), (estimate, 0.0, 1.0 / error if np.isnan(slope) else slope), *up]
        values, zeta, slopes = (np.array(column) for column in zip(*points, strict=True))
        unknown = np.isnan(slopes)
        if unknown.any():
            slopes = np.where(unknown, _spline_slopes(values, zeta), slopes)
        elif len(down) and len(up):
            slopes[len(down)] = _middle_slope(values, zeta, slopes, len(down))
        return Curve(values, zeta, slopes, lowest, highest, 0)

    def side(self, estimate: float, nuisance: Array, error: float, end: float) -> list[tuple[float, float, float]]:
        """Return value, zeta and slope of points outwards from the estimate, until zeta is large or the range ends."""
        sign = float(np.sign(error))
        value, zeta, step = estimate, 0.0, STEP * error
        before: tuple[float, Array] | None = None
        points: list[tuple[float, float, float]] = []
        while abs(zeta) < self.reach and len(points) < MAXIMUM_POINTS and value != end:
            new = min(value + step, end) if sign > 0 else max(value + step, end)
            guess = nuisance
            if before is not None:
                guess = nuisance + (nuisance - before[1]) * (new - value) / (value - before[0])
            elif self.towards is not None:
                guess = nuisance + self.towards * (new - value)
            guess = np.where(self.positive & (guess <= 0), nuisance / 2.0, guess)
            found, best, slope = self.optimum(new, guess)
            if found < self.base - HIGHER:
                raise FittingError(
                    f"The profile found a deviance lower than the fit's by {self.base - found:.3g}, so the fit is no "
                    "optimum: fit the model again, with simpler random effects or rescaled columns."
                )
            risen = sign * np.sqrt(max(found - self.base, 0.0))
            if abs(risen) > abs(zeta) + 2.5 * STEP and abs(risen) > self.reach / 2.0:
                step /= 2.0
                if abs(step) > 1e-6 * abs(error):
                    continue
            by_value = slope / (2.0 * risen) if risen != 0 else 0.0
            points.append((new, float(risen), by_value))
            rate = by_value if by_value > 0 else (risen - zeta) / (new - value)
            before, nuisance = (value, nuisance), best
            step = float(STEP * sign / rate) if rate > 0 else 2.0 * step
            step = float(sign * min(abs(step), 3.0 * abs(new - value)))
            value, zeta = float(new), float(risen)
        return points

    def optimum(self, value: float, guess: Array) -> tuple[float, Array, float]:
        """Return the least deviance with the parameter at a value, the others there, and the slope by the parameter."""
        known: dict[bytes, float] = {}
        if len(guess) == 0:
            found, _, slope = self.held(value, guess)
            return found, guess, slope

        def function(x: Array) -> tuple[float, Array]:
            try:
                found, slope, by_value = self.held(value, guess + self.whitening @ x)
            except FittingError:
                return np.inf, np.zeros_like(x)
            known[x.tobytes()] = by_value
            return found, self.whitening.T @ slope

        end = descend(
            function,
            np.zeros(len(guess)),
            tolerance=GAIN,
            longest=lambda direction: 5.0 / max(float(np.linalg.norm(direction)), 1e-300),
        )
        return end.value, guess + self.whitening @ end.x, known.get(end.x.tobytes(), np.nan)


def _spline_slopes(values: Array, zeta: Array) -> Array:
    if len(values) < 3:
        return np.full(len(values), (zeta[-1] - zeta[0]) / (values[-1] - values[0]))
    found = CubicSpline(values, zeta)(values, 1)
    safe = PchipInterpolator(values, zeta)(values, 1)
    return np.where(found > 0, found, safe)


def _middle_slope(values: Array, zeta: Array, slopes: Array, place: int) -> float:
    """Return the slope at the estimate of the quintic through its neighbours with their slopes."""
    x = values[[place - 1, place, place + 1]] - values[place]
    powers = np.arange(5)
    rows = [x[0] ** powers, x[1] ** powers, x[2] ** powers]
    rows += [powers * np.where(powers > 0, end ** np.maximum(powers - 1, 0), 0.0) for end in (x[0], x[2])]
    right = [zeta[place - 1], zeta[place], zeta[place + 1], slopes[place - 1], slopes[place + 1]]
    unit = float(np.max(np.abs(x))) ** powers
    found = np.linalg.solve(np.array(rows) / unit, np.array(right)) / unit
    return float(found[1])
