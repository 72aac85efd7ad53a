r"""The mode of the random effects, and on request of the coefficients, given the covariance parameters.

Newton's method maximises

.. math:: h(u, \beta) = \sum_i \ell_i(\eta_i) - \tfrac12|u|^2 - \tfrac12(\beta - m)^\top\Pi(\beta - m),
          \qquad \Omega\,\delta = \Lambda^\top Z^\top\ell' - u, \qquad
          \Omega = \Lambda^\top Z^\top W Z\Lambda + I, \quad W = -\mathrm{diag}\,\ell'' .

Each step is one factor of the Gaussian kernel at the working weights W. Where W leaves :math:`\Omega` indefinite (a
density that is not log-concave, far from the mode) the family's expected weights take the place of those that are not
positive. Steps are halved until h rises.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.families import Family, Response
from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.generalized.predictor import Predictor, scale_back, scale_effects
from bayeslmm.likelihood.generalized.solve import solve
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.types import Array

NEGLIGIBLE = 1e-16  # expected gain of h, twice, at which the mode is found: eta is then known to 1e-8 standard errors
RIDGE = 1e-12  # of the total weight, added to directions of the coefficients that have no information left
ROUGH = 1e-8  # in a search whose end is where another one starts
STALLED = 1e-7  # and at which a step that rounding keeps from raising h may stand for the last one
ROUNDING = 1e-14  # relative error of h
SUFFICIENT = 1e-4  # share of the expected gain that a step must bring
MAXIMUM_STEPS = 200
MAXIMUM_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """What does not change between evaluations.

    Attributes
    ----------
    family, response, predictor
        The model.
    inner
        Whether the coefficients are found with the random effects, in the inner loop.
    prior
        Their prior there, in the kernel's columns; None for a flat one.
    negligible
        Expected gain of h, twice, at which its mode is found.
    """

    family: Family
    response: Response
    predictor: Predictor
    inner: bool = False
    prior: NormalPrior | None = None
    negligible: float = NEGLIGIBLE

    @property
    def n_inner(self) -> int:
        """Number of coefficients in the inner loop."""
        return self.predictor.p if self.inner else 0


@dataclass(frozen=True, slots=True)
class Mode:
    r"""The mode, and the factor there.

    Attributes
    ----------
    u
        Spherical random effects, (J, S) per term.
    beta
        The kernel's coefficients, (p,): found, or as given.
    eta
        Linear predictor, (n,).
    rows
        :math:`\ell` less its base and its three derivatives, (4, n).
    value
        h without the bases.
    factor
        The factor of :math:`\Omega`, with X where the coefficients are inner, at the observed weights.
    n_steps
        Newton steps taken.
    """

    u: list[Array]
    beta: Array
    eta: Array
    rows: Array
    value: float
    factor: Factor
    n_steps: int


@dataclass(frozen=True, slots=True)
class _State:
    u: list[Array]
    beta: Array
    eta: Array
    rows: Array
    value: float


def find_mode(problem: Problem, lambdas: Sequence[Array], working: Array, beta: Array, u: Sequence[Array]) -> Mode:
    """Find the mode from a start.

    Parameters
    ----------
    problem
        The model.
    lambdas
        The kernel's factor (S, S) of each term.
    working
        Dispersion parameters, (m,) or (m, n).
    beta
        The kernel's coefficients (p,): a start where they are inner, else their values.
    u
        Start of the random effects, (J, S) per term.

    Raises
    ------
    FittingError
        If there is no density at the start, or the steps do not end.
    """
    state = _state(problem, lambdas, working, beta, [np.array(values) for values in u])
    if not np.isfinite(state.value):
        state = _state(problem, lambdas, working, beta, problem.predictor.zeros())
    if not np.isfinite(state.value):
        raise FittingError(
            f"The response has no density under the family {problem.family.name!r} at the start of the search for the "
            "mode. Check the offset, or use another link."
        )
    state, factor, observed = _first_factor(problem, lambdas, working, state)
    for n_steps in range(MAXIMUM_STEPS):
        if n_steps:
            factor, observed = _step_factor(problem, lambdas, working, state)
        right, right_fixed = score(problem, lambdas, state.u, state.beta, state.rows[1])
        step, step_fixed = solve(factor, right, right_fixed)
        gain = sum(float(np.sum(r * d)) for r, d in zip(right, step, strict=True)) + float(right_fixed @ step_fixed)
        if not np.isfinite(gain):
            raise FittingError("A step of the search for the mode of the random effects is not finite.")
        if gain <= problem.negligible and observed:
            return _mode(state, factor, n_steps)
        moved = _halve(problem, lambdas, working, state, step, step_fixed, gain)
        if moved is None:
            if observed and gain <= STALLED * (1.0 + ROUNDING / STALLED * abs(state.value)):
                return _mode(state, factor, n_steps)
            raise FittingError(
                "No step raises the penalised log-likelihood, though its gradient is not zero: the columns may be "
                "collinear to working precision, or a scale is extreme. Rescale the columns."
            )
        state = moved
    raise FittingError(
        f"The mode of the random effects was not reached in {MAXIMUM_STEPS} Newton steps: coefficients may run to "
        "infinity, as under complete separation. Drop the column that separates, or give its coefficient a prior."
    )


def score(
    problem: Problem, lambdas: Sequence[Array], u: Sequence[Array], beta: Array, slopes: Array
) -> tuple[list[Array], Array]:
    """Return the gradient of h by u, (J, S) per term, and by the inner coefficients."""
    by_level = scale_back(problem.predictor.by_level(slopes), lambdas)
    by_u = [total - values for total, values in zip(by_level, u, strict=True)]
    if not problem.inner:
        return by_u, np.zeros(0)
    by_beta = problem.predictor.X.T @ slopes
    if problem.prior is not None:
        by_beta -= problem.prior.precision @ (beta - problem.prior.mean)
    return by_u, by_beta


def factor_at(problem: Problem, lambdas: Sequence[Array], weights: Array) -> Factor:
    """Factor the scaled cross-products at working weights (n,)."""
    precision = problem.prior.precision if problem.inner and problem.prior is not None else None
    return factorise(problem.predictor.products(weights, fixed=problem.inner, precision=precision), lambdas)


def _state(problem: Problem, lambdas: Sequence[Array], working: Array, beta: Array, u: list[Array]) -> _State:
    eta = problem.predictor.eta(beta, u, lambdas)
    return _evaluate(problem, working, beta, u, eta)


def _evaluate(problem: Problem, working: Array, beta: Array, u: list[Array], eta: Array) -> _State:
    rows = problem.family.derivatives(problem.response, eta, working)
    value = float(np.sum(rows[0])) - 0.5 * sum(float(np.sum(values * values)) for values in u)
    if problem.inner and problem.prior is not None:
        away = beta - problem.prior.mean
        value -= 0.5 * float(away @ problem.prior.precision @ away)
    return _State(u, beta, eta, rows, value if np.isfinite(value) else -np.inf)


def _first_factor(
    problem: Problem, lambdas: Sequence[Array], working: Array, state: _State
) -> tuple[_State, Factor, bool]:
    """Return where the search starts, and `_step_factor` there.

    Effects found at other parameters may lie where counts' weights overflow; without effects there is a factor.
    """
    try:
        return state, *_step_factor(problem, lambdas, working, state)
    except FittingError:
        other = _state(problem, lambdas, working, state.beta, problem.predictor.zeros())
        if not other.value > state.value:
            raise
        return other, *_step_factor(problem, lambdas, working, other)


def _step_factor(problem: Problem, lambdas: Sequence[Array], working: Array, state: _State) -> tuple[Factor, bool]:
    """Return a positive definite factor for a step, and whether it is at the observed weights."""
    observed = -state.rows[2]
    try:
        return factor_at(problem, lambdas, observed), True
    except FittingError:
        if problem.family.log_concave:
            return _ridged(problem, lambdas, observed), True
        expected = problem.family.expected_weights(problem.response, state.eta, working)
        return factor_at(problem, lambdas, np.where(observed > 0, observed, expected)), False


def _ridged(problem: Problem, lambdas: Sequence[Array], weights: Array) -> Factor:
    """Factor where coefficients that run to infinity, as under separation, leave directions without information.

    Their share of the gradient has vanished, too, so that a ridge no larger than rounding ends the search there.

    Raises
    ------
    FittingError
        If something else keeps the matrix from being factored.
    """
    if not problem.inner or problem.prior is not None:
        return factor_at(problem, lambdas, weights)
    ridge = RIDGE * max(float(weights.sum()), np.finfo(float).tiny) * np.eye(problem.predictor.p)
    return factorise(problem.predictor.products(weights, fixed=True, precision=ridge), lambdas)


def _halve(
    problem: Problem,
    lambdas: Sequence[Array],
    working: Array,
    state: _State,
    step: list[Array],
    step_fixed: Array,
    gain: float,
) -> _State | None:
    """Return the first of the whole step, its half, ... that raises h; None if none does."""
    along = problem.predictor.effects(scale_effects(step, lambdas))
    if problem.inner:
        along += problem.predictor.X @ step_fixed
    slack = ROUNDING * (1.0 + abs(state.value))
    share = 1.0
    for _ in range(MAXIMUM_HALVINGS):
        u = [values + share * d for values, d in zip(state.u, step, strict=True)]
        beta = state.beta + share * step_fixed if problem.inner else state.beta
        moved = _evaluate(problem, working, beta, u, state.eta + share * along)
        if moved.value >= state.value + SUFFICIENT * share * gain - slack:
            return moved
        share *= 0.5
    return None


def _mode(state: _State, factor: Factor, n_steps: int) -> Mode:
    return Mode(state.u, state.beta, state.eta, state.rows, state.value, factor, n_steps)
