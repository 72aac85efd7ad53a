"""The methods of fits that say what they rest on: shares of variance, principal components, leverage, influence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.criticism.collinearity import variance_inflation
from bayeslmm.criticism.deletion import Deletion, cooks_distance, delete_sets, flat_posterior, leverages
from bayeslmm.criticism.link_variance import link_variance, population_mean
from bayeslmm.criticism.variance_shares import (
    VarianceShares,
    cumulative_shares,
    principal_sds,
    row_moments,
    variance_shares,
)
from bayeslmm.design.names import SIGMA
from bayeslmm.errors import FittingError, OptionError, UnavailableError, check_switch, warn_user
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.left_out import DataRows, Sets
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.results import effects
from bayeslmm.results.moments import moments_of
from bayeslmm.results.working_model import working_model
from bayeslmm.types import AnyArray, Array, Index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayeslmm.results.fit import Fit
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit


@dataclass(frozen=True, eq=False)
class Influence:
    """What leaving out each group, or row, changes.

    Attributes
    ----------
    by
        What was left out: "row", a grouping factor or a column.
    refitted
        Whether the covariance parameters were estimated again each time.
    cooks_distance
        Cook's distance by what was left out: the change of all coefficients in units of their covariance, over p.
    changes
        Estimates of all rows less those without each group: coefficients, and the residual sd or, refitted, all
        standard deviations and correlations. NaN where the other rows do not identify the coefficients.
    """

    by: str
    refitted: bool
    cooks_distance: pd.Series
    changes: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """The distances beside the changes, the most influential first."""
        return pd.concat([self.cooks_distance, self.changes], axis=1).sort_values(
            "cooks_distance", ascending=False, kind="stable"
        )

    def plot(self, ax: Any = None) -> "Figure":
        """Draw Cook's distances.

        Parameters
        ----------
        ax
            matplotlib axes to draw into; None makes a figure.
        """
        from bayeslmm.plots.influence import influence_figure

        return influence_figure(self.cooks_distance, self.by, ax)

    def __repr__(self) -> str:
        how = "fitted again without each" if self.refitted else "relative covariances held"
        return f"Influence by {self.by!r} ({how}): change of the estimates\n{self.table}"


class VarianceMethods:
    """Shares of variance, of point fits and, draw by draw, of posteriors."""

    def r2(self, level: float = 0.95) -> pd.Series | pd.DataFrame:
        r"""Return R² of Nakagawa and Schielzeth: the fixed part's share of the variance, and that of the whole mean.

        :math:`v_f/(v_f + v_r + v_e)` and :math:`(v_f + v_r)/(v_f + v_r + v_e)`, with v_f the variance of Xβ over the
        rows, v_r the mean of z'Σz over the rows (Johnson 2014) and v_e that of σ²/w. An offset is left out. Of
        generalized models all are on the scale of the link, with the family's own v_e there
        (:mod:`bayeslmm.criticism.link_variance`; Nakagawa, Johnson and Schielzeth 2017), at the mean response that the
        model expects of the rows; a term with a level for every row belongs to v_e. Zero-inflated and hurdle responses
        are counts whose v_e holds the variance that their zeros add; Student-t responses with no more than two degrees
        of freedom have an infinite one, and shares of zero.

        Parameters
        ----------
        level
            Of the limits of a posterior.

        Returns
        -------
        Series or DataFrame
            "marginal" and "conditional"; for a posterior a row each, with the columns of ``coef_table``.

        Raises
        ------
        UnavailableError
            For a link of binary or ordered responses without a latent variable.
        """
        shares = _shares(cast("Fit", self))
        values = np.column_stack([shares.marginal, shares.conditional])
        return _by_name(cast("Fit", self), values, pd.Index(["marginal", "conditional"], name="share"), "r2", level)

    def icc(self, level: float = 0.95) -> pd.Series | pd.DataFrame:
        r"""Return intraclass correlations: each random term's share of the variance that the fixed part leaves.

        :math:`v_k/(v_r + v_e)`, in the notation of :meth:`r2`. With random slopes it is a mean over the rows, since the
        variance between groups then depends on the row.

        Parameters
        ----------
        level
            Of the limits of a posterior.

        Returns
        -------
        Series or DataFrame
            By term, and "(all)" for their sum; for a posterior with the columns of ``coef_table``.

        Raises
        ------
        UnavailableError
            As :meth:`r2`, and without random terms.
        """
        fit = cast("Fit", self)
        _require_terms(fit, "icc")
        shares = _shares(fit).intraclass
        names = pd.Index([*(term.name for term in fit.design.terms), "(all)"], name="term")
        return _by_name(fit, np.column_stack([shares, shares.sum(axis=1)]), names, "icc", level)

    def rePCA(self) -> pd.DataFrame:
        """Return the principal components of the random effects of each grouping factor.

        The sds are the singular values of Λ's block for a level, the terms of one factor together: a component whose sd
        is about zero says that the data do not support so many effects.

        Returns
        -------
        DataFrame
            Index factor and component; columns sd (in units of sigma), proportion of the factor's variance and
            cumulative, means over the draws for a posterior.

        Raises
        ------
        UnavailableError
            For responses that are not normal, and without random terms.
        """
        fit = cast("Fit", self)
        _require_normal(fit, "rePCA")
        _require_terms(fit, "rePCA")
        _, factors, sigma = _values(fit)
        tables = {}
        for factor in dict.fromkeys(term.factor for term in fit.design.terms):
            own = [f for f, term in zip(factors, fit.design.terms, strict=True) if term.factor == factor]
            sds = principal_sds(own) / sigma[:, None]
            share, running = cumulative_shares(sds)
            columns = {"sd": sds.mean(axis=0), "proportion": share.mean(axis=0), "cumulative": running.mean(axis=0)}
            tables[factor] = pd.DataFrame(columns, index=range(1, sds.shape[1] + 1))
        return pd.concat(tables, names=["factor", "component"])


class DeletionMethods:
    """What the rows and groups of a point fit weigh."""

    def leverage(self) -> pd.Series:
        r"""Return the leverage of every row: the derivative of its fitted value by its response.

        The diagonal of the matrix H with :math:`\hat y = Hy`, θ held (the hat values of lme4). Their sum is the
        effective number of coefficients and random effects. Of a generalized model they are those of its working
        linear model at the estimates.
        """
        fit = cast("PointFit", self)
        if getattr(fit, "family", None) is not None:
            kernel, factor, data = working_model(cast(Any, fit))
            values = leverages(kernel, flat_posterior(factor), data, 1.0)
            return pd.Series(values, index=fit.design.index, name="leverage")
        fit.kernel.check_memory()
        factor = factorise(fit.kernel.products, fit.kernel.lambdas(fit.theta))
        posterior = flat_posterior(factor)
        if fit.method == "map":
            density = CovarianceDensity(fit.kernel, fit.normal_priors, fit.spec.sigma)
            posterior = fixed_posterior(factor, density.fixed_prior)
        values = leverages(fit.kernel, posterior, _rows(fit), fit.sigma)
        return pd.Series(values, index=fit.design.index, name="leverage")

    def influence(self, by: Any = "group", *, refit: bool = False) -> Influence:
        r"""Return Cook's distances and what the estimates change by when each group, or row, is left out.

        Parameters
        ----------
        by
            What is left out together: "group", the levels of the one grouping factor; the name of a factor or column;
            "row"; or a label for each row used.
        refit
            Estimate the covariance parameters again each time, one fit a group. Otherwise the relative covariances Λ
            are held and everything follows in closed form from the one fit: exact in β and σ given Λ. Of generalized
            models it is then one Newton step, covariances and dispersions held: good to compare groups, short of the
            whole change where it is large.

        Returns
        -------
        Influence
            With ``cooks_distance``, ``changes`` and ``table``, the most influential first. The distance of a change d
            is :math:`d^\top \mathrm{Cov}(\hat\beta)^{-1} d/p`; lme4's is this times (U - p)/U for U groups.

        Raises
        ------
        OptionError
            If `by` names no units, or for the posterior mode.
        """
        from bayeslmm.results.left_out_units import find_units

        fit = cast("PointFit", self)
        if fit.method == "map":
            raise OptionError("The influence is that on estimates by the likelihood: fit by method='reml' or 'ml'.")
        units = find_units(fit.design, by, "by")
        check_switch("refit", refit)
        codes = np.arange(fit.nobs) if units.codes is None else units.codes
        sets = Sets.of(codes, len(units.labels))
        if getattr(fit, "family", None) is not None:
            kernel, factor, data = working_model(cast(Any, fit))
        else:
            kernel, data = fit.kernel, _rows(fit)
            kernel.check_memory()
            factor = factorise(kernel.products, kernel.lambdas(fit.theta))
        found = delete_sets(kernel, factor, data, sets)
        changes = _refitted(fit, data, sets, found, units.labels) if refit else _held(fit, sets, found)
        changes.index = pd.Index(units.labels, name=units.name)
        p = fit.design.p
        distance = cooks_distance(changes.to_numpy()[:, :p], np.asarray(fit.modes.beta_cov, dtype=float))
        return Influence(units.name, refit, pd.Series(distance, changes.index, name="cooks_distance"), changes)


def collinearity(fit: "Fit") -> pd.Series:
    r"""Return the variance inflation factor of every coefficient but the intercept.

    :math:`(R^{-1})_{jj}`, with R the correlations of these estimates, the intercept's left out (posterior correlations
    where there are draws). Without random terms this is 1/(1 - R_j²) of the regression of column j on the others.
    Above 5 or 10 the data say little about a coefficient apart from the others; that is a reason for care in reading
    it, not for dropping a column.

    Parameters
    ----------
    fit
        Any fit.

    Returns
    -------
    Series
        By coefficient; empty with less than one besides the intercept.

    Raises
    ------
    OptionError
        If it is no fit.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> fit = blm.lmm("weight ~ litsize + treatment + (1 | litter)", blm.load_dataset("ratpup"))
    >>> bool(blm.collinearity(fit).max() < 2)
    True
    """
    from bayeslmm.results.fit import Fit as AnyFit

    if not isinstance(fit, AnyFit):
        raise OptionError(f"collinearity takes a fit, such as model.fit('reml'); {type(fit).__name__} is none.")
    covariance = fit.vcov()  # type: ignore[attr-defined]
    kept = [name for name in covariance.index if name != "Intercept"]
    covariance = covariance.loc[kept, kept]
    return pd.Series(variance_inflation(covariance.to_numpy(dtype=float)), covariance.index, name="vif")


def _require_normal(fit: "Fit", what: str) -> None:
    if getattr(fit, "family", None) is not None:
        raise UnavailableError(
            f"{what} is for normal responses: those of other families have no one residual variance."
        )


def _require_terms(fit: "Fit", what: str) -> None:
    if not fit.design.terms:
        raise UnavailableError(f"{what} is about random effects, and this model has none: add a term such as (1 | g).")


def _values(fit: "Fit") -> tuple[Array, list[Array], Array]:
    """Return coefficients (D, p), a factor of each term's covariance matrix (D, S, S) and sigma (D,)."""
    if getattr(fit, "draws", None) is not None:
        from bayeslmm.results.posterior_prediction import flatten

        flat = flatten(cast("PosteriorFit", fit).draws)
        return flat.beta.astype(float), list(flat.factors), flat.sigma
    point = cast("PointFit", fit)
    factors = [point.sigma * np.asarray(f, dtype=float)[None] for f in point._factors]
    return np.asarray(point.modes.beta, dtype=float)[None], factors, np.array([point.sigma])


