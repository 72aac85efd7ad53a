"""Predictions and simulated responses from posterior draws."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.errors import is_word
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.options import generator
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.results.posterior_prediction import flatten, posterior_interval
from bayeslmm.results.prediction import Estimable, NewLevels, PredictKind, RandomPart, Request, linear_predictor
from bayeslmm.results.predictions import Predictions
from bayeslmm.results.row_batches import batch_by_batch
from bayeslmm.results.simulation import Parameters, RandomDraws
from bayeslmm.types import Array


class PosteriorPredictions(Predictions):
    """What a :class:`PosteriorFit` says of rows."""

    draws: Draws

    @batch_by_batch
    def predict(
        self,
        data: Any = None,
        *,
        kind: PredictKind = "response",
        random: RandomPart | Sequence[str] = "all",
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
            predicted as NaN. For rows that stream (a Parquet path, say) an iterator over the predictions of each batch
            is returned.
        kind
            What the limits are for: a new "response" of each row (of weight one in new rows), or its "mean". The
            prediction is the same. "conditional" stands for a response with ``random="all"``, "marginal" and
            "population" for one with ``random="marginal"``.
        random
            "all" adds the effects of each row's groups; a list names the terms whose effects are added; "none" is the
            typical group, whose effects are zero; "marginal" is over the population of groups: every new response has
            groups of its own. The last two need no columns of groups.
        new_levels
            What a level unknown to the fit gets: "population", no effect of its own; "sample", effects drawn from
            N(0, Σ) at every draw, the same for all its rows, which widen the interval; "error", an error.
        interval
            Probability, such as 0.9: also return equal-tailed limits over the draws. Rows are taken some at a time, so
            the memory does not grow with draws times rows.
        estimable
            What happens to rows whose mean the data do not identify because the fit left out collinear columns, such
            as a cell of an interaction without data: "error", "nan", or "ignore" for a prediction that depends on
            which column was left out. None warns, and gives NaN with an interval.
        seed
            Seed or Generator of what the interval draws.

        Returns
        -------
        Series or DataFrame
            Predictions by row label; with an interval the columns prediction, lower, upper.

        Raises
        ------
        OptionError
            If an option is not among the valid ones, or a prediction needs random effects whose draws were not kept.
        DataError
            If the data lack a column, a level is unknown and ``new_levels="error"``, or a mean is not estimable and
            ``estimable="error"``.
        """
        request = self._prediction_request(data, kind, random, new_levels, interval, estimable)
        self._require(request)
        means = [np.mean(b, axis=(0, 1), dtype=float) for b in self.draws.effects]
        mean = linear_predictor(request, np.mean(self.draws.beta, axis=(0, 1), dtype=float), means)
        limits = None
        if interval is not None:
            limits = posterior_interval(request, self.draws, generator(seed))
        return self._labelled(request, mean, limits, estimable)

    def _require(self, request: Request) -> None:
        if request.kind == "conditional":
            included = request.included or (True,) * len(self.draws.kept)
            if any(wanted and not kept for wanted, kept in zip(included, self.draws.kept, strict=True)):
                require_effects(self.design, self.draws)

    def simulate(self, n: int = 50, data: Any = None, *, random: RandomDraws = "new", seed: Any = None) -> pd.DataFrame:
        """Simulate responses at draws picked at random.

        Parameters
        ----------
        n
            Number of responses of each row; draws are picked without replacement as long as there are enough.
        data
            New rows with the columns of the formula; None means the rows of the fit, with their weights.
        random
            "new" draws the effects of every group anew; "conditional" keeps those of the draw and draws only those of
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
            If an option is not among the valid ones, or draws of random effects were not kept and are needed.
        DataError
            If the data lack a column.
        """
        if is_word(random, ("conditional",)):
            require_effects(self.design, self.draws)

        def picked(rng: np.random.Generator) -> Iterator[Parameters]:
            flat = flatten(self.draws)
            size = len(flat.sigma)
            for d in np.sort(rng.choice(size, n, replace=n > size)):
                effects: tuple[Array, ...] = tuple(np.asarray(b[d], dtype=float) for b in flat.effects)
                factors = tuple(factor[d] for factor in flat.factors)
                yield Parameters(flat.beta[d].astype(float), float(flat.sigma[d]), factors, effects)

        return self._simulated(n, data, random, generator(seed), picked)
