r"""Fits of generalized models as draws from the posterior of all their parameters."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from bayeslmm.covariance import theta_from_factors
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.design.design import NewRows
from bayeslmm.design.zero_part import zero_columns_at
from bayeslmm.errors import OptionError, UnavailableError, check_switch, is_word
from bayeslmm.families import Family, Response
from bayeslmm.inference.options import check_count, generator
from bayeslmm.results import effects
from bayeslmm.results.diagnostics import Diagnostics, describe
from bayeslmm.results.draws_dataset import values_by_row, with_dispersions
from bayeslmm.results.generalized import KINDS, NODES, Effects, MeanOf
from bayeslmm.results.generalized_simulation import family_of_rows, family_responses
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.results.point import term_shapes
from bayeslmm.results.posterior import Group, PosteriorFit
from bayeslmm.results.prediction import Estimable, NewLevels, PredictKind, make_request, training_rows
from bayeslmm.results.predictions import LARGEST_FRAME
from bayeslmm.results.residuals import FamilyResidualKind, ResidualEffects, check_residuals, family_residuals
from bayeslmm.results.simulation import Parameters, RandomDraws
from bayeslmm.results.summary import Summary, describe_family
from bayeslmm.results.tables import printed
from bayeslmm.results.weighted_draws import diagnose_draws
from bayeslmm.types import Array

if TYPE_CHECKING:
    import xarray

CELLS = 4_000_000  # draws times rows held at once


@dataclass(frozen=True, eq=False, repr=False)
class GeneralizedPosteriorFit(PosteriorFit):
    """A generalized mixed model as draws from the posterior of all its parameters.

    Attributes
    ----------
    family
        The response distribution.
    dispersion
        Draws of the dispersion parameters on their natural scale, shape (chains, draws, m).
    """

    family: Family = field(kw_only=True)
    dispersion: Array = field(kw_only=True)

    @property
    def outcome(self) -> Response:
        """The response as the family reads it."""
        return self.design.outcome  # type: ignore[no-any-return]

    @property
    def sigma(self) -> float:
        """The residual standard deviation, which only normal responses have.

        Raises
        ------
        UnavailableError
            Always.
        """
        raise UnavailableError(
            f"A fit of family {self.family.name!r} has no residual standard deviation sigma; see "
            "fit.dispersion_table()."
        )

    def datasets(self) -> "dict[str, xarray.Dataset]":
        """Return the groups of the draws, ready to be written: dispersion parameters in place of sigma."""
        groups = super().datasets()
        groups["posterior"] = with_dispersions(groups["posterior"], self.dispersion_by_name)
        return groups

    def fingerprint(self) -> dict[str, Any]:
        """Return θ of the mean covariances, and −2 log f(y) at the mean β, b and φ, to be met again on loading."""
        factors = [
            np.linalg.cholesky(np.einsum("dst,dut->su", f, f) / len(f) + 1e-300 * np.eye(f.shape[1]))
            for f in self._factors
        ]
        design, draws = self.design, self.draws
        eta = design.X @ np.mean(draws.beta, axis=(0, 1), dtype=float)
        eta += 0.0 if design.offset is None else design.offset
        for term, b, kept in zip(design.terms, draws.effects, draws.kept, strict=True):
            if kept:
                eta += term.times(np.mean(b, axis=(0, 1), dtype=float))
        value = -2.0 * float(np.sum(self.family.log_density(self.outcome, eta, self._working.mean(axis=0))))
        theta = theta_from_factors(factors, term_shapes(design.terms))
        return {"theta": list(theta), "objective": value, "method": "ml"}

    @property
    def dispersion_by_name(self) -> dict[str, Array]:
        """Draws of the dispersion parameters, (chains, draws), or (chains, draws, m) where one has several values."""
        return self.family.by_name(self.dispersion)

    def _row_dataset(self, group: Group, rng: np.random.Generator) -> "xarray.Dataset":
        """Return the log density of every row, or a new response for it, at every draw; counts where there are trials.

        The density is that given the random effects; :func:`bayeslmm.loo` integrates them out.
        """
        rows = training_rows(self.design)
        every = slice(0, self.design.n)
        eta = self._values(rows, every, self.family, "link", "all", "error", [{} for _ in rows.terms], rng)
        values = np.empty_like(eta)
        for d, (row, working) in enumerate(zip(eta, self._working, strict=True)):
            if group == "log_likelihood":
                values[d] = self.family.log_density(self.outcome, row, working)
            else:
                values[d] = self.family.simulate(self.outcome, row, working, rng)
        return values_by_row(self.design, self.draws, values)

    # -- effects ----------------------------------------------------------------------------------------------

    def varcorr(self) -> pd.DataFrame:
        """Return posterior means of variances, standard deviations and correlations, on the scale of the link."""
        draws = self.draws
        sds = [np.mean(sd, axis=(0, 1)) for sd in draws.sd]
        variances = [np.mean(np.square(sd), axis=(0, 1)) for sd in draws.sd]
        correlations = [None if cor is None else np.mean(cor, axis=(0, 1)) for cor in draws.cor]
        return effects.varcorr_frame(self.design.terms, sds, variances, correlations, None)

    @cached_property
    def covariance_draws(self) -> Array:
        """Draws of the K rows of :meth:`varcorr`, shape (chains, draws, K)."""
        parts: list[Any] = [np.empty((self.draws.n_chains, self.draws.n_draws, 0))]
        for sd, cor in zip(self.draws.sd, self.draws.cor, strict=True):
            parts.append(sd)
            if cor is not None:
                parts.append(pair_values(cor))
        return np.concatenate(parts, axis=2)

    def _weighted(self, size: str) -> float:
        """Return the effective size of importance weights, which draws taken by them cannot exceed; else infinity."""
        value = self.draws.info.get(size) if self.method == "importance" else None
        return np.inf if value is None else float(value)

    @cached_property
    def _covariance_diagnostics(self) -> Diagnostics:
        return diagnose_draws(self.covariance_draws, self.draws).at_most(self._weighted("effective_points"))

    @cached_property
    def _fixed_diagnostics(self) -> Diagnostics:
        return diagnose_draws(self.draws.beta, self.draws).at_most(self._weighted("effective_size"))

    def dispersion_table(self, level: float = 0.95) -> pd.DataFrame:
        """Return mean, sd, limits and diagnostics of the dispersion parameters; no rows where the family has none."""
        names = []
        for parameter in self.family.parameters:
            several = [f"{parameter.name}[{k + 1}]" for k in range(parameter.size)]
            names += several if parameter.size > 1 else [parameter.name]
        found = diagnose_draws(self.dispersion, self.draws).at_most(self._weighted("effective_points"))
        return describe(self.dispersion, pd.Index(names), level, found)

    def coef_table(self, level: float = 0.95, *, exponentiate: bool = False) -> pd.DataFrame:
        """Return mean, sd, equal-tailed limits and diagnostics of the fixed coefficients.

        Parameters
        ----------
        level
            Probability between lower and upper.
        exponentiate
            Of odds ratios (logit link) or ratios of means (log link) instead.

        Raises
        ------
        OptionError
            If the link is neither "logit" nor "log" and ratios are asked for.
        """
        check_switch("exponentiate", exponentiate)
        if not exponentiate:
            return super().coef_table(level)
        if self.family.link.name not in ("logit", "log"):
            raise OptionError(
                f"exponentiate=True is for the links 'logit' and 'log'; this fit has {self.family.link.name!r}."
            )
        ratios = np.exp(self.draws.beta)
        return describe(ratios, effects.fixed_index(self.design), level, self._fixed_diagnostics)

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
        """Predict the response by its posterior mean.

        Parameters
        ----------
        data
            New rows with the columns of the formula; None means the rows of the fit. A row with a missing value is
            predicted as NaN.
        kind
            "mean" on the scale of the response (a probability for trials, the mean place of an ordered category),
            "link", the linear predictor, or "response", a new response of each row, whose limits are those of the
            posterior predictive distribution (not for trials, whose number new rows do not say). "conditional" and
            "marginal" are the words of fits of a normal response.
        random
            "all" adds the effects of each row's groups; "none" is the typical group, whose effects are zero; "marginal"
            is the mean over the population of groups, at every draw by quadrature.
        new_levels
            What a level unknown to the fit gets: "sample", effects drawn at every draw; "population", none; "error",
            an error.
        interval
            Probability: also return equal-tailed limits over the draws.
        estimable
            As for fits of a normal response.
        seed
            Seed or Generator of what is drawn.

        Returns
        -------
        Series or DataFrame
            Predictions by row label; with an interval the columns prediction, lower, upper.

        Raises
        ------
        OptionError
            If an option is not among the valid ones, or draws of random effects were not kept.
        DataError
            If the data lack a column, a level is unknown and ``new_levels="error"``, or a mean is not estimable and
            ``estimable="error"``.
        """
        kind, random = KINDS[kind] if is_word(kind, KINDS) else (kind, random)
        valid_kinds = (*get_args(MeanOf), "response")
        for name, value, valid in (("kind", kind, valid_kinds), ("random", random, get_args(Effects))):
            if not is_word(value, valid):
                raise OptionError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, valid))}.")
        if kind == "response" and np.any(self.family.trials(self.outcome) != 1):
            raise OptionError('kind="response" needs a single trial per row; use kind="mean", the share of successes.')
        conditional = random == "all"
        if conditional:
            require_effects(self.design, self.draws)
        request = self._request(data, "conditional" if conditional else "marginal", new_levels, interval, estimable)
        if random == "marginal":
            rows = training_rows(self.design) if data is None else self._rows_without_groups(data)
            request = make_request(rows, None, "marginal", "error", interval)
        zero = self.family.zero_columns
        if data is not None and zero is not None and kind != "link":
            zero = zero_columns_at(self.design, data, request.rows.places)
        rng = generator(seed)
        mean, limits = self._summarised(request.rows, zero, kind, random, new_levels, interval, rng)
        return self._labelled(request, mean, limits, estimable)

    def _rows_without_groups(self, data: Any) -> NewRows:
        from bayeslmm.design import new_rows

        return new_rows(self.design, data, missing="drop", random=True, groups=False)

    def _summarised(
        self,
        rows: NewRows,
        zero: Array | None,
        kind: str,
        random: str,
        new_levels: str,
        interval: float | None,
        rng: np.random.Generator,
    ) -> tuple[Array, tuple[Array, Array] | None]:
        """Return means and limits over the draws, some rows at a time."""
        m, count = len(rows.X), self.draws.n_chains * self.draws.n_draws
        mean, low, high = np.empty(m), np.empty(m), np.empty(m)
        unknown = [
            {label: rng.normal(size=(count, t.n_columns)) for label in dict.fromkeys(labels[t.codes < 0])}
            for t, labels in zip(rows.terms, rows.new_labels, strict=True)
        ]
        step = max(1, CELLS // count)
        for start in range(0, m, step):
            where = slice(start, start + step)
            family = self.family if zero is None else self.family.with_zero_columns(zero[where])  # type: ignore[attr-defined]
            values = self._values(rows, where, family, kind, random, new_levels, unknown, rng)
            mean[where] = values.mean(axis=0)
            if interval is not None:
                low[where], high[where] = np.quantile(values, [0.5 - interval / 2, 0.5 + interval / 2], axis=0)
        return mean, None if interval is None else (low, high)

    def _values(
        self,
        rows: NewRows,
        where: slice,
        family: Family,
        kind: str,
        random: str,
        new_levels: str,
        unknown: list[dict[Any, Array]],
        rng: np.random.Generator,
    ) -> Array:
        """Return what is predicted of some rows at every draw, (draws, rows)."""
        count = self.draws.n_chains * self.draws.n_draws
        eta = self.draws.beta.reshape(count, -1) @ rows.X[where].T + rows.offset[where]
        spread = np.zeros_like(eta)
        for k, term in enumerate(rows.terms):
            columns, codes = term.columns[where], term.codes[where]
            if random == "all":
                b = self.draws.effects[k].reshape(count, -1, term.n_columns)
                eta += np.einsum("dms,ms->dm", b[:, codes] * (codes >= 0)[:, None], columns)
                if new_levels == "sample":
                    for label, normal in unknown[k].items():
                        here = (codes < 0) & (rows.new_labels[k][where] == label)
                        drawn = np.einsum("dst,dt->ds", self._factors[k], normal)
                        eta[:, here] += drawn @ columns[here].T
            elif random == "marginal":
                spread += np.sum(np.einsum("ms,dst->dmt", columns, self._factors[k]) ** 2, axis=2)
        if kind == "link":
            return eta
        if kind == "response":
            if random == "marginal":
                eta = eta + np.sqrt(spread) * rng.normal(size=eta.shape)
            return self._new_responses(family, eta, rng)
        return self._means(family, eta, np.sqrt(spread) if random == "marginal" else None)

    @cached_property
    def _factors(self) -> list[Array]:
        """Cholesky factors of the effects' covariances at every draw, (D, S, S) per term."""
        found = []
        for sd, cor in zip(self.draws.sd, self.draws.cor, strict=True):
            flat = sd.reshape(-1, sd.shape[2])
            size = flat.shape[1]
            root: Any = np.broadcast_to(np.eye(size), (len(flat), size, size))
            if cor is not None:
                root = np.linalg.cholesky(cor.reshape(-1, size, size) + 1e-12 * np.eye(size))
            found.append(flat[:, :, None] * root)
        return found

    @cached_property
    def _working(self) -> Array:
        """Working values of the dispersion parameters at every draw, (D, m)."""
        flat = self.dispersion.reshape(self.draws.n_chains * self.draws.n_draws, self.dispersion.shape[2])
        return np.array([self.family.working(row) for row in flat]).reshape(len(flat), -1)

    def _means(self, family: Family, eta: Array, spread: Array | None) -> Array:
        """Return means at linear predictors (D, m), over a normal spread of them if one is given."""
        out = np.empty_like(eta)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        weights = weights / weights.sum()
        for d, (row, working) in enumerate(zip(eta, self._working, strict=True)):
            if spread is None:
                out[d] = family.mean(row, working)
            else:
                places = row + nodes[:, None] * spread[d]
                out[d] = weights @ family.mean(places.ravel(), working).reshape(places.shape)
        return out

    def _new_responses(self, family: Family, eta: Array, rng: np.random.Generator) -> Array:
        """Return a new response of a single trial for each linear predictor, (D, m)."""
        m = eta.shape[1]
        blank = Response(np.zeros(m), np.ones(m), np.zeros(m), None, self.outcome.categories)
        pairs = zip(eta, self._working, strict=True)
        return np.array([family.simulate(blank, row, working, rng) for row, working in pairs])

    def fitted(self) -> pd.Series:
        """Return the posterior means of the rows used, by row label; of a single trial where there are trials."""
        return self.predict().rename("fitted")  # type: ignore[union-attr]

    def residuals(  # type: ignore[override]
        self, kind: FamilyResidualKind = "raw", *, random: ResidualEffects = "all", seed: Any = 0
    ) -> pd.Series:
        """Return residuals, by row label.

        Parameters
        ----------
        kind
            "raw": observed minus posterior mean, of counts where there are trials; "pearson", "deviance" and "quantile"
            as for a point fit, at the posterior means of the linear predictor and of the dispersion parameters.
        random
            "all": about the conditional means; "none": about those of the typical group.
        seed
            Of the random part of "quantile".

        Raises
        ------
        OptionError
            If an option is unknown, the kind is "standardized", or draws of random effects were not kept.
        """
        chosen, effects = check_residuals(kind, random)
        if chosen == "raw":
            values = self.outcome.y - self.family.trials(self.outcome) * self.predict(random=effects).to_numpy()
        else:
            eta = self.predict(kind="link", random=effects).to_numpy()
            values = family_residuals(self.family, self.outcome, eta, self._working.mean(axis=0), chosen, seed)
        return pd.Series(values, index=self.design.index, name="residual")

    def simulate(self, n: int = 50, data: Any = None, *, random: RandomDraws = "new", seed: Any = None) -> pd.DataFrame:
        """Simulate responses at draws picked at random; see :meth:`PosteriorFit.simulate`.

        They are successes where there are trials, and places of ordered categories counted from zero.

        Raises
        ------
        OptionError
            If an option is not among the valid ones, draws of random effects were not kept and are needed, or responses
            of several trials are asked for of new rows.
        DataError
            If the data lack a column.
        """
        n = check_count("n", n, 1, LARGEST_FRAME)
        if is_word(random, ("conditional",)):
            require_effects(self.design, self.draws)
        rng = generator(seed)
        beta = self.draws.beta.reshape(-1, self.draws.beta.shape[2])
        picked = np.sort(rng.choice(len(beta), n, replace=n > len(beta)))
        effects = [b.reshape(len(beta), -1, b.shape[3]) for b in self.draws.effects]

        def draws(_: np.random.Generator) -> Iterator[Parameters]:
            for d in picked:
                yield Parameters(beta[d], 0.0, tuple(f[d] for f in self._factors), tuple(b[d] for b in effects))

        respond = family_responses(
            family_of_rows(self, data), self.outcome, data is None, lambda i: self._working[picked[i]]
        )
        return self._simulated(n, data, random, rng, draws, respond)

    # -- printing ---------------------------------------------------------------------------------------------

    def summary(self, level: float = 0.95) -> Summary:
        """Return the fit as tables that print well in a terminal and a notebook."""
        found = super().summary(level)
        facts = [*found.facts, *describe_family(self.family, self.outcome)]
        random = found.random
        if self.dispersion.shape[2]:
            rows = printed(self.dispersion_table(level), level)
            rows.insert(0, "Parameter", list(rows.index))
            rows.insert(0, "Group", ["Dispersion", *[""] * (len(rows) - 1)])
            random = pd.concat([random, rows], ignore_index=True)
        how = {"importance": "by importance sampling", "nuts": "sampled by NUTS", "advi": "approximated by ADVI"}
        title = f"Bayesian generalized linear mixed model, {how[self.method]}"
        return Summary(title, tuple(facts), random, found.fixed, found.status, found.notes)