def _shares(fit: "Fit") -> VarianceShares:
    if getattr(fit, "family", None) is not None:
        return _family_shares(fit)
    beta, factors, sigma = _values(fit)
    design = fit.design
    covariances = [f @ f.transpose(0, 2, 1) for f in factors]
    return variance_shares(moments_of(design), beta, covariances, sigma)


def _family_shares(fit: "Fit") -> VarianceShares:
    """Return the shares on the scale of the link, with the residual variance of the family."""
    design, family = fit.design, cast(Any, fit).family
    factors = [np.asarray(f, dtype=float) for f in cast(Any, fit)._factors]
    if getattr(fit, "draws", None) is not None:
        beta = np.asarray(cast(Any, fit).draws.beta, dtype=float).reshape(-1, design.p)
        working = np.asarray(cast(Any, fit)._working).T
    else:
        beta = np.asarray(cast(Any, fit).modes.beta, dtype=float)[None]
        factors = [f[None] for f in factors]
        working = np.asarray(cast(Any, fit).maximum.dispersion, dtype=float)[:, None]
    covariances = [f @ f.transpose(0, 2, 1) for f in factors]
    columns = [term.columns for term in design.terms]
    offset = np.zeros(design.n) if design.offset is None else design.offset
    mean = population_mean(family, design.X, offset, columns, beta, covariances)
    residual = link_variance(family, working, mean)
    found = variance_shares(row_moments(design.X, columns, None), beta, covariances, np.sqrt(residual))
    return found.with_residual([term.n_levels == design.n for term in design.terms])


