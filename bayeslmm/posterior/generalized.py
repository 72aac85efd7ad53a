r"""The log posterior of a generalized model's covariance and dispersion parameters, all coefficients integrated out.

In the coordinates :math:`x = (\log\mathrm{sd}, \mathrm{atanh}\,r, \phi)`, r the partial correlations, :math:`\phi` the
dispersion parameters on their working scale,

.. math:: p(x \mid y) \propto \hat p(y \mid x)\,\prod_a h_a(\mathrm{sd}_a)\,\mathrm{sd}_a
          \prod_{i>j}(1 - r_{ij}^2)^{\eta + (S-1-j)/2}\,\prod_k h_k(\phi_k^*)\,|d\phi_k^*/d\phi_k| ,

:math:`\phi^*` on their natural scale and :math:`\hat p` Laplace's approximation of the integral over the random effects
and the coefficients, whose prior is normal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.covariance.coordinates import TermPoint
from bayeslmm.covariance.pairs import pair_places
from bayeslmm.errors import FittingError
from bayeslmm.families import Family, Response
from bayeslmm.families.definition import Transform, to_natural
from bayeslmm.likelihood.columns import factor_to_kernel
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, evaluate, predict_mode
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.posterior.coded_priors import code_of, codes_of_terms, log_prior_of_sds, positive_log_prior
from bayeslmm.posterior.partial_correlations import correlation_exponents, log_complement
from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array

SMALLEST_START = 1e-3  # distance a starting point keeps from zero variances and correlations of one


@dataclass(frozen=True, slots=True)
class DensityPoint:
    """The log density at one point.

    Attributes
    ----------
    log_density
        log p(x, y) by Laplace's approximation, up to the constants of improper priors.
    log_prior
        Its part without the likelihood, Jacobians included.
    evaluation
        The mode of all coefficients there.
    gradient
        By x, (d,); None unless asked for.
    """

    log_density: float
    log_prior: float
    evaluation: Evaluation
    gradient: Array | None


class GeneralizedDensity:
    """The log posterior of covariance and dispersion parameters.

    Parameters
    ----------
    family, response, predictor
        The model.
    terms
        Priors of the random terms, formula order.
    dispersion
        Priors of the dispersion parameters on their natural scale, one per value.
    fixed
        Prior of the coefficients in the kernel's columns.
    """

    def __init__(
        self,
        family: Family,
        response: Response,
        predictor: Predictor,
        terms: Sequence[TermPriors],
        dispersion: Sequence[Prior],
        fixed: NormalPrior,
    ) -> None:
        self.problem = Problem(family, response, predictor, inner=True, prior=fixed)
        self.terms, self.dispersion = tuple(terms), tuple(dispersion)
        self.codes = codes_of_terms(self.terms)
        self.dispersion_codes = [code_of(prior) for prior in self.dispersion]
        self.log_normaliser = sum(
            term.correlation.log_normaliser(len(term.sd)) for term in self.terms if term.correlation is not None
        )

    @property
    def shapes(self) -> tuple[TermShape, ...]:
        """Shapes of the terms."""
        return self.problem.predictor.shapes

    @property
    def n_phi(self) -> int:
        """Number of coordinates of the covariances."""
        return sum(shape.n_coordinates for shape in self.shapes)

    @property
    def dimension(self) -> int:
        """Length of x."""
        return self.n_phi + self.problem.family.n_dispersion

    def working(self, x: Array) -> Array:
        """Return the dispersion parameters on their working scale at x, (..., d)."""
        return x[..., self.n_phi : self.n_phi + self.problem.family.n_dispersion]

    def problem_at(self, x: Array) -> Problem:
        """Return the model with the coefficients' prior at x."""
        return self.problem

    def term_points(self, x: Array) -> list[TermPoint]:
        """Return the terms at x, shape (..., d)."""
        found, start = [], 0
        for shape in self.shapes:
            stop = start + shape.n_coordinates
            found.append(shape.structure.point(x[..., start:stop], shape.n_columns))
            start = stop
        return found

    def user_factors(self, points: Sequence[TermPoint]) -> list[Array]:
        """Return each term's factor on the user's columns, any square root of the covariance, (..., S, S)."""
        return [term.centring.matrix @ point.factor for point, term in zip(points, self.terms, strict=True)]

    def start(self, lambdas: Sequence[Array], working: Array) -> Array:
        """Return x for the kernel's factors and working dispersion values, kept off the boundary."""
        pieces = []
        for factor, term, columns, shape in zip(
            lambdas, self.terms, self.problem.predictor.maps, self.shapes, strict=True
        ):
            of_prior = shape.structure.factor_of_root(term.centring.inverse @ columns.matrix @ factor)
            smallest = min(SMALLEST_START / float(np.mean(columns.scale)), 0.1)
            pieces.append(shape.structure.coordinates(of_prior, smallest))
        return np.concatenate([np.zeros(0), *pieces, working])

    def point(
        self, x: Array, anchor: Evaluation | None = None, *, beta: Array | None = None, gradient: bool = False
    ) -> DensityPoint:
        """Evaluate at x.

        Parameters
        ----------
        x
            Shape (d,).
        anchor
            A known evaluation to start from, moved along its derivative; None starts from zero effects.
        beta
            The kernel's coefficients to start from without an anchor, (p,); None for zeros, at which a link that bounds
            the predictor may have no density.
        gradient
            Whether the gradient is wanted.

        Raises
        ------
        FittingError
            Where there is no mode.
        """
        where, problem = self.place(x), self.problem_at(x)
        effects: Sequence[Array]
        if anchor is None:
            effects = problem.predictor.zeros()
            where = where if beta is None else Point(where.lambdas, where.working, beta)
        else:
            effects, beta = predict_mode(problem, anchor, where)
            where = Point(where.lambdas, where.working, beta)
        found = evaluate(problem, where, effects, integrated=True, gradient=gradient)
        log_prior, by_x = self.log_prior(x)
        value = log_prior - 0.5 * found.value
        if not np.isfinite(value):
            raise FittingError("The log posterior is not finite here.")
        if found.gradient is None:
            return DensityPoint(value, log_prior, found, None)
        return DensityPoint(value, log_prior, found, by_x - 0.5 * self.likelihood_slopes(x, found))

    def likelihood_slopes(self, x: Array, found: Evaluation) -> Array:
        """Return the derivatives by x of an evaluation's objective, (d,)."""
        assert found.gradient is not None
        return np.concatenate([self.pull_back(x, found.gradient.lambdas), found.gradient.working.sum(axis=1)])

    def place(self, x: Array) -> Point:
        """Return the kernel's factors and the working dispersion values at x, coefficients zero."""
        factors = tuple(self._kernel_factors(self.term_points(x)))
        return Point(factors, self.working(x), np.zeros(self.problem.predictor.p))

    def _kernel_factors(self, points: Sequence[TermPoint]) -> list[Array]:
        return [
            columns.scale[:, None] * point.factor
            if self._is_straight(term, columns.centring.means)
            else factor_to_kernel(term.centring.matrix @ point.factor, columns, shape)
            for point, term, columns, shape in zip(
                points, self.terms, self.problem.predictor.maps, self.shapes, strict=True
            )
        ]

    def _is_straight(self, term: TermPriors, means: Array) -> bool:
        """Whether the kernel's columns of a term are those its priors speak of, but for their scale."""
        return np.array_equal(term.centring.means, means)

    def pull_back(self, x: Array, slopes: Sequence[Array]) -> Array:
        """Turn derivatives by the kernel's factors, (S, S) per term, into those by the covariances' coordinates."""
        pieces = [np.zeros(0)]
        points = self.term_points(x)
        for point, slope, term, columns, shape in zip(
            points, slopes, self.terms, self.problem.predictor.maps, self.shapes, strict=True
        ):
            if self._is_straight(term, columns.centring.means):
                by_factor = columns.scale[:, None] * slope
            else:
                turn = columns.inverse @ term.centring.matrix
                by_factor = turn.T @ slope @ shape.structure.rotation(turn @ point.factor).T
            pieces.append(shape.structure.pull_back(by_factor, point))
        return np.concatenate(pieces)

    def log_prior(self, x: Array) -> tuple[float, Array]:
        """Return the log prior of x with its Jacobian, and its derivatives."""
        points, working = self.term_points(x), self.working(x)
        value = -self.log_normaliser
        pieces = [np.zeros(0)]
        for point, term, codes in zip(points, self.terms, self.codes, strict=True):
            added, by_sd, _ = log_prior_of_sds(term, codes, point.ratios, 1.0)
            value += added
            pieces.append(by_sd)
            if term.correlation is not None:
                exponents = correlation_exponents(term)
                r = point.partial[pair_places(len(term.sd))]
                value += float(np.sum(exponents * log_complement(r)))
                pieces.append(-2.0 * exponents * r)
        turn = self.problem.family.prior_turn
        working = working if turn is None else turn @ working
        first = len(pieces)
        for parameter, here in self.problem.family.places():
            if parameter.transform == "log" and parameter.size == 1:
                natural = math.exp(working[here.start])
                added, one = positive_log_prior(self.dispersion[here.start], self.dispersion_codes[here.start], natural)
                slopes = np.array([one])
            else:
                added, slopes = log_dispersion_prior(self.dispersion[here], working[here], parameter.transform)
            value += added
            pieces.append(slopes)
        if turn is not None:
            pieces[first:] = [np.concatenate(pieces[first:]) @ turn]
        return value, np.concatenate(pieces)


