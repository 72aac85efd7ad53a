"""MixedEffectsForest: a learner for f(X) beside random effects, as a scikit-learn estimator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from bayeslmm.errors import OptionError, UnavailableError, checked_path, is_word
from bayeslmm.forest import reading
from bayeslmm.forest.bart.fitting import fit_bart
from bayeslmm.forest.data.group_information import explained_by_group_means, warn_constant_columns
from bayeslmm.forest.data.identification import check_identified
from bayeslmm.forest.data.inputs import Linear, read_training
from bayeslmm.forest.em.fitting import EMOptions, fit_em
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.gibbs.fitting import fit_gibbs
from bayeslmm.forest.gibbs.options import Outer, SamplingOptions, check_seed
from bayeslmm.forest.learners import Residuals, default_learner, seeded
from bayeslmm.forest.prediction import predict_rows
from bayeslmm.results.diagnostics import diagnose

if TYPE_CHECKING:
    from arviz import InferenceData
    from matplotlib.figure import Figure

Method = Literal["em", "gibbs"]


class MixedEffectsForest(RegressorMixin, BaseEstimator):
    r"""A learner for the population mean beside random effects of groups.

    .. math:: y = f(X) + X_\ell\beta + Zb + e, \qquad b_k \sim N(0, I_{J_k} \otimes \Sigma_k), \qquad
              e \sim N(0, \sigma^2 W^{-1})

    Parameters
    ----------
    random
        Random terms in lme4's grammar, such as ``"(1 + x | g) + (1 | h)"``. Their columns are looked up by
        name in X, or in ``groups``; grouping columns do not reach the learner. None is the learner alone.
    learner
        A scikit-learn regressor or pipeline, cloned and never changed; ``"bart"`` for Bayesian additive
        regression trees sampled together with everything else; None for a random forest.
    method
        ``"em"`` alternates the learner with estimates of the variance components; ``"gibbs"`` with posterior
        draws of them, given f. With ``learner="bart"`` everything is drawn, whichever is given.
    residuals
        Where the residuals y - f(X) come from: ``"crossfit"``, learners that did not see the row's group;
        ``"oob"``, trees that did not see the row; ``"inbag"``, the learner fitted to the row, as MERF does.
    linear
        Columns with an exact linear effect instead of going to the learner: names, or the right side of a
        formula.
    features
        Columns the learner sees; None for all of X but grouping and linear columns. A grouping column named here
        is seen by the learner too.
    max_iterations
        Most sweeps (of each chain).
    tolerance
        The sweeps of ``"em"`` end when variances change relatively less than this; not used with ``"inbag"``.
    early_stopping
        End ``"em"`` when the held-out score has not improved for ``patience`` sweeps, and keep the best sweep;
        None does so wherever f is judged by rows it has not seen: not with "inbag" alone.
    validation_fraction
        Share of rows held out for that score; None scores out-of-sample predictions of f on the rows of the
        fit.
    patience
        See ``early_stopping``.
    n_folds, crossfit_by
        Folds of ``"crossfit"``, and the factor whose levels they keep whole; None for the one with the most
        levels, or the outermost that one is nested in.
    priors
        Priors of the sampled methods, as in :class:`bayeslmm.Model`.
    chains, draws, warmup
        Chains of the sampled methods; draws kept per chain; share of the sweeps left out at the start.
    outer
        ``"bootstrap"`` with ``"gibbs"`` fits f to resampled groups in every sweep, which adds the uncertainty
        of f.
    n_trees
        Number of trees of BART.
    cores
        Chains run at once, in processes of their own; the draws do not depend on it.
    seed
        Seed of everything random, the learner's own seeds included where they are None.

    Attributes
    ----------
    fitted_
        Everything behind predictions and tables.
    learners_
        The fitted learners whose mean is f: one, or one per fold.
    sigma_
        Residual standard deviation.
    history_
        One row per sweep of ``"em"``: gll, loglik (the marginal log-likelihood), held_out_rmse, sigma, sds,
        correlations.
    gll_
        MERF's generalised log-likelihood by sweep: for comparison with merf only.
    n_iter_
        The sweep kept.

    Notes
    -----
    Source: Hajjem, Bellavance and Larocque (2014), Mixed-effects random forest for clustered data, Journal
    of Statistical Computation and Simulation 84, 1313-1328.
    """

    def __init__(
        self,
        random: str | None = None,
        learner: Any = None,
        *,
        method: Method = "em",
        residuals: Residuals = "crossfit",
        linear: Linear | None = None,
        features: Sequence[str] | None = None,
        max_iterations: int = 20,
        tolerance: float = 1e-3,
        early_stopping: bool | None = None,
        validation_fraction: float | None = None,
        patience: int = 3,
        n_folds: int = 5,
        crossfit_by: str | None = None,
        priors: Any = None,
        chains: int = 4,
        draws: int = 1000,
        warmup: float = 0.5,
        outer: Outer | None = None,
        n_trees: int = 200,
        cores: int = 1,
        seed: int | None = None,
    ) -> None:
        self.random = random
        self.learner = learner
        self.method = method
        self.residuals = residuals
        self.linear = linear
        self.features = features
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_folds = n_folds
        self.crossfit_by = crossfit_by
        self.priors = priors
        self.chains = chains
        self.draws = draws
        self.warmup = warmup
        self.outer = outer
        self.n_trees = n_trees
        self.cores = cores
        self.seed = seed

    # -- fitting --------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fit.

        Parameters
        ----------
        X
            Predictors: a frame, or an array where all columns go to the learner.
        y
            Response, shape (n,).
        groups
            Grouping (and slope) columns kept apart from X, with the same index; None if they are in X.
        sample_weight
            Row weights: passed to the learner, and the residual variance of row i is sigma² / w_i.

        Raises
        ------
        DataError
            If the data do not belong together or hold what the learner or the model cannot take.
        OptionError
            If an option is not among the valid ones.
        ModelError
            If the groups say nothing of their variance, as a single group or one for every row, under method="em".
        """
        if isinstance(self.learner, str) and self.learner != "bart":
            raise OptionError(f"learner={self.learner!r} is unknown; use a scikit-learn regressor, 'bart' or None.")
        check_seed(self.seed)
        if self.random is None:
            return self._fit_alone(X, y, sample_weight)
        if not is_word(self.method, get_args(Method)):
            raise OptionError(
                f"method={self.method!r} is unknown; use one of {', '.join(map(repr, get_args(Method)))}."
            )
        if self.outer is not None and self.method == "em" and not isinstance(self.learner, str):
            raise OptionError(f"outer={self.outer!r} is for method='gibbs', which refits f around every draw.")
        linear = "1" if self.linear is None and isinstance(self.learner, str) else self.linear
        training = read_training(X, y, groups, sample_weight, self.random, linear, self.features)
        check_identified(training.design, has_priors=isinstance(self.learner, str) or self.method != "em")
        if isinstance(self.learner, str):
            self.fitted_ = fit_bart(training, self._sampling())
        else:
            warn_constant_columns(training.features, training.design.terms)
            if self.method == "em":
                self.fitted_, self.n_iter_ = fit_em(training, self._em())
            else:
                self.fitted_ = fit_gibbs(training, self._sampling(), self._em())
        self._publish(X)
        return self

    def _publish(self, X: Any) -> None:
        self.n_features_in_ = np.shape(X)[1] if hasattr(X, "shape") else len(X)
        if isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in X.columns):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.learners_ = self.fitted_.learners
        self.sigma_ = self.fitted_.components.sigma
        if self.fitted_.history is not None:
            self.history_ = self.fitted_.history
            self.gll_ = self.fitted_.history["gll"].to_numpy()

    def _em(self) -> EMOptions:
        return EMOptions(
            learner=self.learner,
            residuals=self.residuals,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            early_stopping=self.early_stopping,
            validation_fraction=self.validation_fraction,
            patience=self.patience,
            n_folds=self.n_folds,
            crossfit_by=self.crossfit_by,
            seed=self.seed,
        )

    def _sampling(self) -> SamplingOptions:
        return SamplingOptions(
            sweeps=self.max_iterations,
            chains=self.chains,
            draws=self.draws,
            warmup=self.warmup,
            outer=self.outer,
            priors=self.priors,
            n_trees=self.n_trees,
            cores=self.cores,
            seed=self.seed,
        )

    def _fit_alone(self, X: Any, y: Any, sample_weight: Any) -> Self:
        if isinstance(self.learner, str):
            raise OptionError("learner='bart' needs random terms; for BART alone use stochtree's BARTModel.")
        learner = seeded(default_learner(X) if self.learner is None else clone(self.learner), self.seed)
        keywords: Mapping[str, Any] = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.learners_ = (learner.fit(X, y, **keywords),)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(learner, name):
                setattr(self, name, getattr(learner, name))
        return self

    def __sklearn_tags__(self) -> Tags:
        """Return scikit-learn's tags: those of the learner where it is alone."""
        if self.random is None and self.learner is not None and not isinstance(self.learner, str):
            return get_tags(self.learner)
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.learner is None and self.seed is None
        return tags

    def update_random_effects(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Refresh b with new rows, of known or new groups; f and the variances stay.

        The random effects become their conditional means given the residuals of the rows of the fit and the
        new rows together, so that known groups keep what was learned about them.

        Parameters
        ----------
        X, y, groups, sample_weight
            New rows, as in :meth:`fit`.

        Raises
        ------
        OptionError
            With methods that sample: fit again with the new rows.
        """
        self.fitted_ = reading.with_new_rows(self._fit_result(), X, y, groups, sample_weight)
        return self

    # -- predictions ----------------------------------------------------------------------------------------

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        kind: str = "conditional",
        interval: float | None = None,
        new_levels: str = "population",
        seed: Any = None,
    ) -> Any:
        """Predict the response.

        Parameters
        ----------
        X, groups
            New rows, as in :meth:`fit`.
        kind
            "conditional" adds the effects of each row's groups; "marginal" leaves them out, and needs no
            grouping columns.
        interval
            Probability, such as 0.9: return a frame with prediction, lower and upper limits of a new
            observation.
        new_levels
            What a group that is not in the fit gets: "population", no effect in the prediction; "sample", an effect
            drawn from its distribution; "error", an error. An interval carries the variance between groups with both.
        seed
            Seed of sampled limits.

        Returns
        -------
        Array of shape (m,), or a DataFrame with an interval.
        """
        check_is_fitted(self, "learners_")
        if self.random is None:
            if interval is not None:
                raise OptionError("interval= needs random terms: with random=None this is the learner alone.")
            return self.learners_[0].predict(X)
        return predict_rows(self.fitted_, X, groups, kind=kind, new_levels=new_levels, interval=interval, seed=seed)

    # -- reading --------------------------------------------------------------------------------------------

    def _fit_result(self) -> FittedForest:
        check_is_fitted(self, "learners_")
        if self.random is None:
            raise UnavailableError("There are no random effects: this forest was fitted with random=None.")
        return self.fitted_

    def ranef(self) -> dict[str, pd.DataFrame]:
        """Return b, levels by effects, by term: conditional means, or posterior means."""
        return reading.random_effects(self._fit_result())

    def ranef_sd(self) -> dict[str, pd.DataFrame]:
        """Return the standard deviations of b given f: conditional on the variances, or posterior."""
        return reading.random_effect_sds(self._fit_result())

    def varcorr(self) -> pd.DataFrame:
        """Return variances, standard deviations and correlations.

        Columns group, effect, other_effect, variance, sd, correlation; the residual last.
        """
        return reading.variances(self._fit_result())

    def fixef(self) -> pd.Series:
        """Return the coefficients of the linear part by name; empty without one."""
        return reading.linear_coefficients(self._fit_result())

    def variance_shares(self) -> pd.DataFrame:
        """Return the variance of y by part: f, the linear part, each random term, the residual."""
        return reading.variance_by_part(self._fit_result())

    def explained_by_group_means(self) -> pd.DataFrame:
        """Return how much of b the group means of the learner's columns explain (adjusted R² by effect)."""
        fitted = self._fit_result()
        return explained_by_group_means(fitted.features, fitted.design.terms, fitted.components.effects)

    @property
    def feature_importances_(self) -> pd.Series:
        """The learner's own importances by column, means over its fits; BART's are shares of splits."""
        check_is_fitted(self, "learners_")
        return reading.importances(self.learners_, getattr(self, "fitted_", None))

    def permutation_importance(
        self, X: Any, y: Any, groups: Any = None, *, n_repeats: int = 5, seed: Any = None
    ) -> pd.DataFrame:
        """Return the rise of the root mean squared error when a learner's column is shuffled.

        Of BART f is here the mean of at most 200 draws.

        Parameters
        ----------
        X, y, groups
            Rows to judge on, best ones the fit has not seen.
        n_repeats
            Shuffles per column.
        seed
            Seed or Generator of the shuffles.

        Returns
        -------
        DataFrame by column: mean and sd of the rise over the repeats.
        """
        return reading.permutation(self._fit_result(), X, y, groups, n_repeats, seed)

    def partial_dependence(
        self, feature: str, *, grid: Sequence[Any] | None = None, n_points: int = 20
    ) -> pd.DataFrame:
        """Return the mean of f over the rows of the fit with one column set to each of several values.

        Of BART f is here the mean of at most 200 draws.

        Parameters
        ----------
        feature
            A column the learner sees.
        grid
            The values; None for quantiles of a numeric column, and all values of another.
        n_points
            Number of quantiles.
        """
        return reading.dependence(self._fit_result(), feature, grid, n_points)

    @property
    def idata(self) -> "InferenceData":
        """The draws of a sampled method as arviz InferenceData, named as those of a PosteriorFit."""
        from bayeslmm.results.arviz_bridge import inference_data
        from bayeslmm.results.draws_dataset import datasets

        fitted = self._sampled()
        assert fitted.draws is not None
        return inference_data(datasets(fitted.design, fitted.draws))

    def diagnostics(self) -> pd.DataFrame:
        """Return R-hat and effective sizes of a sampled method's parameters and monitored quantities."""
        labels, draws = reading.monitored(self._sampled())
        found = diagnose(draws)
        return pd.DataFrame(
            {"rhat": found.rhat, "ess_bulk": found.ess_bulk, "ess_tail": found.ess_tail},
            index=pd.Index(labels, name="quantity"),
        )

    def _sampled(self) -> FittedForest:
        fitted = self._fit_result()
        if fitted.draws is None:
            raise UnavailableError("method='em' has no draws; use method='gibbs' or learner='bart'.")
        return fitted

    def plot(self, kind: str = "predicted", *, group: str | None = None) -> "Figure":
        """Draw the fit.

        Parameters
        ----------
        kind
            "convergence" (sweeps of "em", traces of sampled methods), "ranef" (b in order, with two
            conditional standard deviations on either side) or "predicted" (observed against predicted,
            marginal and conditional).
        group
            The random term drawn by "ranef"; None for the first.

        Returns
        -------
        Figure
            A matplotlib figure that belongs to no window.
        """
        from bayeslmm.forest.pictures import draw

        return draw(self._fit_result(), kind, group)

    # -- storage --------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the forest to a new folder; see :func:`bayeslmm.forest.load_forest`.

        LightGBM, XGBoost and BART are written as text or JSON, other learners by skops, with a warning.
        """
        from bayeslmm.forest.store.folder import write_forest

        self._fit_result()
        return write_forest(self, checked_path("folder", folder))
