r"""Automatic differentiation variational inference: a normal distribution fitted to a PyMC model's density.

In the model's unconstrained coordinates v the approximation is :math:`q = N(\mu, L L^\top)`, L diagonal (mean field)
or lower triangular (full rank), and maximises the evidence lower bound
:math:`E_q[\log p(v, y) - \log q(v)] \le \log p(y)`. PyMC takes the stochastic gradient steps; the returned
approximation is the average of the iterates of the second half, which has far less noise than the last one.

Sources: Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), Journal of Machine Learning Research 18(14); for the
averaging, Dhaka, Catalina, Andersen, Magnusson, Huggins and Vehtari (2020), Robust, accurate stochastic optimization
for variational inference, NeurIPS 33.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.nuts.explicit import compiling, one_blas_thread
from bayeslmm.inference.reproducible import ordered_arithmetic
from bayeslmm.types import Array

LEARNING_RATE = 0.02  # of Adam: a coordinate moves by about this much per step
FULL_RANK_RATE = 0.04  # over the root of d: d entries per row of L add up their noise
FIRST_SPREAD = 0.1  # standard deviations to start with; wide starts reach where the gradients have no bounds
NOTICEABLE_RISE = 0.1  # nats: less than this hardly changes the approximation
RISE_ERRORS = 3.0  # standard errors a rise of the bound must exceed to be one
LOST_SPREAD = 10.0  # nats per root of a coordinate: a normal that resembles the density has less than one
NORMAL_QUARTILES = 1.349  # distance between the quartiles of a standard normal


@dataclass(frozen=True, slots=True)
class NormalApproximation:
    """A normal distribution of a model's unconstrained coordinates.

    Attributes
    ----------
    mean
        mu, shape (d,).
    root
        L: shape (d, d), lower triangular, or (d,) where it is diagonal.
    elbo
        One noisy value of the evidence lower bound per iteration, shape (iterations,).
    layout
        Where each variable lies in the vector, as PyMC's bijection tells it.
    """

    mean: Array
    root: Array
    elbo: Array
    layout: Any

    def points(self, normals: Array) -> Array:
        """Return v for standard normals, shape (m, d)."""
        return self.mean + (normals * self.root if self.root.ndim == 1 else normals @ self.root.T)

    def log_density(self, normals: Array) -> Array:
        """Return log q at `points(normals)`, shape (m,)."""
        diagonal = self.root if self.root.ndim == 1 else np.diag(self.root)
        constant = -0.5 * len(self.mean) * np.log(2 * np.pi) - float(np.sum(np.log(np.abs(diagonal))))
        return np.asarray(constant - 0.5 * np.sum(normals**2, axis=1))


def fit_normal(model: Any, *, full_rank: bool, iterations: int, seed: int, progressbar: bool) -> NormalApproximation:
    """Fit a normal distribution to the posterior of a PyMC model.

    Parameters
    ----------
    model
        A ``pymc.Model``.
    full_rank
        Whether the coordinates may be correlated.
    iterations
        Stochastic gradient steps.
    seed
        Seed below 2**32.
    progressbar
        Whether to show progress.

    Raises
    ------
    FittingError
        When the steps lead to values that are not finite.
    KeyboardInterrupt
        When fitting was interrupted.
    """
    import pymc as pm
    from pymc.blocking import DictToArrayBijection

    method = pm.FullRankADVI if full_rank else pm.ADVI
    average = _Average(iterations // 2)
    try:
        with model, compiling(), ordered_arithmetic(), one_blas_thread(), _quiet():
            inference = method(random_seed=seed)
            shared = inference.approx.groups[0].params_dict
            rate = _start_narrow(shared)
            approximation = inference.fit(
                iterations,
                obj_optimizer=pm.adam(learning_rate=rate),
                callbacks=[average],
                progressbar=progressbar,
                compile_kwargs={"mode": "NUMBA"},
            )
    except FloatingPointError as error:
        raise FittingError(
            "ADVI left the region where the posterior is finite. Compare model.priors with the scale of the data, or "
            'use method="importance" or "nuts".'
        ) from error
    if len(approximation.hist) < iterations:
        raise KeyboardInterrupt(f"ADVI was interrupted after {len(approximation.hist)} of {iterations} iterations")
    mean, spread = average.mean
    layout = DictToArrayBijection.map(model.initial_point(seed)).point_map_info
    return NormalApproximation(mean, _root(spread, len(mean)), -np.asarray(approximation.hist), layout)


def _start_narrow(shared: Any) -> float:
    """Set the standard deviations to start with and return the learning rate."""
    size = len(shared["mu"].get_value())
    inverse_softplus = float(np.log(np.expm1(FIRST_SPREAD)))
    if "rho" in shared:
        shared["rho"].set_value(np.full(size, inverse_softplus))
        return LEARNING_RATE
    shared["L_tril"].set_value(inverse_softplus * np.eye(size)[np.tril_indices(size)])
    return min(LEARNING_RATE, FULL_RANK_RATE / float(np.sqrt(size)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out PyMC's line about the average loss: the trace is kept."""
    logger = logging.getLogger("pymc.variational.inference")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