def _by_name(fit: "Fit", values: Array, index: pd.Index, name: str, level: float) -> pd.Series | pd.DataFrame:
    draws = getattr(fit, "draws", None)
    if draws is None:
        return pd.Series(values[0], index=index, name=name)
    from bayeslmm.results.diagnostics import describe
    from bayeslmm.results.weighted_draws import diagnose_draws

    chains = values.reshape(draws.n_chains, draws.n_draws, -1)
    found = diagnose_draws(chains, draws)
    if fit.method == "importance":
        found = found.at_most(draws.info.get("effective_size", np.inf))
    return describe(chains, index, level, found)


def _rows(fit: "Fit") -> DataRows:
    from bayeslmm.results.leave_one_out import data_rows

    return data_rows(fit)


def _estimates(fit: "PointFit") -> Array:
    table = fit.varcorr()
    covariance = np.where(table["other_effect"].isna(), table["sd"], table["correlation"]).astype(float)
    return np.concatenate([np.asarray(fit.modes.beta, dtype=float), covariance])


def _held(fit: "PointFit", sets: Sets, found: Deletion) -> pd.DataFrame:
    """Return changes of the coefficients and, of a normal response, sigma; the relative covariances held."""
    names = effects.parameter_names(fit.design, fit.varcorr())
    changes = pd.DataFrame(found.change, columns=names[: fit.design.p])
    if getattr(fit, "family", None) is not None:
        return changes
    p = fit.design.p if fit.method == "reml" else 0
    freedom = np.where(np.isnan(found.squares), np.nan, (fit.nobs - p - sets.sizes).astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum((fit.nobs - p) * fit.sigma**2 - found.squares, 0.0) / freedom
    changes[SIGMA] = fit.sigma - np.sqrt(variance) if fit.spec.sigma is None else 0.0
    return changes


def _refitted(fit: "PointFit", data: DataRows, sets: Sets, found: Deletion, labels: AnyArray) -> pd.DataFrame:
    """Return changes of all parameters, estimated again without each set."""
    names, estimates = effects.parameter_names(fit.design, fit.varcorr()), _estimates(fit)
    changes = np.full((len(labels), len(names)), np.nan)
    failed = []
    for place, label in enumerate(labels):
        if np.isnan(found.squares[place]):
            continue
        left_out = sets.members[sets.starts[place] : sets.starts[place + 1]]
        try:
            changes[place] = estimates - _estimates(_without(fit, data, left_out))
        except FittingError:
            failed.append(label)
    if failed:
        warn_user(
            f"{len(failed)} of {len(labels)} fits without a group failed, first {failed[0]!r}; their rows are NaN."
        )
    return pd.DataFrame(changes, columns=names)


def _without(fit: "PointFit", data: DataRows, left_out: Index) -> "PointFit":
    """Return the fit without some rows; levels that lose all their rows add nothing to the likelihood."""
    if getattr(fit, "family", None) is not None:
        from bayeslmm.results.generalized_refits import fit_without

        return fit_without(cast(Any, fit), left_out)
    from bayeslmm.results.point import PointFit as Point

    design = fit.design
    keep = np.delete(np.arange(design.n), left_out)
    terms = [term.at_rows(term.codes[keep], term.columns[keep]) for term in design.terms]
    weights = None if design.weights is None else design.weights[keep]
    kernel = Kernel.build(data.y[keep], data.X[keep], terms, weights)
    optimum = maximise(kernel, fit.method, sigma=fit.spec.sigma)
    if optimum.code == "failed":
        raise FittingError(optimum.message)
    modes = kernel.conditional(optimum.theta, fit.method, fit.spec.sigma)
    return Point(design, fit.spec, fit.method, optimum, modes, model_kernel=kernel)
