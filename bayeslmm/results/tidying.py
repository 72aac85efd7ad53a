"""Fits as plain data frames in the layout of the R packages broom and broom.mixed."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.errors import DataError, check_level
from bayeslmm.results.effects import covariance_labels

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

TIDY = ("effect", "group", "term", "estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high")
RENAMED = {
    "mean": "estimate", "sd": "std_error", "t": "statistic", "z": "statistic", "p": "p_value", "lower": "conf_low",
    "upper": "conf_high",
}  # fmt: skip
ADDED = ("fitted", "resid")


class TidyingMethods:
    """Parameters, criteria and rows as data frames with one layout for every kind of fit."""

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        """Return the parameters, a row each.

        Parameters
        ----------
        level
            Probability between conf_low and conf_high.

        Returns
        -------
        DataFrame
            Columns effect ("fixed" or "ran_pars"), group, term ("Days", "sd__Days", "cor__Intercept.Days",
            "sd__Observation" of the residuals), estimate, std_error, df, statistic, p_value, conf_low and conf_high.
            Of a posterior the estimate is the mean, std_error the standard deviation and the limits equal-tailed. What
            a fit does not have is NaN, such as limits of standard deviations before a profile or bootstrap.

        Raises
        ------
        OptionError
            If the level is no probability.
        """
        return parameters_frame(cast("Fit", self), level)

    def glance(self) -> pd.DataFrame:
        """Return the fit as one row.

        Returns
        -------
        DataFrame
            Columns method, nobs, sigma, loglik, AIC, BIC, REMLcrit (of REML fits), deviance (minus twice the
            log-likelihood, of ML fits), dof and status. What a fit does not have is NaN.
        """
        return criteria_frame(cast("Fit", self))

    def augment(self) -> pd.DataFrame:
        """Return the rows used, columns of the formula, with fitted and resid, observed less fitted values.

        Returns
        -------
        DataFrame
            A row per row used, with its label.


        Raises
        ------
        DataError
            If the formula uses columns of these names.
        """
        return rows_frame(cast("Fit", self))


def parameters_frame(fit: "Fit", level: float) -> pd.DataFrame:
    """Return the parameters of a fit in broom.mixed's layout."""
    check_level(level)
    point = cast(Any, fit)
    fixed = point.coef_table(level).rename(columns=RENAMED)
    fixed = fixed.assign(effect="fixed", group=None, term=list(fixed.index))
    varcorr = fit.varcorr()
    labels = covariance_labels(varcorr)
    if hasattr(fit, "draws"):
        random = point.covariance_table(level).rename(columns=RENAMED)
    else:
        values = varcorr["sd"].fillna(varcorr["correlation"]).astype(float).to_numpy()
        random = pd.DataFrame({"estimate": values}, index=labels)
        limits = point._computed_limits(level)
        if limits is not None:
            found = limits.reindex(labels)
            random = random.assign(conf_low=found["lower"].to_numpy(), conf_high=found["upper"].to_numpy())
    names = [_term(row.effect, row.other_effect) for row in varcorr.itertuples()]
    random = random.assign(effect="ran_pars", group=list(varcorr["group"]), term=names)
    pieces = [piece.reindex(columns=list(TIDY)) for piece in (fixed, random)]
    frame = pd.DataFrame({name: [*pieces[0][name], *pieces[1][name]] for name in TIDY})
    return frame.astype(dict.fromkeys(TIDY[3:], float))


def criteria_frame(fit: "Fit") -> pd.DataFrame:
    """Return what is known of a fit as a whole, one row."""
    normal = fit.design.outcome is None
    point = not hasattr(fit, "draws") and fit.method in ("ml", "reml")
    known = cast(Any, fit)
    row = {
        "method": fit.method,
        "nobs": fit.nobs,
        "sigma": known.sigma if normal else np.nan,
        "loglik": known.loglik if point else np.nan,
        "AIC": known.aic if point else np.nan,
        "BIC": known.bic if point else np.nan,
        "REMLcrit": known.objective if point and fit.method == "reml" else np.nan,
        "deviance": known.objective if point and fit.method == "ml" else np.nan,
        "dof": float(known.dof) if point else np.nan,
        "status": fit.status.code,
    }
    return pd.DataFrame([row])


def rows_frame(fit: "Fit") -> pd.DataFrame:
    """Return the rows used with fitted values and residuals."""
    data = fit.design.data.iloc[fit.design.rows]
    for name in ADDED:
        if name in data:
            raise DataError(f"The data have a column {name!r}, which augment would replace: rename it.")
    return data.assign(fitted=fit.fitted().to_numpy(), resid=fit.residuals().to_numpy())


def _term(effect: str | None, other: str | None) -> str:
    if effect is None:
        return "sd__Observation"
    return f"sd__{effect}" if other is None else f"cor__{effect}.{other}"
