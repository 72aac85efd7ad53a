"""The marginal likelihood of posterior fits, and Bayes factors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bayeslmm.errors import FittingError, OptionError, PriorError

if TYPE_CHECKING:
    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.posterior import PosteriorFit

POINTS = 4096  # of importance sampling where the fit itself was made by another method
LARGEST_ERROR = 0.5  # of a log evidence, beyond which it is refused


class LogEvidence(float):
    """log p(y): a number that knows its Monte Carlo standard error.

    Attributes
    ----------
    error
        The standard error.
    """

    error: float

    def __new__(cls, value: float, error: float) -> "LogEvidence":
        """Return the number with its error."""
        number = super().__new__(cls, value)
        number.error = error
        return number

    def __getnewargs__(self) -> tuple[float, float]:  # type: ignore[override]
        return float(self), self.error

    def __repr__(self) -> str:
        return f"{float(self):.3f} (Monte Carlo error {self.error:.3f})"


class MarginalLikelihoodMethods:
    """The marginal likelihood of a posterior fit."""

    @property
    def log_evidence(self) -> LogEvidence:
        r"""The log marginal likelihood, :math:`\log p(y) = \log\int p(y \mid \psi)p(\psi)\,d\psi`, all constants in.

        It is the mean of the weights of importance sampling, which a fit by another method runs for it once. A number
        with an attribute ``error``, its Monte Carlo standard error.

        Raises
        ------
        PriorError
            If a prior is improper: p(y) is then defined up to a factor that is not known.
        FittingError
            If the weights are too uneven.
        """
        fit = cast("PosteriorFit", self)
        if "log_evidence" not in fit._store:
            fit._store["log_evidence"] = _log_evidence(fit)
        return cast("LogEvidence", fit._store["log_evidence"])


def _log_evidence(fit: "PosteriorFit") -> LogEvidence:
    priors = cast("ModelPriors", fit.priors)
    if priors.improper:
        raise PriorError(
            f"The evidence is not defined: the priors of {', '.join(priors.improper)} are flat. Give them proper "
            "priors, such as the default ones."
        )
    info: Any = fit.draws.info
    if "log_evidence" in info and "log_evidence_error" in info:
        value, error, k_hat = info["log_evidence"], info["log_evidence_error"], info.get("k_hat")
    else:
        value, error, k_hat = _by_importance(fit, priors)
    if not (np.isfinite(value) and error <= LARGEST_ERROR):
        raise FittingError(
            f"The importance weights are too uneven for the evidence: its standard error is {error:.2f}, k-hat "
            f"{k_hat:.2f}. State more informative priors, or compare by loo()."
        )
    return LogEvidence(value, error)


def _by_importance(fit: "PosteriorFit", priors: "ModelPriors") -> tuple[float, float, float]:
    from bayeslmm.inference.importance.points import weighted_points
    from bayeslmm.inference.options import Options
    from bayeslmm.posterior.mixture_density import covariance_density, not_integrable

    if others := not_integrable(priors):
        raise OptionError(
            f"The evidence is found by integrating the coefficients out, which the priors of {', '.join(others)} do "
            "not allow: give them Normal or StudentT priors, or compare by cross_validate()."
        )
    density = covariance_density(fit.kernel, priors, fit.spec.sigma)
    seed = int(fit.draws.info.get("seed") or 0)
    points = weighted_points(density, Options(draws=POINTS, chains=1, seed=seed, store=()))
    return points.log_evidence, points.log_evidence_error, points.smoothed.k_hat


@dataclass(frozen=True, slots=True)
class BayesFactor:
    """How much better one model predicted the response than another, before seeing it.

    Attributes
    ----------
    log
        Logarithm of p(y | first) / p(y | second).
    error
        Its Monte Carlo standard error.
    """

    log: float
    error: float

    @property
    def value(self) -> float:
        """The Bayes factor; infinite where it is beyond double precision."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log))

    @property
    def log10(self) -> float:
        """Its decimal logarithm."""
        return self.log / float(np.log(10.0))

    @property
    def probability(self) -> float:
        """Posterior probability of the first model where both were as probable before."""
        return float(1.0 / (1.0 + np.exp(-np.clip(self.log, -700.0, 700.0))))

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        size = f"{self.value:.4g}" if abs(self.log) < 20 else f"10^{self.log10:.1f}"
        return f"Bayes factor {size} (log {self.log:.2f}, Monte Carlo error {self.error:.2f})"


def bayes_factor(fit1: "PosteriorFit", fit0: "PosteriorFit") -> BayesFactor:
    """Compare two models of one response by their marginal likelihoods.

    Bayes factors depend on the priors of both models, those of standard deviations included, also where the posteriors
    do not; vary them before reading much into one.

    Parameters
    ----------
    fit1, fit0
        Posterior fits to the same rows.

    Returns
    -------
    BayesFactor
        Of the first over the second; ``float()`` gives the ratio itself.

    Raises
    ------
    OptionError
        If a fit is no posterior, or they have different responses or rows.
    PriorError
        If a prior is improper.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> sleep = blm.load_dataset("sleepstudy")
    >>> slopes = blm.lmm("Reaction ~ Days + (Days | Subject)", sleep, method="importance", seed=1)
    >>> means = blm.lmm("Reaction ~ Days + (1 | Subject)", sleep, method="importance", seed=1)
    >>> bool(blm.bayes_factor(slopes, means).log > 10)
    True
    """
    from bayeslmm.results.leave_one_out import check_same_response
    from bayeslmm.results.posterior import PosteriorFit

    for fit in (fit1, fit0):
        if not isinstance(fit, PosteriorFit):
            raise OptionError(
                "bayes_factor needs posteriors: fit both models with method='importance'; anova() compares estimates."
            )
    check_same_response({"the first fit": fit1, "the second": fit0})
    one, zero = fit1.log_evidence, fit0.log_evidence
    return BayesFactor(float(one) - float(zero), float(np.hypot(one.error, zero.error)))
