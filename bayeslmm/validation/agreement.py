r"""Whether two sets of draws, or draws and exact moments, tell of the same posterior.

Monte Carlo standard errors: of a mean :math:`s/\sqrt{m}`, of a standard deviation
:math:`\sqrt{(\mu_4/s^4 - 1)/(4m)}\,s` with :math:`\mu_4` the fourth central moment, m effective draws
(of x, and of its squared deviations, not of their ranks, which would be too kind to long tails). For weighted points
m is at most the effective size of their weights.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.inference.draws import Draws
from bayeslmm.results.diagnostics import effective_sizes
from bayeslmm.types import Array
from bayeslmm.validation.exact import ExactPosterior
from bayeslmm.validation.quantities import Quantities, all_parameters

LIMIT = 4.0  # Monte Carlo standard errors


@dataclass(frozen=True, slots=True)
class Moments:
    """Means and standard deviations of K parameters with their Monte Carlo standard errors, each (K,)."""

    names: tuple[str, ...]
    mean: Array
    mean_error: Array
    sd: Array
    sd_error: Array


@dataclass(frozen=True, slots=True)
class Agreement:
    """Differences of two sets of moments, in Monte Carlo standard errors.

    Attributes
    ----------
    first, second
        The moments.
    """

    first: Moments
    second: Moments

    @property
    def mean_z(self) -> Array:
        """Differences of means over their standard errors, shape (K,)."""
        error = np.hypot(self.first.mean_error, self.second.mean_error)
        return _ratio(self.first.mean - self.second.mean, error)

    @property
    def sd_z(self) -> Array:
        """Differences of standard deviations over their standard errors, shape (K,)."""
        return _ratio(self.first.sd - self.second.sd, np.hypot(self.first.sd_error, self.second.sd_error))

    @property
    def worst(self) -> float:
        """The largest difference, in standard errors."""
        return float(max(np.abs(self.mean_z).max(), np.abs(self.sd_z).max()))

    def agrees(self, limit: float = LIMIT) -> bool:
        """Return whether no difference exceeds `limit` standard errors."""
        return self.worst <= limit

    def table(self) -> pd.DataFrame:
        """Return a row per parameter."""
        return pd.DataFrame(
            {
                "parameter": self.first.names,
                "mean": self.first.mean,
                "other_mean": self.second.mean,
                "mean_z": self.mean_z,
                "sd": self.first.sd,
                "other_sd": self.second.sd,
                "sd_z": self.sd_z,
            }
        )


def _ratio(difference: Array, error: Array) -> Array:
    """Return differences over errors; zero where a known parameter is the same in both."""
    return np.divide(difference, error, out=np.where(difference == 0, 0.0, np.inf), where=error > 0)


def draws_moments(design: Design, draws: Draws) -> Moments:
    """Return the moments of every parameter with their errors."""
    return moments(all_parameters(design, draws), float(draws.info.get("effective_size", np.inf)))


def moments(found: Quantities, most: float | Array = np.inf) -> Moments:
    """Return the moments of columns of draws with their errors.

    Parameters
    ----------
    found
        The columns.
    most
        Effective draws they cannot exceed, (K,) or one for all: that of importance weights.
    """
    values = found.values
    bound = np.minimum(most, values.shape[0] * values.shape[1])
    mean = values.mean(axis=(0, 1))
    deviations = (values - mean) ** 2
    sd = np.sqrt(deviations.mean(axis=(0, 1)))
    fourth = (deviations**2).mean(axis=(0, 1))
    size = np.fmin(effective_sizes(values), bound)
    size_squares = np.fmin(effective_sizes(deviations), bound)
    kurtosis = fourth / np.where(sd > 0, sd, 1.0) ** 4
    relative = np.sqrt(np.maximum(kurtosis - 1.0, 0.0) / (4.0 * size_squares))
    return Moments(found.names, mean, sd / np.sqrt(size), sd, sd * relative)


def compare_draws(design: Design, first: Draws, second: Draws) -> Agreement:
    """Compare two sets of draws of one posterior.

    Parameters
    ----------
    design
        The design both belong to.
    first, second
        Draws by two methods, or from two seeds.
    """
    return Agreement(draws_moments(design, first), draws_moments(design, second))


def agreement_with_exact(design: Design, draws: Draws, exact: ExactPosterior) -> Agreement:
    """Compare draws with exact moments."""
    moments = draws_moments(design, draws)
    none = np.zeros(len(moments.names))
    return Agreement(moments, Moments(moments.names, exact.mean, none, exact.sd, none))
