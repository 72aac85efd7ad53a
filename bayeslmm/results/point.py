"""Fits that end in one value of every parameter: maximum likelihood, REML and the posterior mode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from bayeslmm.covariance import TermShape, factors_from_theta, sds_and_correlations
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import OptionError, UnavailableError, check_level, is_word
from bayeslmm.inference.optimum.curvature import hessian, smallest_curvature
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.likelihood import Conditional, Kernel
from bayeslmm.likelihood.deferred import DeferredConditional
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.methods import find_method
from bayeslmm.results import coefficient_tests, effects
from bayeslmm.results.criticism import DeletionMethods
from bayeslmm.results.fit import Fit, PriorTable, Scale
from bayeslmm.results.point_predictions import PointPredictions
from bayeslmm.results.predictive_methods import PredictiveCheckMethods
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.status import Status
from bayeslmm.results.summary import Summary
from bayeslmm.results.tables import aligned, block_table, p_value, random_table
from bayeslmm.types import Array, Ddf

if TYPE_CHECKING:
    from bayeslmm.priors import ModelPriors
    from bayeslmm.results.bootstrap import Bootstrap
    from bayeslmm.results.profiles import LikelihoodProfile


@dataclass(frozen=True, eq=False, repr=False)
class PointFit(PointPredictions, PredictiveCheckMethods, DeletionMethods, Fit):
    r"""A mixed model at the optimum of an objective.

    The covariance parameters θ minimise the profiled objective −2 log L (ML) or −2 log L_R (REML); the fixed
    coefficients β and the random effects b are their conditional estimates given θ (Bates, Mächler, Bolker
    and Walker, 2015, J. Stat. Software 67).

    Attributes
    ----------
    design, spec, method
        The data as arrays, the arguments of the model, and "ml", "reml" or "map".
    optimum
        What the optimiser returned.
    modes
        β with its covariance, u and b at the optimum; they may be computed when first asked for.
    priors
        The priors of a posterior mode; None otherwise.
    model_kernel
        The likelihood of the model, if it is at hand; see `kernel`.
    """

    design: Design
    spec: ModelSpec
    method: str
    optimum: Maximum
    modes: Conditional | DeferredConditional
    priors: PriorTable | None = None
    model_kernel: Kernel | None = field(default=None, kw_only=True)

    @property
    def blocks(self) -> pd.DataFrame:
        """The block structure of the factorisation, one row per block."""
        return block_table(self.kernel.blocks)

    @cached_property
    def normal_priors(self) -> "ModelPriors":
        """The priors of a posterior mode as those of the equations of its coefficients.

        Student t, Cauchy and Laplace priors are replaced by normal ones with the same slopes at the mode.
        """
        from bayeslmm.inference.optimum.held_mode import normal_priors

        priors = cast("ModelPriors", self.priors)
        return normal_priors(self.kernel, priors, self.optimum.theta, self.optimum.sigma, self.spec.sigma)

    # -- the objective --------------------------------------------------------------------------------------

    @property
    def objective(self) -> float:
        """Minus twice the (restricted) log-likelihood at the optimum; with the log priors added for a "map" fit."""
        return float(self.optimum.objective)

    @property
    def deviance(self) -> float:
        """The objective, by lme4's name; it is not corrected for the deviance of a null model."""
        return self.objective

    @property
    def loglik(self) -> float:
        """The (restricted) log-likelihood at the optimum."""
        return -self.objective / 2

    @property
    def dof(self) -> int:
        """Number of parameters estimated: p coefficients, the entries of θ, and σ unless it is known."""
        return self.design.p + len(self.optimum.theta) + (self.spec.sigma is None)

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``objective + 2 dof``."""
        return self.objective + 2 * self.dof

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``objective + log(n) dof``; n counts all rows, for REML too, as in lme4."""
        return self.objective + float(np.log(self.nobs)) * self.dof

    @property
    def theta(self) -> Array:
        """θ: lower triangles of the relative covariance factors, column by column, terms in formula order."""
        return np.array(self.optimum.theta, dtype=float)

    @property
    def sigma(self) -> float:
        """The residual standard deviation."""
        return float(self.modes.sigma)

    @property
    def gradient_norm(self) -> float:
        """Length of the gradient of the objective at the end, in coordinates of unit curvature."""
        return float(self.optimum.gradient_norm)

    @cached_property
    def _curvature(self) -> tuple[Array, float]:
        if self.method == "map":
            raise UnavailableError("The Hessian is that of the likelihood: ask a fit by method='ml' or 'reml' for it.")
        found = hessian(self.kernel, self.optimum.theta, self.method, self.spec.sigma)
        return found, smallest_curvature(self.kernel, found)

    @property
    def hessian(self) -> Array:
        """Second derivatives of the objective by θ at the optimum, shape (k, k); computed when first asked for.

        Raises
        ------
        UnavailableError
            For the posterior mode.
        """
        return self._curvature[0].copy()

    @property
    def smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of `hessian`, each entry of θ in units of its column's scale.

        Positive at a strict minimum, on the boundary too, and about zero where the data say nothing of a direction; it
        does not depend on the units of the columns. NaN without random effects. It takes two gradients per entry of θ.

        Raises
        ------
        UnavailableError
            For the posterior mode.
        """
        return self._curvature[1]

    @cached_property
    def _history(self) -> pd.DataFrame:
        thetas = np.asarray(self.optimum.thetas, dtype=float).reshape(len(self.optimum.objectives), -1)
        frame = pd.DataFrame({"objective": np.asarray(self.optimum.objectives, dtype=float)})
        for k in range(thetas.shape[1]):
            frame[f"theta_{k + 1}"] = thetas[:, k]
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="evaluation")
        return frame

    @property
    def history(self) -> pd.DataFrame:
        """Every evaluation of the optimiser: objective, theta_1, theta_2, ..."""
        return self._history.copy()

    @property
    def status(self) -> Status:
        """How the optimiser ended: "converged", "boundary" (a singular covariance matrix) or "failed"."""
        return Status(self.optimum.code, self.optimum.message)  # type: ignore[arg-type]

    # -- effects --------------------------------------------------------------------------------------------

    def fixef(self) -> pd.Series:
        """Return the estimates of the fixed coefficients by name."""
        return effects.fixed_series(self.design, self.modes.beta, "estimate")

    def vcov(self) -> pd.DataFrame:
        """Return the covariance matrix of the estimates of the fixed coefficients."""
        index = effects.fixed_index(self.design)
        return pd.DataFrame(np.array(self.modes.beta_cov), index=index, columns=index.rename(None))

    def ranef(self, scale: Scale = "b") -> dict[str, pd.DataFrame]:
        """Return the conditional modes of the random effects, levels by effects.

        Parameters
        ----------
        scale
            "b" on the scale of the response, or "u", the spherical effects with b = Λu.

        Raises
        ------
        OptionError
            If `scale` is neither.
        """
        return effects.effect_frames(self.design.terms, pick_scale(scale, self.modes.b, self.modes.u))

    def ranef_sd(self, *, coefficients: Literal["known", "estimated"] = "known") -> dict[str, pd.DataFrame]:
        """Return standard deviations of the random effects given θ and σ.

        Parameters
        ----------
        coefficients
            "known": given β too, as lme4 does; "estimated": with the error of β, that of b̂ − b (Henderson 1975). Both
            leave out what the data do not know about θ and σ, so intervals made of them are too short with few groups;
            those of a posterior are not.

        Raises
        ------
        OptionError
            If `coefficients` is neither.
        """
        if not is_word(coefficients, ("known", "estimated")):
            raise OptionError(f"coefficients={coefficients!r} is unknown; use 'known' or 'estimated'.")
        covariances = self.modes.b_cov if coefficients == "known" else self._prediction_covariances
        sds = [np.sqrt(np.diagonal(cov, axis1=1, axis2=2)) for cov in covariances]
        return effects.effect_frames(self.design.terms, sds)

    @cached_property
    def _prediction_covariances(self) -> list[Array]:
        """The covariances of b̂ − b, one (J, S, S) per term."""
        factor = factorise(self.kernel.products, self.kernel.lambdas(self.theta))
        R_X = self._fixed_precision()
        blocks = inverse_blocks(factor, factor.R_X if R_X is None else R_X).blocks
        turns = [m.matrix @ f for m, f in zip(self.kernel.maps, factor.lambdas, strict=True)]
        return [self.sigma**2 * (turn @ c @ turn.T) for turn, c in zip(turns, blocks, strict=True)]

    @cached_property
    def _factors(self) -> list[Array]:
        return factors_from_theta(self.optimum.theta, term_shapes(self.design.terms))

    def varcorr(self) -> pd.DataFrame:
        """Return variances, standard deviations and correlations of the random effects, the residual last."""
        terms = self.design.terms
        pairs = [sds_and_correlations(factor, self.sigma) for factor in self._factors]
        sds = [sd for sd, _ in pairs]
        correlations = [c if term.has_correlations else None for term, (_, c) in zip(terms, pairs, strict=True)]
        residual = (self.sigma, self.sigma**2)
        return effects.varcorr_frame(terms, sds, [sd**2 for sd in sds], correlations, residual)

    def coef_table(self, level: float | None = None, *, ddf: Ddf | None = None) -> pd.DataFrame:
        r"""Return estimates, standard errors, degrees of freedom, t = estimate / std_error and its two-sided p value.

        Parameters
        ----------
        level
            Where given, the columns lower and upper join: limits of that probability.
        ddf
            How the degrees of freedom are found: "satterthwaite" (what None means for REML and ML with random terms),
            "kenward-roger" (REML only; its standard errors allow for the error of θ and σ, too), "residual" (what
            None means without random terms) or "normal" (what None means for the posterior mode, and with more than
            200 rows a coefficient where all df are above 1,000): then the columns are z and p, without df.

        Raises
        ------
        OptionError
            If `level` is no probability, or `ddf` is unknown or not for this fit.
        """
        return coefficient_tests.coefficient_table(self, level, ddf)

    def confint(
        self,
        level: float = 0.95,
        *,
        method: Literal["wald", "profile", "bootstrap"] = "wald",
        parameters: Sequence[str] | str | None = None,
        ddf: Ddf | None = None,
        n: int = 1000,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Return confidence limits, columns lower and upper.

        Parameters
        ----------
        level
            The interval's probability.
        method
            "wald": of the fixed coefficients, estimate and standard error with the degrees of freedom of `ddf`;
            "profile": of all parameters, by the likelihood (ML, as in lme4, for REML fits too), see :meth:`profile`;
            "bootstrap": of all parameters, percentiles of parametric replicates, see :meth:`bootstrap`.
        parameters
            Names of parameters, as in :func:`compare` or as in statements and priors (``"sd_Subject[Days]"``,
            ``"sigma"``); None means all the method has.
        ddf
            As for :meth:`coef_table`.
        n, seed
            Replicates of the bootstrap, and what makes them reproducible.

        Raises
        ------
        OptionError
            If an option is unknown or not for this fit.
        """
        from bayeslmm.results.profiles import chosen, parameter_names

        coefficient_tests.check_level(level)

        if not is_word(method, ("wald", "profile", "bootstrap")):
            raise OptionError(f"method={method!r} is unknown; use 'wald', 'profile' or 'bootstrap'.")
        if method == "wald":
            limits = self.coef_table(level, ddf=ddf)[["lower", "upper"]]
            return limits if parameters is None else limits.loc[chosen(parameters, list(limits.index))]
        if method == "bootstrap":
            wanted = chosen(parameters, parameter_names(self))
            return self.bootstrap(n, seed=seed).confint(level).loc[wanted]
        check_level(level)
        return self.profile(parameters, level=level).confint(level)

    def profile(self, parameters: Sequence[str] | str | None = None, *, level: float = 0.99) -> "LikelihoodProfile":
        """Follow the likelihood as one parameter moves and all others are at their optimum.

        Parameters
        ----------
        parameters
            Names of coefficients, standard deviations, correlations and sigma: ``"Days"``, ``"sd_Subject[Days]"``,
            ``"cor_Subject[Intercept, Days]"``, ``"sigma"``; None means all.
        level
            Largest probability of an interval that the profiles must reach.

        Returns
        -------
        LikelihoodProfile
            With ``table`` (points with zeta), ``confint(level)`` and ``plot()``. Where the lower limit of a standard
            deviation is zero, the likelihood does not exclude it. REML fits are profiled by ML, as in lme4.

        Raises
        ------
        OptionError
            For the posterior mode, a fit that failed, or an unknown parameter.
        FittingError
            If a profile finds a better optimum than the fit.
        """
        from bayeslmm.results.profiles import profile

        found = profile(self, parameters, level)
        if parameters is None:
            self._computed["profile"] = found
        return found

    def bootstrap(
        self,
        n: int = 1000,
        *,
        seed: int | None = None,
        statistic: "Callable[[PointFit], Any] | None" = None,
        kind: Literal["parametric", "groups"] = "parametric",
        cores: int | None = None,
        progressbar: bool | None = None,
    ) -> "Bootstrap":
        """Fit the model to many data sets like this one.

        Parameters
        ----------
        n
            Number of replicates.
        seed
            Makes them reproducible, for any number of cores.
        statistic
            A function of a fit that returns a number, an array or a Series; None means all coefficients, standard
            deviations, correlations and sigma, which is faster.
        kind
            "parametric": responses of new groups are simulated from the fit; "groups": levels of the outermost grouping
            factor are drawn with replacement, which trusts the model less and needs many of them.
        cores
            Worker processes, through joblib, so that its other backends serve as well; None means this process.
        progressbar
            Show progress; None shows it in a terminal.

        Returns
        -------
        Bootstrap
            With ``replicates``, ``table`` (bias and standard error), ``confint(level, kind="percentile" | "bca")`` and
            the numbers of failed and singular refits.

        Raises
        ------
        OptionError
            For the posterior mode, a fit that failed, unknown options, or groups that are crossed or too few.
        FittingError
            If hardly any replicate can be fitted.
        """
        from bayeslmm.results.bootstrap import bootstrap

        found = bootstrap(self, n, seed, statistic, kind, cores, progressbar)
        if statistic is None:
            self._computed["bootstrap"] = found
        return found

    @cached_property
    def _computed(self) -> "dict[str, LikelihoodProfile | Bootstrap]":
        """The last profile and bootstrap of all parameters: summary and pictures show the intervals they have."""
        return {}

    def _computed_limits(self, level: float) -> pd.DataFrame | None:
        """Return limits of all parameters, if a profile that reaches so far or else a bootstrap was computed."""
        check_level(level)
        for found in (self._computed.get("profile"), self._computed.get("bootstrap")):
            if found is not None and level <= getattr(found, "level", 1.0):
                return found.confint(level)
        return None

    def anova(self, type: Literal[1, 2, 3] = 3, *, ddf: Ddf | None = None) -> pd.DataFrame:
        """Test every term of the fixed part by F.

        Parameters
        ----------
        type
            3: the term's coefficients in sum-to-zero coding, whatever the coding of the fit; 2: the term after all that
            do not contain it; 1: the term after those before it in the formula.
        ddf
            As for :meth:`coef_table`.

        Returns
        -------
        DataFrame
            Index term; columns df_num, df_den (infinite for chi-square tests), F and p.

        Raises
        ------
        OptionError
            If an option is unknown or not for this fit, or the data leave cells without rows and ``type=3``.
        """
        from bayeslmm.results.term_tests import term_table

        return term_table(self, type, ddf)

    def hypothesis(self, *statements: str, level: float = 0.95, ddf: Ddf | None = None) -> pd.DataFrame:
        """Test statements about the parameters.

        Parameters
        ----------
        *statements
            Such as ``"Days > 0"``, ``"treatment[High] - treatment[Low] = 0"``, ``"sd_Subject[Days] > 5"``: linear in
            coefficients (the reference level of a factor counts as zero), or one standard deviation, correlation
            (``cor_Subject[Intercept, Days]``) or ``sigma``, which the likelihood ratio tests.
        level
            Probability of the interval.
        ddf
            As for :meth:`coef_table`.

        Returns
        -------
        DataFrame
            A row per statement: estimate of left side less right side, std_error, df, t, p, lower and upper. p is
            two-sided for ``=``; for ``>`` and ``<`` it is that of the opposite, so a small one supports the statement.

        Raises
        ------
        FormulaError
            If a statement cannot be read; the message marks the place.
        OptionError
            If it is not linear, or an option is not for this fit.
        """
        from bayeslmm.results.hypothesis import point_hypotheses

        return point_hypotheses(self, statements, level, ddf)

    def drop1(self, *, ddf: Ddf | None = None) -> pd.DataFrame:
        """Test, by F, every term of the fixed part that could be dropped: those no other term contains.

        Parameters
        ----------
        ddf
            As for :meth:`coef_table`.

        Returns
        -------
        DataFrame
            A row per term, with the columns of :meth:`anova`.
        """
        from bayeslmm.results.term_tests import marginal_table

        return marginal_table(self, ddf)

    def ranova(self) -> pd.DataFrame:
        """Test the random terms by the likelihood: the model without each of their effects is fitted.

        An effect goes with its correlations; a term with one effect goes altogether. The fixed part stays, so
        restricted likelihoods can be compared.

        Returns
        -------
        DataFrame
            Index: what was removed, "(none)" first. Columns dof, loglik, aic, chisq, df, p (chi-square) and p_boundary,
            of the half-half mixture of chi-squares that holds for a variance at the boundary of its range; NaN where
            several variances go at once.

        Raises
        ------
        OptionError
            For the posterior mode, and without random terms.
        """
        from bayeslmm.results.term_tests import random_term_table

        return random_term_table(self)

    @cached_property
    def _errors(self) -> coefficient_tests.ErrorsOfFit:
        return coefficient_tests.ErrorsOfFit(self)

    def refit(self, y: Any) -> "PointFit":
        """Fit the same model to another response.

        The design, the pattern of its cross-products and those of X and Z are used again; only those with y are new.

        Parameters
        ----------
        y
            The response of the rows used, shape (n,), on the scale of the formula's left side; a Series is matched to
            the rows by its labels.

        Returns
        -------
        PointFit
            A fit by the same method.

        Raises
        ------
        OptionError
            For the posterior mode, whose priors follow the scale of the response: fit a new model.
        DataError
            If `y` has another length, other labels, or values that are not finite.
        """
        from bayeslmm.results.refitting import refit

        return refit(self, y)

    # -- printing -------------------------------------------------------------------------------------------

    def summary(self, level: float = 0.95) -> Summary:
        """Return the fit as tables that print well in a terminal and a notebook.

        Parameters
        ----------
        level
            Probability of the intervals of standard deviations that have been computed.
        """
        table = self.coef_table(level)
        normal = "df" not in table
        statistic = "z" if normal else "t"
        fixed = pd.DataFrame(
            {
                "Estimate": aligned(table["estimate"], table["std_error"]),
                "Std. error": aligned(table["std_error"]),
                **({} if normal else {"df": [f"{df:.1f}" for df in table["df"]]}),
                statistic: [f"{value:.2f}" for value in table[statistic]],
                "p": [p_value(p) for p in table["p"]],
            },
            index=table.index.rename("Coefficient"),
        )
        facts = [*self._facts(), (find_method(self.method).criterion, f"{self.objective:.4f}")]
        if self.method != "map":
            criteria = f"AIC {self.aic:.2f}; BIC {self.bic:.2f}; {self.dof} parameters"
            facts.append(("Log-likelihood", f"{self.loglik:.4f}; {criteria}"))
        if not normal:
            facts.append(("Tests", coefficient_tests.DESCRIPTIONS[self._errors.find(None)[1]]))
        random = random_table(self.varcorr())
        limits = self._computed_limits(level)
        if limits is not None:
            sds = effects.covariance_labels(self.varcorr())[self.varcorr()["other_effect"].isna()]
            for place, (name, sign) in enumerate((("lower", -1), ("upper", 1)), start=4):
                random.insert(place, f"{50 + 50 * sign * level:g}%", aligned(limits[name].reindex(sds), digits=4))
        return Summary(find_method(self.method).title, tuple(facts), random, fixed, self.status)


def term_shapes(terms: Sequence[RandomTerm]) -> tuple[TermShape, ...]:
    """Return (J, S, covariance structure) of each term."""
    return tuple(term.shape for term in terms)


def pick_scale(scale: str, b: tuple[Array, ...], u: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the random effects on the scale asked for."""
    if not is_word(scale, ("b", "u")):
        raise OptionError(f"scale={scale!r} is unknown; use 'b' (scale of the response) or 'u' (spherical).")
    return b if scale == "b" else u
