"""The front door: a formula and data in, a model out, which fits by any method."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayeslmm.arguments import check_sigma, check_zero, find_family
from bayeslmm.building import add_zero_part, build
from bayeslmm.design import check_functions, generalized_identifiability, identifiability
from bayeslmm.errors import (
    BayeslmmError,
    FittingError,
    OptionError,
    UnavailableError,
    checked_path,
    is_word,
    warn_user,
)
from bayeslmm.fitting import run_method, unidentified
from bayeslmm.inference.options import make_options
from bayeslmm.methods import check_options
from bayeslmm.resolving import resolved_with_design
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.tables import WholeFrame, block_table
from bayeslmm.types import (
    Array,
    DeviceWord,
    DrawOptions,
    EstimateOptions,
    EstimatingMethod,
    Handover,
    Method,
    Missing,
    Parametrization,
    Precision,
    Sampler,
    SamplingMethod,
    Solver,
)

if TYPE_CHECKING:
    from arviz import InferenceData

    from bayeslmm.design.checks import Finding
    from bayeslmm.design.design import Design
    from bayeslmm.families import Family
    from bayeslmm.likelihood import Kernel
    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit


class Model:
    """A linear mixed model: a formula applied to data, with priors.

    Parameters
    ----------
    formula
        lme4's notation: ``"Reaction ~ 1 + Days + (1 + Days | Subject)"``.
    data
        A pandas or polars data frame, or a mapping from names to columns. Never changed. Or rows that are read in
        batches and not kept: a Parquet file, folder or pattern, a pyarrow Dataset or Table, a polars LazyFrame, a
        DuckDB relation, a Dask DataFrame, or a function without arguments that yields frames.
    family
        Distribution of the response: its name ("gaussian", "bernoulli", "binomial", "poisson", ...) or an object of
        `bayeslmm.families`, such as ``Poisson(link="log")``.
    link
        Link of the mean to the linear predictor, of those the family has; None for its first.
    priors
        None for the default priors, the name of a preset, or a mapping from parameter names
        (``"Intercept"``, a coefficient's name, ``"sd_g"``, ``"sd_g[effect]"``, ``"cor_g"``, ``"sigma"``) to
        priors.
    weights
        Column or values, one per row: the residual variance of a row is sigma² / weight.
    offset
        Column or values, one per row, added to the mean.
    sigma
        The residual standard deviation where it is known.
    functions
        Functions of your own to use in the formula, by name.
    missing
        "drop" leaves out rows with missing values and counts them; "error" refuses them.
    chunk_rows
        Rows of a batch, at most; given with a data frame, the frame is read in batches, too, and no copy of its columns
        is kept.
    zero
        For the zero-inflated and hurdle families, the formula of the logit of the share of zeros, ``"~ x"`` (glmmTMB's
        ``ziformula``); None for one share of all rows.

    Raises
    ------
    FormulaError, DataError, ModelError, PriorError, OptionError
        If the formula, the data, both together, a prior or an argument cannot be used; the message says what
        was found, where, and what to do.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    >>> round(model.fit("reml").sigma, 2)
    49.51
    """

    def __init__(
        self,
        formula: str,
        data: Any,
        *,
        family: "str | Family" = "gaussian",
        link: str | None = None,
        priors: Any = None,
        weights: Any = None,
        offset: Any = None,
        sigma: float | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        missing: Missing = "drop",
        chunk_rows: int | None = None,
        zero: str | None = None,
    ) -> None:
        self._family = find_family(family, link)
        check_zero(zero, self._family)
        check_sigma(sigma, self._family)
        functions = check_functions(functions)
        self._design: Design = build(
            formula,
            data,
            family=self._family,
            weights=weights,
            offset=offset,
            functions=functions,
            missing=missing,
            chunk_rows=chunk_rows,
        )
        self._spec = ModelSpec(
            formula=formula,
            family="gaussian" if self._family is None else self._family.name,
            link="identity" if self._family is None else self._family.link.name,
            weights=self._design.weights_column,
            offset=self._design.offset_column,
            sigma=None if sigma is None else float(sigma),
            missing=missing,
            priors=dict(priors) if isinstance(priors, Mapping) else priors,
            functions=dict(functions or {}),
            zero=zero,
        )
        if zero is not None:
            self._design, self._family = add_zero_part(
                self._design, zero, data, cast("Family", self._family), functions
            )
        if priors is not None:
            _ = self.resolved_priors  # a prior that cannot be used is refused here, not after a long fit

    # -- what the model is ----------------------------------------------------------------------------------

    @property
    def formula(self) -> str:
        """The formula as given."""
        return self._spec.formula

    @property
    def design(self) -> "Design":
        """The response, the fixed columns and the random terms as arrays."""
        return self._design

    @property
    def spec(self) -> ModelSpec:
        """The arguments of the model."""
        return self._spec

    def _require_normal(self, what: str) -> None:
        if self._family is not None:
            raise UnavailableError(f"{what} is for normal responses; this model's family is {self._family.name!r}.")

    @property
    def family(self) -> "Family | None":
        """The response distribution of a generalized model; None for normal responses."""
        return self._family

    @cached_property
    def findings(self) -> "list[Finding]":
        """What the data cannot identify among the covariance parameters, whatever the response."""
        if self._family is not None:
            return generalized_identifiability(self._design, self._family.name != "bernoulli")
        return identifiability(self._design, sigma_known=self._spec.sigma is not None)

    @cached_property
    def kernel(self) -> "Kernel":
        """The likelihood of the covariance parameters, from the data's cross-products, to be factored."""
        self.products_kernel.check_memory()
        return self.products_kernel

    @cached_property
    def products_kernel(self) -> "Kernel":
        """The likelihood, which need not be factored: its cross-products fit into memory where its factor does not."""
        from bayeslmm.likelihood.kernel import build_kernel

        self._require_normal("The likelihood by cross-products")
        return build_kernel(self._design, factored=False)

    @cached_property
    def resolved_priors(self) -> "ModelPriors":
        """The priors as objects; the first use warns of priors that may not mean what they seem to."""
        resolved = self._design_with_priors[1]
        for sentence in resolved.warnings:
            warn_user(sentence)
        return resolved

    @cached_property
    def posterior_design(self) -> "Design":
        """The design of posteriors: that of the likelihood, with collinear columns that the priors tell apart.

        They are kept where the priors of the columns that likelihoods leave out are proper.
        """
        return self._design_with_priors[0] if self._design.dropped_columns else self._design

    @cached_property
    def _design_with_priors(self) -> "tuple[Design, ModelPriors]":
        return resolved_with_design(self._design, self._spec, self._family)

    @property
    def priors(self) -> pd.DataFrame:
        """The priors as a table: parameter, prior, and where it came from."""
        return WholeFrame(self.resolved_priors.table())

    @property
    def blocks(self) -> pd.DataFrame:
        """The blocks of the likelihood's factorisation, with sizes and densities."""
        self._require_normal("blocks")
        return block_table(self.kernel.blocks)

    def objective(self, theta: ArrayLike, method: Literal["ml", "reml"] = "ml") -> float:
        """Return minus twice the (restricted) log-likelihood, profiled over all but the covariance factors.

        Parameters
        ----------
        theta
            Lower triangles of the relative covariance factors, column by column, terms in formula order.
        method
            "ml" or "reml".
        """
        return float(self.kernel.objective(theta, method, self._spec.sigma))

    def gradient(self, theta: ArrayLike, method: Literal["ml", "reml"] = "ml") -> Array:
        """Return the gradient of :meth:`objective` by theta, shape of theta; `theta` and `method` as there."""
        return np.asarray(self.kernel.gradient(theta, method, self._spec.sigma))

    def __repr__(self) -> str:
        from bayeslmm.results.effects import level_counts
        from bayeslmm.results.summary import describe_counts

        return f"<Model: {self.formula}; {describe_counts(self._design.n, level_counts(self._design), '')}>"

    def _repr_html_(self) -> str:
        """Show the formula, the sizes and the priors in a notebook."""
        from html import escape

        lines = (
            f"<p><code>{escape(self.formula)}</code><br>{escape(repr(self).partition('; ')[2].removesuffix('>'))}</p>"
        )
        try:
            return lines + (self.priors._repr_html_() or "")
        except BayeslmmError as error:  # priors that the data cannot scale are no reason not to be looked at
            return f"{lines}<p>{escape(str(error))}</p>"

    # -- as a PyMC model ------------------------------------------------------------------------------------

    def to_pymc(self, parametrization: Parametrization | None = None) -> Any:
        """Return the model as a ``pymc.Model``, to look at, to extend or to sample.

        Parameters
        ----------
        parametrization
            "marginal" (what None means for a normal response, where the priors of the coefficients are normal or flat):
            only the covariance parameters, coefficients and random effects integrated out by the kernel;
            "noncentered" (what None means for other families): the random effects are standard normals times the
            covariance factor; "centered": they are parameters themselves.

        Raises
        ------
        OptionError
            If it is none of these, or "marginal" and the response is not normal.
        PriorError
            If it is "marginal" and the prior of a coefficient cannot be integrated out.
        """
        from bayeslmm.inference.nuts.sampling import choose_parametrization
        from bayeslmm.pymc_models import build_generalized, build_hierarchical, build_marginal

        if self._family is not None:
            chosen, _ = choose_parametrization(parametrization or "noncentered", self.resolved_priors)
            if chosen == "marginal":
                raise OptionError(
                    f"The effects of the family {self._family.name!r} cannot be integrated out; use 'noncentered' or "
                    "'centered'."
                )
            family = self._family.for_response(self._design.outcome)
            design = self.posterior_design
            return build_generalized(design, family, self.resolved_priors, centered=chosen == "centered")
        priors, sigma = self.resolved_priors, self._spec.sigma
        chosen, _ = choose_parametrization(parametrization, priors)
        if chosen == "marginal":
            return build_marginal(self.kernel, priors, self._design, sigma=sigma)
        return build_hierarchical(self.posterior_design, priors, sigma=sigma, centered=chosen == "centered")

    def graph(self, parametrization: Parametrization = "noncentered") -> Any:
        """Return the PyMC model as a graphviz graph (needs the ``graphviz`` package).

        Parameters
        ----------
        parametrization
            As for :meth:`to_pymc`.
        """
        from bayeslmm.pymc_models import graph

        return graph(self.to_pymc(parametrization))

    # -- fitting --------------------------------------------------------------------------------------------

    @overload
    def fit(self, method: SamplingMethod = "nuts", **options: Unpack[DrawOptions]) -> "PosteriorFit": ...

    @overload
    def fit(self, method: EstimatingMethod, **options: Unpack[EstimateOptions]) -> "PointFit": ...

    def fit(
        self,
        method: Method = "nuts",
        *,
        draws: int = 1000,
        tune: int = 1000,
        chains: int = 4,
        cores: int | None = None,
        seed: int | None = None,
        target_accept: float = 0.8,
        sampler: Sampler = "nutpie",
        parametrization: Parametrization | None = None,
        progressbar: bool | None = None,
        precision: Precision = "float64",
        resume: str | Path | None = None,
        store: Sequence[str] | Literal["summary"] | None = None,
        quantiles: Sequence[float] = (0.025, 0.25, 0.5, 0.75, 0.975),
        full_rank: bool = False,
        iterations: int = 20_000,
        handover: Handover = "nuts",
        n_quad: int = 1,
        solver: Solver = "auto",
        device: DeviceWord = "cpu",
        strict: bool = False,
    ) -> "PointFit | PosteriorFit":
        """Fit the model.

        Parameters
        ----------
        method
            "nuts" samples the posterior; "importance" samples it at once, by importance sampling of the
            covariance parameters, and hands over to NUTS or "hmc" where it must; "hmc" is Hamiltonian Monte Carlo
            for models of many covariance parameters, which needs few gradients; "advi" fits a normal
            approximation; "map" finds the mode of sds, correlations and sigma, and of coefficients
            whose priors are Student t, Cauchy, Laplace or logistic; "reml" and "ml" maximise the
            (restricted) likelihood.
        draws, tune, chains
            Retained draws and warm-up iterations per chain, and number of chains.
        cores
            Chains run at once; the draws do not depend on it.
        seed
            Makes the draws reproducible.
        target_accept
            Acceptance rate the step size is tuned to; raise it when there are divergences.
        sampler
            "nutpie" (nothing to compile under the marginal parametrization), "nutpie-pymc" (the PyMC model,
            compiled, sampled by nutpie) or "pymc".
        parametrization
            "marginal" integrates coefficients and random effects out and draws them exactly afterwards;
            "noncentered" and "centered" sample them. None means "marginal" where the coefficients' priors are
            normal or flat, else "noncentered".
        progressbar
            Show progress; None shows it in a terminal and a notebook.
        precision
            "float32" keeps draws of random effects in half the memory.
        resume
            A folder for finished chains of "nuts": an interrupted run begun with it goes on where it
            stopped, and ends with the draws of an uninterrupted one.
        store
            Names of the random terms whose effects' draws are kept ("nuts", "importance", "hmc"); None keeps all,
            ``()`` none, so that memory does not grow with draws × levels. All other draws are the same. What
            was not kept cannot be asked for: random effects, conditional predictions, residuals. "summary"
            keeps the means, sds and quantiles of all effects, without Monte Carlo error but that of the covariance
            parameters, for ``ranef()``, ``ranef_sd()``, ``ranef_table()`` and ``plot("ranef")``.
        quantiles
            Probabilities of the quantiles kept by ``store="summary"``.
        full_rank, iterations
            Whether the normal approximation of "advi" has a full covariance matrix, and its optimisation steps.
        handover
            What "importance" does where its weights are too uneven: "nuts" samples by NUTS instead, or by "hmc"
            where there are many covariance parameters or points are costly, and warns of what that will take;
            "error" raises; "keep" keeps the weighted draws, whose status says what they are worth.
        n_quad
            How "ml" integrates the random effects of a generalized model: 1 for Laplace's approximation, 9 or 25 points
            of adaptive Gauss-Hermite quadrature with one grouping factor, 0 with coefficients in the inner loop, which
            is fast and rough.
        solver
            How "reml", "ml" and "importance" solve the equations of crossed random effects: "exact" factors them, one
            by one where few of many effects meet; "iterative" uses conjugate gradients and probes, whose error the
            status tells (and ``fit.monte_carlo`` of an estimate); "auto" is iterative where more than 3,000 effects are
            left after the largest term is eliminated and their factor is not sparse.
            NUTS cannot take over from "importance" without a factor.
        device
            Where "importance" evaluates its points and draws the effects of a normal response's crossed terms: "cpu";
            "cuda" for a graphics card, in batches that fit its memory (needs CuPy: ``pip install 'bayeslmm[gpu]'``);
            "auto" for a card where there is one with room and the matrices are large. The draws are the same up to
            rounding; ``fit.info["device"]`` says where they were made.
        strict
            Raise instead of returning a fit whose status says it cannot be trusted.

        Returns
        -------
        PointFit or PosteriorFit

        Raises
        ------
        OptionError
            If the method is unknown, or does not take an option given, or there is no card.
        MissingDependencyError
            If ``device="cuda"`` and CuPy is not installed.
        ModelError
            If the likelihood alone does not identify the parameters ("ml", "reml", or flat priors).
        FittingError
            If the fit cannot be carried out, or is not trustworthy and ``strict`` is true.
        """
        given = {
            "draws": draws,
            "tune": tune,
            "chains": chains,
            "cores": cores,
            "seed": seed,
            "target_accept": target_accept,
            "sampler": sampler,
            "parametrization": parametrization,
            "progressbar": progressbar,
            "precision": precision,
            "resume": resume,
            "store": store,
            "quantiles": quantiles,
            "full_rank": full_rank,
            "iterations": iterations,
            "handover": handover,
            "n_quad": n_quad,
            "solver": solver,
            "device": device,
        }
        check_options(method, given, _fit_defaults())
        fit = cast("PointFit | PosteriorFit", run_method(self, method, make_options(**given)))
        if strict and not fit.status.ok:
            raise FittingError(f"The fit is not trustworthy. {fit.status.message}")
        return fit

    def refit(self, y: Any, method: Literal["reml", "ml"] | None = None) -> "PointFit":
        """Fit the model to another response of the rows used.

        The cross-products of X and Z are summed once, whatever the number of responses; see :meth:`fit_many` for many
        at once.

        Parameters
        ----------
        y
            The response, shape (n,), on the scale of the formula's left side, rows as in ``design.index``; a Series is
            matched to the rows by its labels. Of a family with trials: successes of the same trials, or successes and
            failures, (n, 2).
        method
            "reml" or "ml"; None for "reml" of normal responses and "ml" of others.

        Returns
        -------
        PointFit

        Raises
        ------
        OptionError
            If the method is neither.
        DataError
            If `y` has another length, other labels, or values that are not finite or that the family does not have.
        """
        from bayeslmm.results.refitting import fit_family_response, fit_response

        method = self._likelihood_method(method, "another response")
        if self._family is None:
            return fit_response(self._design, self._spec, self.kernel, method, y)
        return fit_family_response(self._design, self._spec, self._family, y, unidentified(self))

    def _likelihood_method(self, method: Any, purpose: str, others: tuple[str, ...] = ()) -> Literal["reml", "ml"]:
        """Return a method that maximises a likelihood, the usual one of the family where none is given."""
        words = ("reml", "ml") if self._family is None else ("ml",)
        if method is not None and not is_word(method, words):
            listed = [repr(word) for word in (*words, *others)]
            known = " or ".join([", ".join(listed[:-1]), listed[-1]] if listed[1:] else listed)
            raise OptionError(f"method={method!r} is not for {purpose}; use {known}.")
        return cast(Literal["reml", "ml"], words[0] if method is None else method)

    def fit_many(
        self,
        Y: Any,
        method: Literal["reml", "ml", "importance"] | None = None,
        *,
        cores: int | None = None,
        draws: int = 1000,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Fit the model to many responses: voxels, genes, simulated data.

        The cross-products of X and Z are summed once. Searches start from the moments of each response where they are
        compiled, as with a single random term or a few hundred effects, else where that of the model's own response
        ended; a posterior starts at its own mode, and default priors follow the scale of each response.

        Parameters
        ----------
        Y
            A column for each response, shape (n, m), rows as in ``design.index``; a DataFrame is matched to the rows by
            its labels, and its columns name the responses. Of a family with trials they are successes of the same
            trials.
        method
            "reml", "ml" or "importance"; None for "reml" of normal responses and "ml" of others.
        cores
            Worker processes; None means this process.
        draws, seed
            Of "importance": draws of each response's posterior, which give its numbers and are not kept, and their
            seed.

        Returns
        -------
        DataFrame
            A row per response: all parameters by the names of :func:`compare`, ``std_error[...]`` of the coefficients,
            the objective, and the status: "converged", "boundary" or "failed" (then the numbers are NaN). A coefficient
            in which the likelihood of a family has no maximum, as under complete separation, is infinite. Of
            "importance" the posterior means, with ``std_error[...]`` (posterior sds), ``lower[...]`` and ``upper[...]``
            (95%, equal tails) of all parameters, the log evidence, and the status: "ok", "doubtful" or "failed".

        Raises
        ------
        OptionError
            If the method is none of these.
        DataError
            If Y has another shape, other labels, or values that are not finite or that the family does not have; it
            names the column.
        """
        if is_word(method, ("importance",)):
            from bayeslmm.other_responses import ResponseModels, sample_many

            return sample_many(ResponseModels.of(self), Y, draws, seed, cores)
        from bayeslmm.inference.compiling import compilation_told
        from bayeslmm.inference.options import shows_progress
        from bayeslmm.results.many_responses import fit_many

        with compilation_told(shows_progress()):
            return fit_many(self.fit(self._likelihood_method(method, "many responses", ("importance",))), Y, cores)

    def prior_predictive(self, draws: int = 500, *, seed: Any = None) -> "InferenceData":
        """Simulate parameters and responses from the priors.

        Parameters
        ----------
        draws
            Number of simulated data sets.
        seed
            Seed or Generator.

        Returns
        -------
        InferenceData
            Groups prior and prior_predictive, with the names of a posterior.

        Raises
        ------
        OptionError
            If `draws` is not a whole number of at least one.
        PriorError
            If a prior is improper.
        """
        from bayeslmm.inference.options import check_count, generator
        from bayeslmm.priors.predictive import prior_predictive
        from bayeslmm.results.arviz_bridge import inference_data
        from bayeslmm.results.draws_dataset import prior_datasets

        count = check_count("draws", draws, 1, 1_000_000)
        design, family = self.posterior_design, self._family
        simulated = prior_predictive(
            design, self.resolved_priors, draws=count, seed=generator(seed), sigma=self._spec.sigma, family=family
        )
        names = () if family is None else [parameter.name for parameter in family.parameters]
        return inference_data(prior_datasets(design, simulated, names))

    def save_sums(self, path: str | Path) -> Path:
        """Write the cross-products of rows that streamed to a file, from which :func:`merge` makes a model.

        The file holds sums by level and the labels of levels, and no rows. A level of a single row, though, has sums
        that tell the row.

        Parameters
        ----------
        path
            The file, which must not exist.

        Raises
        ------
        OptionError
            If the model was made from a data frame without ``chunk_rows=``.
        StorageError
            If the file cannot be written.
        """
        from bayeslmm.design.streamed import StreamedDesign
        from bayeslmm.streams.storage import write_sums

        if not isinstance(self._design, StreamedDesign):
            raise OptionError("This model keeps its rows, not their sums: build it with chunk_rows= to save sums.")
        return write_sums(self._design.sums, checked_path("path", path))


@cache
def _fit_defaults() -> dict[str, Any]:
    """Return the defaults of :meth:`Model.fit`, by name."""
    return {name: parameter.default for name, parameter in inspect.signature(Model.fit).parameters.items()}