class _Average:
    """The mean of the variational parameters over the iterations after the first `burn`."""

    def __init__(self, burn: int) -> None:
        self.burn = burn
        self.count = 0
        self.mean: list[Array] = []

    def __call__(self, approximation: Any, losses: Any, iteration: int) -> None:
        if iteration <= self.burn:
            return
        shared = approximation.groups[0].params_dict
        values = [shared["mu"].get_value(), shared["rho" if "rho" in shared else "L_tril"].get_value()]
        self.count += 1
        if not self.mean:
            self.mean = [value.astype(float) for value in values]
            return
        for mean, value in zip(self.mean, values, strict=True):
            mean += (value - mean) / self.count


def _root(spread: Array, size: int) -> Array:
    """Return L from PyMC's parameters, whose diagonal is the inverse of the softplus function of L's."""
    if len(spread) == size and size > 1:
        return np.asarray(np.logaddexp(0.0, spread))
    root = np.zeros((size, size))
    root[np.tril_indices(size)] = spread
    diagonal = np.arange(size)
    root[diagonal, diagonal] = np.logaddexp(0.0, root[diagonal, diagonal])
    return root


def bound_is_rising(elbo: Array) -> float:
    """Return by how many nats the evidence lower bound still rises from one quarter of the iterations to the next.

    Parameters
    ----------
    elbo
        Shape (iterations,); values that are not finite are left out.

    Returns
    -------
    float
        The rise from the third to the last quarter, zero unless it is noticeable against its standard error.
    """
    quarters = [part[np.isfinite(part)] for part in np.array_split(elbo, 4)]
    before, after = quarters[2], quarters[3]
    if min(len(before), len(after)) < 2:
        return np.inf
    rise = float(np.mean(after) - np.mean(before))
    error = float(np.hypot(np.std(before) / np.sqrt(len(before)), np.std(after) / np.sqrt(len(after))))
    return rise if rise > max(NOTICEABLE_RISE, RISE_ERRORS * error) else 0.0


def is_lost(log_ratio: Array, dimension: int) -> bool:
    """Return whether log p - log q varies so much, shape (m,), that the optimiser never came near the posterior."""
    finite = log_ratio[np.isfinite(log_ratio)]
    if len(finite) < len(log_ratio) / 2:
        return True
    low, high = np.quantile(finite, [0.25, 0.75])
    return bool((high - low) / NORMAL_QUARTILES > LOST_SPREAD * np.sqrt(dimension))


def evaluate_points(
    model: Any, outputs: dict[str, Any], approximation: NormalApproximation, points: Array
) -> dict[str, Array]:
    """Return the log density and functions of the model's variables at unconstrained points.

    Parameters
    ----------
    model
        The ``pymc.Model``.
    outputs
        Variables of the model by name.
    approximation
        Says where each variable lies in a point.
    points
        Shape (m, d).

    Returns
    -------
    dict
        ``log_density`` with shape (m,), and each output with a first dimension of length m.
    """
    from pymc.blocking import DictToArrayBijection, RaveledVars
    from pymc.pytensorf import compile as compile_function

    targets = model.replace_rvs_by_values(list(outputs.values()))
    with compiling():
        function = compile_function(
            model.value_vars, [model.logp(), *targets], mode="FAST_COMPILE", on_unused_input="ignore"
        )
    found: list[list[Array]] = []
    with np.errstate(all="ignore"), one_blas_thread():
        for point in points:
            values = DictToArrayBijection.rmap(RaveledVars(point, approximation.layout))
            found.append(function(*[values[v.name] for v in model.value_vars]))
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return dict(zip(["log_density", *outputs], columns, strict=True))
