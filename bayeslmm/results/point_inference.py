"""The methods of point fits that say how far estimates can be trusted: standard errors, tests, intervals, refits."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import pandas as pd

from bayeslmm.errors import OptionError, check_level, is_word
from bayeslmm.results import coefficient_tests
from bayeslmm.types import Ddf

if TYPE_CHECKING:
    from bayeslmm.results.bootstrap import Bootstrap
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.profiles import LikelihoodProfile


class PointInference:
    """What a :class:`PointFit` says of its estimates' errors."""

    @property
    def _fit(self) -> "PointFit":
        return cast("PointFit", self)

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
        return coefficient_tests.coefficient_table(self._fit, level, ddf)

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

        check_level(level)
        if not is_word(method, ("wald", "profile", "bootstrap")):
            raise OptionError(f"method={method!r} is unknown; use 'wald', 'profile' or 'bootstrap'.")
        if method == "wald":
            limits = self.coef_table(level, ddf=ddf)[["lower", "upper"]]
            return limits if parameters is None else limits.loc[chosen(parameters, list(limits.index))]
        if method == "bootstrap":
            wanted = chosen(parameters, parameter_names(self._fit))
            return self.bootstrap(n, seed=seed).confint(level).loc[wanted]
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

        found = profile(self._fit, parameters, level)
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

        found = bootstrap(self._fit, n, seed, statistic, kind, cores, progressbar)
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

        return term_table(self._fit, type, ddf)

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

        return point_hypotheses(self._fit, statements, level, ddf)

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

        return marginal_table(self._fit, ddf)

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

        return random_term_table(self._fit)

    @cached_property
    def _errors(self) -> coefficient_tests.ErrorsOfFit:
        return coefficient_tests.ErrorsOfFit(self._fit)

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

        return refit(self._fit, y)
