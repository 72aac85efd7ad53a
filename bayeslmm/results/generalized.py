r"""Fits of generalized models that end in one value of every parameter.

The response has density f(y | η, φ) with linear predictor :math:`\eta = X\beta + Zb + \text{offset}` and
dispersion parameters φ. The words are those of a fit of a normal response; there is no residual standard deviation, and
a mean may be that of a typical group or that over the population of groups, which differ where the link is curved.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from scipy.special import ndtr, ndtri

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.design.design import Design
from bayeslmm.design.zero_part import family_at_rows
from bayeslmm.errors import FittingError, OptionError, UnavailableError, check_level, check_switch, is_word
from bayeslmm.families import Family, Response
from bayeslmm.inference.optimum.generalized.curvature import uncertainty
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.inference.options import generator
from bayeslmm.likelihood import Conditional
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.generalized.mode import factor_at
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.results import effects
from bayeslmm.results.coefficient_tests import GeneralizedErrorsOfFit
from bayeslmm.results.fit import PriorTable
from bayeslmm.results.generalized_limits import predictor_errors
from bayeslmm.results.generalized_simulation import family_of_rows, family_responses
from bayeslmm.results.maximum_message import is_endless, maximum_message
from bayeslmm.results.point import PointFit
from bayeslmm.results.prediction import Estimable, NewLevels, PredictKind, Request, linear_predictor
from bayeslmm.results.residuals import FamilyResidualKind, ResidualEffects, check_residuals, family_residuals
from bayeslmm.results.simulation import Parameters, RandomDraws
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.summary import Summary, describe_family
from bayeslmm.results.tables import number
from bayeslmm.types import Array, Ddf

MeanOf = Literal["mean", "link"]
Effects = Literal["all", "none", "marginal"]

# The words of fits of a normal response, where a marginal mean is one over the population of groups.
KINDS: dict[str, tuple[MeanOf, Effects]] = {
    "conditional": ("mean", "all"),
    "marginal": ("mean", "marginal"),
    "population": ("mean", "marginal"),
}
NODES = 40  # of Gauss-Hermite quadrature over the population: integrates logistic means of sd 3 to 1e-8
OVERDISPERSED = 1.5  # Pearson's chi-square per degree of freedom beyond which counts vary more than their family does
FIXED_VARIANCE = ("poisson", "binomial")  # families whose mean says their variance, and rows of more than one trial


@dataclass(frozen=True, eq=False, repr=False)
class GeneralizedPointFit(PointFit):
    """A generalized mixed model at the maximum of its likelihood.

    Attributes
    ----------
    family
        The response distribution.
    maximum
        What the optimiser returned.
    """

    family: Family = field(kw_only=True)
    maximum: GeneralizedMaximum = field(kw_only=True)

    @property
    def blocks(self) -> pd.DataFrame:
        """Empty: the factorisation changes with the weights of every step."""
        return pd.DataFrame()

    @property
    def outcome(self) -> Response:
        """The response as the family reads it."""
        return self.design.outcome  # type: ignore[no-any-return]

    @property
    def dispersion(self) -> dict[str, float | Array]:
        """The dispersion parameters by name; empty where the family has none."""
        return self.family.natural(self.maximum.dispersion)

    @property
    def sigma(self) -> float:
        """The residual standard deviation, which only normal responses have.

        Raises
        ------
        UnavailableError
            Always.
        """
        raise UnavailableError(
            f"A fit of family {self.family.name!r} has no residual standard deviation sigma; see fit.dispersion."
        )

    @property
    def dof(self) -> int:
        """Number of parameters estimated: coefficients, the entries of θ and dispersions."""
        return self.maximum.dof

    @property
    def hessian(self) -> Array:
        """Of the profiled objective of normal responses only.

        Raises
        ------
        UnavailableError
            Always.
        """
        raise UnavailableError(f"hessian is for normal responses; see fit.vcov() for this {self.family.name} fit.")

    @property
    def smallest_eigenvalue(self) -> float:
        """Of the Hessian of normal responses only.

        Raises
        ------
        UnavailableError
            Always.
        """
        raise UnavailableError(f"smallest_eigenvalue is for normal responses, not for this {self.family.name} fit.")

    @cached_property
    def _errors(self) -> GeneralizedErrorsOfFit:
        return GeneralizedErrorsOfFit(self)

    # -- effects ----------------------------------------------------------------------------------------------

    def varcorr(self) -> pd.DataFrame:
        """Return variances, standard deviations and correlations of the random effects, on the scale of the link."""
        terms = self.design.terms
        pairs = [sds_and_correlations(factor, 1.0) for factor in self._factors]
        sds = [sd for sd, _ in pairs]
        correlations = [c if term.has_correlations else None for term, (_, c) in zip(terms, pairs, strict=True)]
        return effects.varcorr_frame(terms, sds, [sd**2 for sd in sds], correlations, None)

    @cached_property
    def joint_factor(self) -> Factor:
        """The factor of the random effects and the coefficients together at the working weights of the mode."""
        solution, problem = self.maximum.solution, self.maximum.objective.problem
        return factor_at(replace(problem, inner=True), solution.parameters.lambdas, -solution.evaluation.mode.rows[2])

    @cached_property
    def _prediction_covariances(self) -> list[Array]:
        """The covariances of b and the error of the coefficients together at the mode, one (J, S, S) per term."""
        maps, factor = self.maximum.objective.problem.predictor.maps, self.joint_factor
        turns = [m.matrix @ f for m, f in zip(maps, factor.lambdas, strict=True)]
        blocks = inverse_blocks(factor, factor.R_X).blocks
        return [turn @ block @ turn.T for turn, block in zip(turns, blocks, strict=True)]

    def coef_table(
        self, level: float | None = None, *, ddf: Ddf | None = None, exponentiate: bool = False
    ) -> pd.DataFrame:
        """Return estimates, standard errors, z = estimate / std_error and its two-sided normal p value.

        Parameters
        ----------
        level
            Where given, the columns lower and upper join: normal limits of that probability.
        ddf
            "normal", or None for the same; degrees of freedom are for normal responses.
        exponentiate
            Show odds ratios (logit link) or ratios of means (log link): estimate, lower and upper are exponentiated,
            and the standard error is that of the ratio by the delta method; z and p stay those of the coefficient.

        Raises
        ------
        OptionError
            If the link is neither "logit" nor "log" and ratios are asked for, or degrees of freedom are.
        """
        self._errors.find(ddf)
        estimate = np.asarray(self.modes.beta, dtype=float)
        error = np.sqrt(np.diag(self.modes.beta_cov))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = estimate / error
        columns = {"estimate": estimate, "std_error": error, "z": z, "p": 2 * ndtr(-np.abs(z))}
        if level is not None:
            check_level(level)
            half = ndtri(0.5 + level / 2) * error
            columns |= {"lower": estimate - half, "upper": estimate + half}
        table = pd.DataFrame(columns, index=effects.fixed_index(self.design))
        check_switch("exponentiate", exponentiate)
        if not exponentiate:
            return table
        if self.family.link.name not in ("logit", "log"):
            raise OptionError(
                f"exponentiate=True is for the links 'logit' and 'log'; this fit has {self.family.link.name!r}."
            )
        ratio = np.exp(table["estimate"])
        shown = table.assign(estimate=ratio, std_error=ratio * table["std_error"])
        return shown.assign(**{name: np.exp(table[name]) for name in ("lower", "upper") if name in table})

    # -- predictions ------------------------------------------------------------------------------------------

    def predict(  # type: ignore[override]
        self,
        data: Any = None,
        *,
        kind: PredictKind = "mean",
        random: Effects = "all",
        new_levels: NewLevels = "error",
        interval: float | None = None,
        estimable: Estimable | None = None,
        seed: Any = None,
    ) -> pd.Series | pd.DataFrame:
        """Predict the mean of the response.

        Parameters
        ----------
        data
            New rows with the columns of the formula; None means the rows of the fit. A row with a missing value is
            predicted as NaN.
        kind
            "mean" on the scale of the response (a probability for trials, the mean place of an ordered category), or
            "link", the linear predictor; "response" is the mean, without limits.
            "conditional" and "marginal" are the words of fits of a normal response: the
            mean with ``random="all"`` and "marginal".
        random
            "all" adds the estimated effects of each row's groups; "none" is the typical group, whose effects are zero;
            "marginal" is the mean over the population of groups, by quadrature, which for a curved link is not that of
            the typical group.
        new_levels
            What a level unknown to the fit gets: "population" or "sample", no effect of its own; "error", an error.
        interval
            Probability: also return normal limits for the linear predictor, turned to the scale asked for. They carry
            the error of the coefficients and, with ``random="all"``, that of the groups' effects, the covariance
            parameters taken as known; with ``random="marginal"`` they are not available.
        estimable, seed
            As for fits of a normal response.

        Returns
        -------
        Series or DataFrame
            Predictions by row label; with an interval the columns prediction, lower, upper.

        Raises
        ------
        OptionError
            If an option is not among the valid ones.
        DataError
            If the data lack a column, a level is unknown and ``new_levels="error"``, or a mean is not estimable and
            ``estimable="error"``.
        """
        kind, random = KINDS[kind] if is_word(kind, KINDS) else (kind, random)
        if is_word(kind, ("response",)):
            if interval is not None:
                raise OptionError(
                    'Limits of a new response are those of a posterior: fit with method="importance" or "nuts", or use '
                    'kind="mean".'
                )
            kind = "mean"
        for name, value, valid in (("kind", kind, MeanOf), ("random", random, Effects)):
            if not is_word(value, get_args(valid)):
                listed = ", ".join(map(repr, get_args(valid)))
                raise OptionError(f"{name}={value!r} is unknown; use one of {listed}.")
        request = self._request(data, "conditional" if random == "all" else "marginal", new_levels, None, estimable)
        if random == "marginal":
            request = self._with_groups(data, estimable)
        eta = linear_predictor(request, self.modes.beta, self.modes.b)
        spread = self._population_sd(request) if random == "marginal" else None
        family = self.family
        if data is not None and kind != "link":
            family = family_at_rows(family, self.design, data, request.rows.places)
        mean = eta if kind == "link" else self._mean(eta, spread, family)
        limits = None
        if interval is not None:
            check_level(interval, "interval")
            half = ndtri(0.5 + interval / 2) * predictor_errors(self, request, random)
            ends = [eta - half, eta + half]
            low, high = (
                ends
                if kind == "link"
                else sorted((self._mean(end, None, family) for end in ends), key=lambda e: e.sum())
            )
            limits = low, high
        return self._labelled(request, mean, limits, estimable)

    def _with_groups(self, data: Any, estimable: Estimable | None) -> Request:
        """Return the rows with the random terms' columns, whose effects are not asked for."""
        from bayeslmm.design import new_rows
        from bayeslmm.results.prediction import check_options, make_request, training_rows

        check_options("marginal", "error", None, estimable)
        if data is None:
            rows = training_rows(self.design)
        else:
            rows = new_rows(self.design, data, missing="drop", random=True, groups=False)
        return make_request(rows, None, "marginal", "error", None)

    def _population_sd(self, request: Request) -> Array:
        """Return the standard deviation of the random part of each row's linear predictor, (m,)."""
        variance = np.zeros(len(request.rows.X))
        for term, factor in zip(request.rows.terms, self._factors, strict=True):
            variance += np.sum((term.columns @ factor) ** 2, axis=1)
        return np.sqrt(variance)

    def _mean(self, eta: Array, spread: Array | None, family: Family) -> Array:
        """Return the mean at linear predictors, over a normal spread of them if one is given."""
        working = self.maximum.dispersion
        if spread is None:
            return family.mean(eta, working)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        weights = weights / weights.sum()
        return np.sum([w * family.mean(eta + x * spread, working) for x, w in zip(nodes, weights, strict=True)], 0)

    def fitted(self) -> pd.Series:
        """Return the conditional means of the rows used, by row label; of a single trial where there are trials."""
        return self.predict().rename("fitted")  # type: ignore[union-attr]

    def residuals(  # type: ignore[override]
        self, kind: FamilyResidualKind = "raw", *, random: ResidualEffects = "all", seed: Any = 0
    ) -> pd.Series:
        """Return residuals, by row label.

        Parameters
        ----------
        kind
            "raw" (or "response"): observed minus mean, of counts where there are trials; "pearson": that over the
            standard deviation; "deviance": the root of the row's part of the scaled deviance, twice the distance of
            the log density from its highest at these dispersion parameters, with the sign of "raw" (R's gamma models
            leave out the shape: ours are theirs times its root); "quantile": the normal quantile of
            P(Y < y) + u P(Y = y) with u uniform (Dunn and Smyth 1996), standard normal if the model is right and the
            random effects are known.
        random
            "all": about the conditional means; "none": about those of the typical group.
        seed
            Of u.

        Raises
        ------
        OptionError
            If an option is unknown, or the kind is "standardized".
        """
        chosen, effects = check_residuals(kind, random)
        eta = self.maximum.eta if effects == "all" else self.predict(kind="link", random="none").to_numpy()
        values = family_residuals(self.family, self.outcome, eta, self.maximum.dispersion, chosen, seed)
        return pd.Series(values, index=self.design.index, name="residual")

    @cached_property
    def overdispersion(self) -> float:
        """Pearson's chi-square at the conditional means per degree of freedom.

        About one where the family's variance is right; with few counts per row it says little.
        """
        return float(np.sum(self.residuals("pearson") ** 2) / max(self.nobs - self.dof, 1))

    def simulate(self, n: int = 1, data: Any = None, *, random: RandomDraws = "new", seed: Any = None) -> pd.DataFrame:
        """Simulate responses at the estimates.

        Parameters
        ----------
        n
            Number of responses of each row.
        data
            New rows with the columns of the formula; None means the rows of the fit.
        random
            "new" draws the effects of every group anew; "conditional" keeps the estimated ones and draws only those of
            levels unknown to the fit.
        seed
            Seed or Generator.

        Returns
        -------
        DataFrame
            Rows by n responses: successes where there are trials, places of ordered categories counted from zero.

        Raises
        ------
        OptionError
            If an option is not among the valid ones, or responses of several trials are asked for of new rows.
        DataError
            If the data lack a column.
        """
        estimates = Parameters(self.modes.beta, 0.0, tuple(self._factors), tuple(self.modes.b))
        working = self.maximum.dispersion
        draws = lambda _: (estimates for _ in range(n))  # noqa: E731
        respond = family_responses(family_of_rows(self, data), self.outcome, data is None, lambda _: working)
        return self._simulated(n, data, random, generator(seed), draws, respond)

    def refit(self, y: Any) -> "GeneralizedPointFit":
        """Fit the same model to another response, from where this fit ended.

        Parameters
        ----------
        y
            The response of the rows used, shape (n,), as the formula's left side has it: numbers, or categories (their
            places, counted from zero, where the categories are texts). Where there are trials: successes of the same
            trials, (n,), or successes and failures, (n, 2). Series and frames are matched to the rows by their labels.
            :meth:`simulate` makes such responses.

        Returns
        -------
        GeneralizedPointFit

        Raises
        ------
        OptionError
            For the posterior mode, whose priors follow the response: fit a new model.
        DataError
            If `y` has another length, other labels, or values outside the family's support.
        FittingError
            If there is no likelihood to start from.
        """
        from bayeslmm.results.refitting import refit_generalized

        return refit_generalized(self, y)

    # -- printing ---------------------------------------------------------------------------------------------

    def summary(self, level: float = 0.95) -> Summary:
        """Return the fit as tables that print well in a terminal and a notebook."""
        found = super().summary(level)
        title = "Generalized linear mixed model fit by maximum likelihood"
        how = {0: ", coefficients in the inner loop", 1: ", Laplace approximation"}.get(
            self.maximum.n_quad, f", adaptive quadrature of {self.maximum.n_quad} points"
        )
        if self.method == "map":
            title, how = "Generalized linear mixed model at its posterior mode", ", Laplace approximation"
        facts = [*found.facts, *describe_family(self.family, self.outcome)]
        for name, value in self.dispersion.items():
            facts.append((name, ", ".join(number(float(v)) for v in np.atleast_1d(value))))
        return Summary(title + how, tuple(facts), found.random, found.fixed, found.status, found.notes)


