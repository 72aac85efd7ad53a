"""The method of fits that checks them by replicates of their data."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit
    from bayeslmm.results.predictive_checks import PredictiveCheck, Statistic


class PredictiveCheckMethods:
    """Predictive checks."""

    def ppc(
        self,
        statistic: "Statistic | Callable[[Array], Any]" = "density",
        *,
        group: str | None = None,
        groups: Literal["same", "new"] | None = None,
        draws: int | None = None,
        seed: Any = None,
    ) -> "PredictiveCheck":
        r"""Compare the response with responses that the model makes.

        Parameters
        ----------
        statistic
            "density": the distribution of the response, by its Kolmogorov distance from that of all replicates; "mean";
            "sd"; "group means": the mean of every level; "residual autocorrelation": of neighbouring rows of a level,
            residuals taken at each draw; or a function of a response, shape (n,), that returns a number, an array or a
            Series.
        group
            The grouping factor of group means and of the neighbours; None for the first one.
        groups
            Whether replicates are of the "same" groups (what None means for posteriors), or of "new" ones whose effects
            are drawn from their distribution, which trusts less what was fitted to the groups (what None means for
            point fits, whose parameters are taken as known).
        draws
            Replicates; None for 1,000, fewer where they would fill the memory.
        seed
            Of the replicates.

        Returns
        -------
        PredictiveCheck
            With ``p_value``, ``table`` and ``plot()``. A p value is :math:`P(T(y^{rep}) \ge T(y))`: near zero or one
            where the model does not make data like these. It is not uniform under the model, since the data were used
            for the fit, but closer to one half.

        Raises
        ------
        OptionError
            If the statistic is unknown, or not for this fit.
        """
        from bayeslmm.results.predictive_checks import predictive_check

        return predictive_check(cast("Fit", self), statistic, group, groups, draws, seed)
