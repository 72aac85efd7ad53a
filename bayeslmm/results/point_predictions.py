"""Predictions and simulated responses of fits that end in one value of every parameter."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from bayeslmm.covariance import factors_from_theta
from bayeslmm.inference.options import generator
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.results.prediction import (
    Estimable,
    NewLevels,
    PredictKind,
    RandomPart,
    Request,
    Uncertainty,
    check_uncertainty,
    linear_predictor,
    point_interval,
    relative_variance,
)
from bayeslmm.results.predictions import Predictions
from bayeslmm.results.row_batches import batch_by_batch
from bayeslmm.results.simulation import Parameters, RandomDraws
from bayeslmm.types import Array, Criterion

if TYPE_CHECKING:
    from bayeslmm.intervals.prediction import Coefficients


class PointPredictions(Predictions):
    """What a :class:`PointFit` says of rows."""

    optimum: Any
    modes: Any
    priors: Any
    normal_priors: Any

    if TYPE_CHECKING:  # what the fit has

        @property
        def sigma(self) -> float: ...  # noqa: D102
        @property
        def theta(self) -> Array: ...  # noqa: D102
        @property
        def _factors(self) -> list[Array]: ...

    @batch_by_batch
    def predict(
        self,
        data: Any = None,
        *,
        kind: PredictKind = "response",
        random: RandomPart | Sequence[str] = "all",
        new_levels: NewLevels = "error",
        interval: float | None = None,
        uncertainty: Uncertainty = "conditional",
        estimable: Estimable | None = None,
        seed: Any = None,
    ) -> pd.Series | pd.DataFrame:
        """Predict the response.

        Parameters
        ----------
        data
            New rows with the columns of the formula; None means the rows of the fit. A row with a missing value is
            predicted as NaN. For rows that stream (a Parquet path, say) an iterator over the predictions of each batch
            is returned.
        kind
            What the limits are for: a new "response" of each row (of weight one in new rows), or its "mean". The
            prediction is the same. "conditional" stands for a response with ``random="all"``, "marginal" and
            "population" for one with ``random="marginal"``.
        random
            "all" adds the estimated effects of each row's groups; a list names the terms whose effects are added;
            "none" is the typical group, whose effects are zero; "marginal" is over the population of groups: a new
            response has the variance between groups in its limits. The last two need no columns of groups.
        new_levels
            What a level unknown to the fit gets: "population", no effect of its own; "sample", an effect with mean zero
            whose variance widens the limits; "error", an error.
        interval
            Probability, such as 0.9: also return limits. They carry the error of the coefficients and of the random
            effects.
        uncertainty
            "conditional" takes θ and σ as known; "full" allows for their error, too, by the normal approximation of θ
            (see :mod:`bayeslmm.intervals.prediction`): wider with few groups, above all for new ones.
        estimable
            What happens to rows whose mean the data do not identify because the fit left out collinear columns, such
            as a cell of an interaction without data: "error", "nan", or "ignore" for a prediction that depends on
            which column was left out. None warns, and gives NaN with an interval.
        seed
            Accepted for symmetry with posterior fits; nothing is drawn here.

        Returns
        -------
        Series or DataFrame
            Predictions by row label; with an interval the columns prediction, lower, upper.

        Raises
        ------
        OptionError
            If an option is not among the valid ones, or ``uncertainty="full"`` is asked of a posterior mode.
        DataError
            If the data lack a column, a level is unknown and ``new_levels="error"``, or a mean is not estimable and
            ``estimable="error"``.
        """
        check_uncertainty(uncertainty, self.method)
        request = self._prediction_request(data, kind, random, new_levels, interval, estimable)
        mean = linear_predictor(request, self.modes.beta, self.modes.b)
        limits = None
        if interval is not None and uncertainty == "full":
            limits = self._full_limits(request)
        elif interval is not None:
            limits = self._limits(request, mean)
        return self._labelled(request, mean, limits, estimable)

    def _limits(self, request: Request, mean: Array) -> tuple[Array, Array]:
        return point_interval(request, self.kernel, self._factors, self.sigma, mean, self._fixed_precision())

    def _full_limits(self, request: Request) -> tuple[Array, Array]:
        from bayeslmm.intervals.prediction import full_limits

        shapes = self.kernel.shapes

        def error(at: "Coefficients") -> tuple[Array, Array]:
            factors = factors_from_theta(at.theta, shapes)
            variance = at.sigma**2 * relative_variance(request, self.kernel, factors)
            return linear_predictor(request, at.beta, at.effects), variance

        method = cast(Criterion, self.method)
        return full_limits(self.kernel, self.theta, method, self.spec.sigma, error, float(request.interval or 0.0))

    def _fixed_precision(self) -> Array | None:
        """Return the Cholesky factor of the coefficients' precision times sigma² where they have priors."""
        if self.method != "map":
            return None
        density = CovarianceDensity(self.kernel, self.normal_priors, self.spec.sigma)
        factor = factorise(self.kernel.products, self.kernel.lambdas(self.theta))
        return fixed_posterior(factor, density.fixed_prior).precision_factor(self.sigma, density.fixed_prior)

    def simulate(self, n: int = 1, data: Any = None, *, random: RandomDraws = "new", seed: Any = None) -> pd.DataFrame:
        """Simulate responses at the estimates.

        Parameters
        ----------
        n
            Number of responses of each row.
        data
            New rows with the columns of the formula; None means the rows of the fit, with their weights.
        random
            "new" draws the effects of every group anew; "conditional" keeps the estimated ones and draws only those of
            levels unknown to the fit.
        seed
            Seed or Generator.

        Returns
        -------
        DataFrame
            Rows by n responses; a row with a missing value is NaN.

        Raises
        ------
        OptionError
            If an option is not among the valid ones.
        DataError
            If the data lack a column.
        """
        factors = tuple(self.sigma * factor for factor in self._factors)
        estimates = Parameters(self.modes.beta, self.sigma, factors, tuple(self.modes.b))
        return self._simulated(n, data, random, generator(seed), lambda _: (estimates for _ in range(n)))