def generalized_fit(
    design: Design,
    spec: ModelSpec,
    found: GeneralizedMaximum,
    notes: tuple[str, ...] = (),
    priors: PriorTable | None = None,
) -> GeneralizedPointFit:
    """Wrap the maximum of a generalized likelihood, or, where there are priors, of a posterior."""
    fit = fit_with_message(design, spec, found, maximum_message(design, found, notes), priors)
    if found.family.name in FIXED_VARIANCE and fit.overdispersion > OVERDISPERSED:
        sentence = (
            f"The responses vary more than the {found.family.name} family allows: Pearson's chi-square is "
            f"{fit.overdispersion:.2f} per degree of freedom, and standard errors are too small. Add an effect for "
            "every row, (1 | row), or use a family with a dispersion parameter."
        )
        optimum = replace(fit.optimum, message=f"{fit.optimum.message} {sentence}")
        return replace(fit, optimum=optimum)
    return fit


def fit_with_message(
    design: Design, spec: ModelSpec, found: GeneralizedMaximum, message: str, priors: PriorTable | None = None
) -> GeneralizedPointFit:
    """Wrap the maximum of a generalized likelihood or posterior, with what its status says."""
    optimum = Maximum(
        theta=found.theta,
        objective=-2.0 * found.loglik,
        sigma=float("nan"),
        thetas=np.empty((len(found.values), 0)),
        objectives=np.asarray(found.values, dtype=float),
        gradient_norm=found.gradient_norm,
        code="doubtful" if is_endless(found) and found.status != "failed" else found.status,
        message=message,
    )
    modes = Conditional(found.beta, coefficient_covariance(found), 1.0, found.u, found.b, found.b_cov)
    method = "ml" if priors is None else "map"
    return GeneralizedPointFit(design, spec, method, optimum, modes, priors, family=found.family, maximum=found)


def coefficient_covariance(found: GeneralizedMaximum) -> Array:
    """Return the covariance of the coefficients, (p, p): from the Hessian of the whole, NaN where that fails.

    With the coefficients in the inner loop it is that given the other parameters.
    """
    p = len(found.beta)
    if found.n_quad:
        try:
            return uncertainty(found).beta
        except (FittingError, np.linalg.LinAlgError):
            return np.full((p, p), np.nan)
    mode, fixed = found.solution.evaluation.mode, found.objective.problem.predictor.fixed
    root = fixed.matrix @ solve_triangular(mode.factor.R_X, np.eye(p), lower=True, trans=1)
    return root @ root.T  # type: ignore[no-any-return]