def log_dispersion_prior(
    priors: Sequence[Prior], working: Array, transform: Transform, *, jacobian: bool = True
) -> tuple[float, Array]:
    """Return the log prior density of one parameter's working values, and its derivative.

    Without the Jacobian it is that of the natural values, as posterior modes take it.
    """
    natural = to_natural(working, transform)
    value = sum(float(prior.logpdf(v)) for prior, v in zip(priors, natural, strict=True))
    slopes = np.array([float(prior.dlogpdf(v)) for prior, v in zip(priors, natural, strict=True)])
    if transform == "log":
        log_steps, by_steps = working, np.ones(len(working))
        slopes = slopes * natural
    elif transform == "logit":
        spread = natural * (1.0 - natural)
        log_steps, by_steps = np.log(spread), 1.0 - 2.0 * natural
        slopes = slopes * spread
    elif transform == "none":
        log_steps, by_steps = np.zeros(1), np.zeros(len(working))
    else:
        steps = np.concatenate([[1.0], np.exp(working[1:])])
        log_steps, by_steps = working[1:], np.concatenate([[0.0], np.ones(len(working) - 1)])
        slopes = np.cumsum(slopes[::-1])[::-1] * steps
    if not jacobian:
        return value, slopes
    return value + float(np.sum(log_steps)), slopes + by_steps
