"""Fits that end in draws from the posterior: NUTS, importance sampling, ADVI."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.covariance import theta_from_factors
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError, counted, is_word
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.options import generator
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.methods import find_method
from bayeslmm.results import effects
from bayeslmm.results.diagnostics import Diagnostics, describe, diagnose
from bayeslmm.results.evidence import MarginalLikelihoodMethods
from bayeslmm.results.fit import Fit, PriorTable, Scale, factored
from bayeslmm.results.kept_effects import kept_frames, require_effects, summary_tables
from bayeslmm.results.point import term_shapes
from bayeslmm.results.posterior_prediction import cholesky, flatten
from bayeslmm.results.posterior_predictions import PosteriorPredictions
from bayeslmm.results.predictive_methods import PredictiveCheckMethods
from bayeslmm.results.prior_sensitivity import PriorSensitivityMethods
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.status import Status, posterior_status
from bayeslmm.results.summary import Summary
from bayeslmm.results.tables import printed
from bayeslmm.results.weighted_draws import diagnose_draws, size_fact, worst_size
from bayeslmm.types import Array, Floats

if TYPE_CHECKING:
    import xarray
    from arviz import InferenceData

Group = Literal["log_likelihood", "posterior_predictive"]

BATCH = 4_000_000  # random-effect draws rescaled at once
SPREAD_AT_ONCE = 1 << 18  # and compared with their means, which stays in the processor's cache


@dataclass(frozen=True, eq=False, repr=False)
class PosteriorFit(
    PosteriorPredictions, MarginalLikelihoodMethods, PriorSensitivityMethods, PredictiveCheckMethods, Fit
):
    """A mixed model as draws from the posterior of all its parameters.

    Attributes
    ----------
    design, spec, method
        The data as arrays, the arguments of the model, and "nuts", "importance", "hmc" or "advi".
    draws
        The draws as plain arrays.
    priors
        The priors the posterior is under.
    notes
        Sentences about what the data do not identify; they make the status doubtful.
    model_kernel
        The likelihood of the model, if it is at hand; see `kernel`.
    """

    design: Design
    spec: ModelSpec
    draws: Draws
    priors: PriorTable | None = None
    notes: tuple[str, ...] = ()
    model_kernel: Kernel | None = field(default=None, kw_only=True)
    _store: dict[str, Any] = field(default_factory=dict, init=False)

    @property
    def method(self) -> str:  # type: ignore[override]
        """How the draws were made: "nuts", "importance", "hmc" or "advi".

        Where importance sampling handed over, that is what ran in its place.
        """
        return self.draws.method

    @property
    def info(self) -> Mapping[str, Any]:
        """Facts about the run: sampler, seed, seconds, messages, ...

        Of importance sampling `effective_size` is that of the weights; `effective_size_worst` is that of
        `worst_parameter`, the sd, correlation, sigma or coefficient that the weighted draws know least.
        """
        return {**self.draws.info, **self._worst_size}

    # -- labelled draws -------------------------------------------------------------------------------------

    @property
    def idata(self) -> "InferenceData":
        """The draws as arviz InferenceData: posterior, sample_stats, observed_data, constant_data.

        Groups made by :meth:`add` are there too. arviz is imported on first use.
        """
        if "idata" not in self._store:
            from bayeslmm.results.arviz_bridge import inference_data

            groups = self.datasets()
            groups |= {name: self._store[name] for name in self.added}
            self._store["idata"] = inference_data(groups)
        return self._store["idata"]

    def datasets(self) -> "dict[str, xarray.Dataset]":
        """Return the groups of :attr:`idata` but those added, ready to be written."""
        from bayeslmm.results.draws_dataset import datasets

        return datasets(self.design, self.draws)

    def add(self, *groups: Group, seed: Any = None) -> "PosteriorFit":
        """Add groups to ``idata`` that take draws × rows of memory, so only when asked for.

        Parameters
        ----------
        *groups
            "log_likelihood", the log density of every row at every draw, for leave-one-out cross-validation;
            "posterior_predictive", one new response per row and draw.
        seed
            Seed or Generator of the new responses.

        Returns
        -------
        PosteriorFit
            This fit.

        Raises
        ------
        OptionError
            If a group is not one of these, or draws of random effects were not kept.
        """
        from bayeslmm.results.arviz_bridge import add_group

        for group in groups:
            if not is_word(group, get_args(Group)):
                valid = " and ".join(map(repr, get_args(Group)))
                raise OptionError(f"There is no group {group!r} to add; the groups are {valid}.")
        require_effects(self.design, self.draws)
        for group in groups:
            rows = self._row_dataset(group, generator(seed))
            self._store[group] = rows
            if "idata" in self._store:
                add_group(self._store["idata"], group, rows)
        return self

    def _row_dataset(self, group: Group, rng: np.random.Generator) -> "xarray.Dataset":
        """Return the log density of every row, or a new response for it, at every draw."""
        from bayeslmm.results.draws_dataset import row_dataset

        return row_dataset(self.design, self.draws, group, rng)

    @property
    def added(self) -> tuple[Group, ...]:
        """Names of the groups :meth:`add` has made."""
        return tuple(name for name in get_args(Group) if name in self._store)

    def rows_of(self, group: Group) -> "xarray.Dataset":
        """Return a group that :meth:`add` has made.

        Raises
        ------
        OptionError
            If it has not.
        """
        if not is_word(group, self.added):
            added = ", ".join(map(repr, self.added)) or "none"
            raise OptionError(f"group={group!r} was not added; the groups added are: {added}. See fit.add().")
        return self._store[group]

    def with_groups(self, groups: Mapping[str, "xarray.Dataset"]) -> "PosteriorFit":
        """Return this fit with groups made before, such as when it was saved.

        Raises
        ------
        OptionError
            If they are no dictionary by name.
        """
        if not isinstance(groups, Mapping) or not all(is_word(name, get_args(Group)) for name in groups):
            valid = " and ".join(map(repr, get_args(Group)))
            raise OptionError(f"groups={groups!r} is no dictionary from {valid} to their data sets.")
        again = replace(self)
        again._store.update(groups)
        return again

    def fingerprint(self) -> dict[str, Any]:
        """Return θ of the mean covariances and the objective there, to be met again on loading."""
        flat = flatten(self.draws)
        sigma = self.sigma
        factors = [cholesky(np.mean(np.einsum("dst,dut->dsu", f, f), axis=0)[None])[0] / sigma for f in flat.factors]
        theta = theta_from_factors(factors, term_shapes(self.design.terms))
        objective = self._objective(theta)
        return {"theta": list(theta), "objective": float(objective), "method": "ml"}

    def _objective(self, theta: Array) -> float:
        """Return minus twice the log-likelihood at theta, by probes where the fit did without a factor."""
        if (n_probes := self.draws.info.get("probes")) is None:
            return self.kernel.objective(theta, "ml", self.spec.sigma)
        from bayeslmm.likelihood.iterative.objective import probed_objective

        return probed_objective(self.products_kernel, theta, "ml", int(n_probes), self.spec.sigma)

    @cached_property
    def products_kernel(self) -> Kernel:
        """The likelihood, whose factor is not asked for."""
        from bayeslmm.likelihood.kernel import build_kernel

        return build_kernel(self.design, factored=False) if self.model_kernel is None else self.model_kernel

    @cached_property
    def kernel(self) -> Kernel:
        """The likelihood: that of the model the fit was made from, else built again from the design.

        Raises
        ------
        UnavailableError
            If the fit did without a factor, and it does not fit into memory.
        """
        if self.model_kernel is None:
            return build_kernel(self.design)
        return factored(self.model_kernel) if "probes" in self.draws.info else self.model_kernel

    # -- effects --------------------------------------------------------------------------------------------

    def fixef(self) -> pd.Series:
        """Return the posterior means of the fixed coefficients by name."""
        return effects.fixed_series(self.design, _mean(self.draws.beta), "mean")

    def vcov(self) -> pd.DataFrame:
        """Return the posterior covariance matrix of the fixed coefficients."""
        index = effects.fixed_index(self.design)
        flat = flatten(self.draws).beta.astype(float)
        centred = flat - flat.mean(axis=0)
        covariance = centred.T @ centred / (len(flat) - 1)
        return pd.DataFrame(covariance, index=index, columns=index.rename(None))

    def ranef(self, scale: Scale = "b") -> dict[str, pd.DataFrame]:
        """Return the posterior means of the random effects, levels by effects, of the terms kept.

        Parameters
        ----------
        scale
            "b" on the scale of the response, or "u", the spherical effects with b = Λu, solved draw by draw.

        Raises
        ------
        OptionError
            If `scale` is neither, or on asking for a term of which no draws were kept.
        """
        if not is_word(scale, ("b", "u")):
            raise OptionError(f"scale={scale!r} is unknown; use 'b' (scale of the response) or 'u' (spherical).")
        if scale == "b":
            means = [kept.mean for kept in self.draws.summaries] or [_mean(b) for b in self.draws.effects]
            return kept_frames(self.design, self.draws, means)
        if self.draws.summaries:
            require_effects(self.design, self.draws)
        flat = flatten(self.draws)
        means = [_mean_spherical(b, factor, flat.sigma) for b, factor in zip(flat.effects, flat.factors, strict=True)]
        return kept_frames(self.design, self.draws, means)

    def ranef_sd(self) -> dict[str, pd.DataFrame]:
        """Return the posterior standard deviations of the random effects."""
        sds = [kept.sd for kept in self.draws.summaries]
        sds = sds or [_sd(b) for b in self.draws.effects]
        return kept_frames(self.design, self.draws, sds)

    @property
    def sigma(self) -> float:
        """Posterior mean of the residual standard deviation."""
        return float(np.mean(self.draws.sigma, dtype=float))

    def varcorr(self) -> pd.DataFrame:
        """Return posterior means of variances, standard deviations and correlations, the residual last."""
        draws = self.draws
        sds = [_mean(sd) for sd in draws.sd]
        variances = [np.mean(np.square(sd, dtype=float), axis=(0, 1)) for sd in draws.sd]
        correlations = [None if cor is None else _mean(cor) for cor in draws.cor]
        residual = (self.sigma, float(np.mean(np.square(draws.sigma, dtype=float))))
        return effects.varcorr_frame(self.design.terms, sds, variances, correlations, residual)

    def coef_table(self, level: float = 0.95) -> pd.DataFrame:
        """Return mean, sd, equal-tailed limits and diagnostics of the fixed coefficients.

        Parameters
        ----------
        level
            Probability between lower and upper.
        """
        return describe(self.draws.beta, effects.fixed_index(self.design), level, self._fixed_diagnostics)

    def covariance_table(self, level: float = 0.95) -> pd.DataFrame:
        """Return the columns of :meth:`coef_table` for standard deviations, correlations and sigma.

        Parameters
        ----------
        level
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            The rows are those of :meth:`varcorr`, by names such as ``"sd_Subject[Days]"``.
        """
        labels = effects.covariance_labels(self.varcorr())
        return describe(self.covariance_draws, labels, level, self._covariance_diagnostics)

    def hypothesis(self, *statements: str, level: float = 0.95) -> pd.DataFrame:
        """Return what the posterior says of statements about the parameters.

        Parameters
        ----------
        *statements
            Such as ``"Days > 0"``, ``"treatment[High] - treatment[Low] = 0"``,
            ``"sd_Subject[Days] / sigma > 0.2"``; the reference level of a factor counts as zero.
        level
            Probability between lower and upper.

        Returns
        -------
        DataFrame
            A row per statement: mean, sd and equal-tailed limits of left side less right side; probability of the
            statement, for ``>`` and ``<``; bayes_factor, for ``=`` in coefficients: the posterior density of the
            hypothesis over its prior density (Savage-Dickey), above one in its favour. NaN unless these priors are
            normal; in generalized models one of them may be any proper prior. There dispersions may be named as well
            (``"shape > 2"``).

        Raises
        ------
        FormulaError
            If a statement cannot be read; the message marks the place.
        """
        from bayeslmm.results.hypothesis import posterior_hypotheses

        return posterior_hypotheses(self, statements, level)

    def ranef_table(self, level: float = 0.95) -> dict[str, pd.DataFrame]:
        """Return the columns of :meth:`coef_table` for every random effect kept, by level and effect.

        Of summaries, kept with ``store="summary"``, there are mean, sd, lower and upper.

        Raises
        ------
        OptionError
            If the quantiles for this level were not kept.
        """
        if self.draws.summaries:
            return summary_tables(self.design, self.draws.summaries, level)
        tables = {}
        for term, b, found in zip(self.design.terms, self.draws.effects, self._effect_diagnostics, strict=True):
            if b.shape[2] == 0:
                continue
            index = pd.MultiIndex.from_product([term.levels, term.effects], names=[term.factor, "effect"])
            tables[term.name] = describe(b.reshape(*b.shape[:2], -1), index, level, found)
        return tables

    def correlation_draws(self) -> dict[str, Floats]:
        """Return the draws of every term's correlation matrix, (chains, draws, S, S), of the terms that have one.

        `idata` holds one number per pair of effects: ``cor_g`` (g_pair).
        """
        return {
            term.name: np.array(cor)
            for term, cor in zip(self.design.terms, self.draws.cor, strict=True)
            if cor is not None
        }

    @cached_property
    def covariance_draws(self) -> Array:
        """Draws of the K rows of :meth:`varcorr`, shape (chains, draws, K)."""
        parts = []
        for sd, cor in zip(self.draws.sd, self.draws.cor, strict=True):
            parts.append(sd)
            if cor is not None:
                parts.append(pair_values(cor))
        return np.concatenate([*parts, self.draws.sigma[:, :, None]], axis=2)

    @cached_property
    def _fixed_diagnostics(self) -> Diagnostics:
        return diagnose_draws(self.draws.beta, self.draws)

    @cached_property
    def _covariance_diagnostics(self) -> Diagnostics:
        found = diagnose_draws(self.covariance_draws, self.draws)
        if self.method != "importance":
            return found
        # draws taken from weighted points repeat them: the weights, not the draws, say what the points are worth
        return found.at_most(self.draws.info.get("effective_size", np.inf))

    @cached_property
    def _worst_size(self) -> dict[str, Any]:
        """The smallest effective size of weighted draws and its parameter, as facts about the run; else none."""
        if self.method != "importance" or "effective_size" not in self.draws.info:
            return {}
        found = (self._fixed_diagnostics, self._covariance_diagnostics)
        return worst_size(effects.parameter_names(self.design, self.varcorr()), *found)

    @cached_property
    def _effect_diagnostics(self) -> list[Diagnostics]:
        return [diagnose(b) for b in self.draws.effects]

    # -- can it be trusted ----------------------------------------------------------------------------------

    @property
    def n_divergences(self) -> int:
        """Number of retained draws that ended in a divergence."""
        return int(np.sum(self.draws.stats.get("diverging", 0)))

    @cached_property
    def status(self) -> Status:  # type: ignore[override]
        """Whether the draws can be trusted: divergences, R-hat, effective draws, what the data do not identify.

        Random effects are checked too where the sampler moved them; drawn exactly given the covariance
        parameters they need no check of their own.
        """
        found = [self._fixed_diagnostics, self._covariance_diagnostics]
        names = effects.parameter_names(self.design, self.varcorr())
        if self._effects_were_sampled:
            found += self._effect_diagnostics
            for term in (t for t, kept in zip(self.design.terms, self.draws.kept, strict=True) if kept):
                names += [f"{term.name}[{level}]: {effect}" for level in term.levels for effect in term.effects]
        columns = ("rhat", "ess_bulk", "ess_tail")
        table = pd.DataFrame({c: np.concatenate([getattr(d, c) for d in found]) for c in columns}, index=names)
        return posterior_status(table, self.draws.stats, self.draws.info, self.notes, self._failures())

    def _failures(self) -> list[str]:
        """Say which draws are not finite, and which parameters never moved."""
        draws = np.concatenate([self.draws.beta, self.covariance_draws], axis=2)
        names = np.array(effects.parameter_names(self.design, self.varcorr()), dtype=object)
        finite = np.isfinite(draws).all(axis=(0, 1))
        stuck = finite & (np.ptp(draws, axis=(0, 1)) == 0)
        if self.spec.sigma is not None:
            stuck[-1] = False
        if self.draws.n_chains * self.draws.n_draws == 1:
            stuck[:] = False
        failures = [f"Some draws of {name} are not finite." for name in names[~finite]]
        failures += [f"All draws of {name} are the same: the sampler did not move." for name in names[stuck]]
        for term, b in zip(self.design.terms, self.draws.effects, strict=True):
            if not np.isfinite(b).all():
                failures.append(f"Some draws of the effects of {term.name} are not finite.")
        return failures

    @property
    def _effects_were_sampled(self) -> bool:
        return self.method == "nuts" and self.draws.info.get("parametrization") != "marginal"

    # -- printing -------------------------------------------------------------------------------------------

    def summary(self, level: float = 0.95) -> Summary:
        """Return the fit as tables that print well in a terminal and a notebook.

        Parameters
        ----------
        level
            Probability between the limits shown.
        """
        fixed = printed(self.coef_table(level), level)
        varcorr = self.varcorr()
        random = printed(self.covariance_table(level), level)
        groups = varcorr["group"].where(varcorr["group"].ne(varcorr["group"].shift()), "")
        random.insert(0, "Parameter", list(random.index))
        random.insert(0, "Group", list(groups))
        facts = [
            *self._facts(),
            ("Draws", self._run()),
            *size_fact(self.draws, self._worst_size),
            *self._correlation_priors(),
        ]
        fixed.index = fixed.index.rename("Coefficient")
        notes = () if self.priors is None else self.priors.warnings
        return Summary(find_method(self.method).title, tuple(facts), random, fixed, self.status, notes)

    def _correlation_priors(self) -> list[tuple[str, str]]:
        """Return the priors of correlations that speak of a place, as in LKJ(1) at Days = 0; one fact or none."""
        if self.priors is None:
            return []
        table = self.priors.table()
        texts = table["prior"][table["parameter"].str.startswith("cor_")]
        stated = [text for text in dict.fromkeys(texts) if " at " in text]
        return [("Correlations", "prior " + ", ".join(stated))] if stated else []

    def _run(self) -> str:
        draws, info = self.draws, self.draws.info
        chains = counted(draws.n_chains, "chain")
        parts = [f"{chains} of {draws.n_draws}"]
        if info.get("tune") is not None:
            parts.append(f"{info['tune']} to tune")
        parts += [f"{key} {info[key]}" for key in ("sampler", "parametrization", "seed") if info.get(key) is not None]
        return ", ".join(parts)


def _mean(draws: NDArray[np.floating]) -> Array:
    return np.mean(draws, axis=(0, 1), dtype=float)


def _sd(draws: NDArray[np.floating]) -> Array:
    """Return the standard deviation over chains and draws (c, m, ...), a few draws at a time."""
    mean, total = _mean(draws), np.zeros(draws.shape[2:])
    step = max(1, SPREAD_AT_ONCE // max(mean.size, 1))
    for chain in draws:
        for start in range(0, len(chain), step):
            apart = chain[start : start + step] - mean
            total += np.einsum("d...,d...->...", apart, apart)
    return np.asarray(np.sqrt(total / (draws.shape[0] * draws.shape[1] - 1)))


def _mean_spherical(b: Array, factors: Array, sigma: Array) -> Array:
    """Return the mean over draws of u = σ L⁻¹ b, b of shape (D, J, S) and LLᵀ = Σ, shape (J, S)."""
    total = np.zeros(b.shape[1:])
    step = max(1, BATCH // max(b[0].size, 1))
    for start in range(0, len(b), step):
        where = slice(start, start + step)
        solved = np.linalg.solve(factors[where], np.swapaxes(b[where], 1, 2).astype(float))
        total += np.einsum("d,dsj->js", sigma[where], solved)
    return total / len(b)
