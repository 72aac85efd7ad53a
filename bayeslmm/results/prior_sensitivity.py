"""What a posterior owes to its priors: power-scaling sensitivity, and priors beside posteriors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.checking.sensitivity import SENSITIVE, power_sensitivity
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.errors import OptionError, check_level
from bayeslmm.inference.options import check_count, generator
from bayeslmm.posterior.draw_densities import log_likelihoods, log_priors
from bayeslmm.priors.dispersion_draws import sample_dispersions
from bayeslmm.priors.predictive import prior_parameters
from bayeslmm.results.effects import parameter_names
from bayeslmm.results.posterior_prediction import flatten
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.posterior import PosteriorFit

DRAWS = 1000  # at which the likelihood is evaluated again
FEWEST_DRAWS = 200
WORK = 40_000_000  # in rows of the factor squared, that the likelihood may cost
PRIOR_DRAWS = 10_000  # of the priors beside posteriors
STRONG, CONFLICT = "strong prior or weak data", "prior and data may disagree"


@dataclass(frozen=True, eq=False)
class PriorSensitivity:
    """How far each parameter's posterior moves when the prior or the likelihood is raised to a power near one.

    Attributes
    ----------
    table
        Index parameter; columns prior and likelihood, the sensitivities, and diagnosis: "strong prior or weak data"
        where only the prior's is above 0.05, "prior and data may disagree" where both are, else empty.
    """

    table: pd.DataFrame

    @property
    def message(self) -> str:
        """What there is to say, in a sentence or two; empty where no posterior depends much on its prior."""
        said = []
        for diagnosis, what in (
            (
                STRONG,
                "The prior decides much of the posterior of {}: it is strong, or the data say little.",
            ),
            (
                CONFLICT,
                "Prior and data may disagree about {}, which moves with both: widen the prior unless it is meant so.",
            ),
        ):
            names = list(self.table.index[self.table["diagnosis"] == diagnosis])
            if names:
                said.append(what.format(", ".join(names)))
        return " ".join(said)

    def __str__(self) -> str:
        text = self.table.to_string(float_format=lambda value: f"{value:.3f}")
        return f"{text}\n{self.message or 'No posterior depends much on its prior.'}"

    def __repr__(self) -> str:
        return str(self)


class PriorSensitivityMethods:
    """The dependence of a posterior on its priors."""

    def prior_sensitivity(self, *, draws: int = DRAWS) -> PriorSensitivity:
        """Tell which parameters would move if the priors were a little stronger or weaker.

        All priors together are raised to powers around one, and so is the likelihood (random effects integrated out):
        the draws are weighted again, nothing is fitted. A sensitivity is the change of the posterior's distribution,
        between zero and one, per doubling of the power; above 0.05 it matters.

        Parameters
        ----------
        draws
            How many of the fit's draws are used, at most, evenly spaced; fewer where the likelihood is dear.

        Returns
        -------
        PriorSensitivity
            With ``table`` and ``message``.

        References
        ----------
        Kallioinen, Paananen, Bürkner and Vehtari (2024), Statistics and Computing 34(57).
        """
        return sensitivity(cast("PosteriorFit", self), check_count("draws", draws, 10))


def sensitivity(fit: "PosteriorFit", draws: int) -> PriorSensitivity:
    """Return the sensitivities of a posterior fit; see :meth:`PriorSensitivityMethods.prior_sensitivity`."""
    priors = cast("ModelPriors", fit.priors)
    flat = flatten(fit.draws)
    names, values = parameter_draws(fit)
    generalized = fit.design.outcome is not None
    if not generalized:
        affordable = max(FEWEST_DRAWS, WORK // max(fit.kernel.order**2 + fit.nobs // 8, 1))
        draws = min(draws, affordable)
    total = len(values)
    chosen = np.arange(total) if total <= draws else np.linspace(0, total - 1, draws).astype(int)
    factors = [factor[chosen] for factor in flat.factors]
    prior = log_priors(
        priors, flat.beta[chosen].astype(float), factors, flat.sigma[chosen], _dispersion(fit, chosen)
    ).sum(axis=1)
    by_prior = power_sensitivity(values[chosen], prior)
    by_likelihood = np.full(len(names), np.nan)
    if not generalized:
        sigma = flat.sigma[chosen]
        relative = [factor / sigma[:, None, None] for factor in factors]
        lambdas = [fit.kernel.kernel_factors([factor[d] for factor in relative]) for d in range(len(sigma))]
        stacked = [np.array(of_term) for of_term in zip(*lambdas, strict=True)]
        beta = flat.beta[chosen].astype(float)
        if fit.design.collinearity is not None:
            beta = fit.design.collinearity.reduce(beta)
        likelihood = log_likelihoods(fit.kernel, beta, stacked, sigma)
        by_likelihood = power_sensitivity(values[chosen], likelihood)
    diagnosis = np.where(by_prior < SENSITIVE, "", np.where(by_likelihood < SENSITIVE, STRONG, CONFLICT))
    if generalized:
        diagnosis = np.where(by_prior < SENSITIVE, "", STRONG)
    columns = {"prior": by_prior, "likelihood": by_likelihood, "diagnosis": diagnosis}
    return PriorSensitivity(pd.DataFrame(columns, index=pd.Index(names, name="parameter")))


def parameter_draws(fit: "PosteriorFit") -> tuple[list[str], Array]:
    """Return the names of coefficients, sds, correlations, sigma and dispersions, and their draws, (D, K)."""
    names = parameter_names(fit.design, fit.varcorr())
    parts: list[Any] = [fit.draws.beta, fit.covariance_draws]
    if fit.design.outcome is not None:
        parts.append(fit.dispersion)  # type: ignore[attr-defined]
        names += list(fit.dispersion_table().index)  # type: ignore[attr-defined]
    values = np.concatenate(parts, axis=2).astype(float)
    values = values.reshape(fit.draws.sigma.size, values.shape[2])
    if fit.spec.sigma is not None:
        return names[:-1], values[:, :-1]
    return names, values


def _dispersion(fit: "PosteriorFit", chosen: Any) -> list[tuple[Any, Array]]:
    """Return prior and draws, where the prior is stated, of every dispersion parameter."""
    if fit.design.outcome is None:
        return []
    priors = dict(cast("ModelPriors", fit.priors).dispersion)
    found = []
    beta = fit.draws.beta.reshape(fit.draws.sigma.size, -1)[chosen]
    level = cast("ModelPriors", fit.priors).fixed_centring.level(beta)
    flat = fit.dispersion.reshape(fit.draws.sigma.size, fit.dispersion.shape[2])[chosen]  # type: ignore[attr-defined]
    family = fit.family  # type: ignore[attr-defined]
    flat = flat if family.prior_turn is None else flat @ family.prior_turn.T
    for parameter, here in family.places():
        values = flat[:, here] - (level[:, None] if parameter.holds_level else 0.0)
        found += [(priors[parameter.name], column) for column in values.T]
    return found


@dataclass(frozen=True, eq=False)
class PriorAndPosterior:
    """The prior and the posterior of every parameter, beside each other.

    Attributes
    ----------
    table
        Index parameter; median and equal-tailed limits of prior and posterior, and contraction, one less the squared
        ratio of the posterior interval to the prior's: near one where the data say nearly everything, near zero where
        they say nothing. NaN under improper priors.
    prior, posterior
        The draws, a column per parameter.
    """

    table: pd.DataFrame
    prior: pd.DataFrame
    posterior: pd.DataFrame

    def plot(self, parameters: Any = None) -> "Figure":
        """Draw the densities of prior and posterior, a panel for each parameter.

        Parameters
        ----------
        parameters
            Names of parameters, rows of the table; None draws the first sixteen.

        Raises
        ------
        OptionError
            If a name is unknown.
        """
        from bayeslmm.plots.prior_posterior import prior_posterior_figure
        from bayeslmm.results.profiles import chosen

        names = chosen(parameters, list(self.table.index)) if parameters is not None else list(self.table.index)[:16]
        return prior_posterior_figure(
            {name: (self.prior[name].to_numpy(), self.posterior[name].to_numpy()) for name in names}
        )

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return str(self.table.to_html())


def prior_vs_posterior(fit: "PosteriorFit", *, level: float = 0.95, seed: int | None = 0) -> PriorAndPosterior:
    """Put the prior of every parameter beside its posterior.

    Parameters
    ----------
    fit
        A posterior.
    level
        Probability of the intervals.
    seed
        Of the draws from the priors.

    Returns
    -------
    PriorAndPosterior
        With ``table`` and ``plot()``.

    Raises
    ------
    OptionError
        If the fit is no posterior of normal responses.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), method="importance", seed=1)
    >>> table = blm.prior_vs_posterior(fit).table
    """
    from bayeslmm.results.posterior import PosteriorFit

    check_level(level)
    if not isinstance(fit, PosteriorFit):
        raise OptionError("prior_vs_posterior needs a posterior: fit with method='importance' or 'nuts'.")
    names, values = parameter_draws(fit)
    rng = generator(seed)
    beta, sds, correlations, sigma = prior_parameters(cast("ModelPriors", fit.priors), PRIOR_DRAWS, rng, fit.spec.sigma)
    parts = [beta]
    for sd, correlation in zip(sds, correlations, strict=True):
        parts.append(sd)
        if correlation is not None:
            parts.append(pair_values(correlation))
    if sigma is not None:
        parts.append(sigma[:, None])
    parts += _prior_dispersions(fit, beta, rng)
    prior = pd.DataFrame(np.column_stack(parts), columns=names)
    posterior = pd.DataFrame(values, columns=names)
    ends = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    before, after = np.quantile(prior, ends, axis=0), np.quantile(posterior, ends, axis=0)
    columns = {
        "prior_median": before[1], "prior_lower": before[0], "prior_upper": before[2],
        "median": after[1], "lower": after[0], "upper": after[2],
        "contraction": 1.0 - ((after[2] - after[0]) / (before[2] - before[0])) ** 2,
    }  # fmt: skip
    return PriorAndPosterior(pd.DataFrame(columns, index=pd.Index(names, name="parameter")), prior, posterior)


def _prior_dispersions(fit: "PosteriorFit", beta: Array, rng: np.random.Generator) -> list[Array]:
    """Return draws from the priors of the dispersion parameters, (draws, m), for draws of the coefficients."""
    if fit.design.outcome is None:
        return []
    priors = cast("ModelPriors", fit.priors)
    return [sample_dispersions(priors, cast(Any, fit).family, priors.fixed_centring.level(beta), rng)]
