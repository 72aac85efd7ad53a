"""What predictions of all fits of a normal response share: the words of a request, rows, simulated responses."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.errors import OptionError
from bayeslmm.inference.options import check_count
from bayeslmm.results.prediction import (
    Request,
    check_options,
    make_request,
    training_rows,
    what_to_predict,
    without_groups,
)
from bayeslmm.results.simulation import Parameters, check_random, grouped_levels, simulate_predictor
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.design.design import Design, NewRows
    from bayeslmm.likelihood import Kernel
    from bayeslmm.results.spec import ModelSpec

LARGEST_FRAME = 2**33  # numbers of a frame of simulated responses: 64 GB


class Predictions:
    """Rows to predict, for the fits of a normal response."""

    design: "Design"
    spec: "ModelSpec"
    method: str

    if TYPE_CHECKING:  # what the fit has

        @property
        def kernel(self) -> "Kernel": ...  # noqa: D102

    _labelled: Callable[..., Any]

    def _prediction_request(
        self,
        data: Any,
        kind: str,
        random: str | Sequence[str],
        new_levels: str,
        interval: float | None,
        estimable: str | None,
    ) -> Request:
        """Return what to predict, checked."""
        names = [term.name for term in self.design.terms]
        target, part, included = what_to_predict(kind, random, names)
        if part == "none":
            included = (False,) * len(names)
        grouped = part == "all"
        _, levels = check_options("conditional", new_levels, interval, estimable)
        rows, weights = self._rows(data, part == "marginal" and interval is not None and target == "response", grouped)
        return make_request(
            rows, weights, "marginal" if part == "marginal" else "conditional", levels, interval, target, included
        )

    def _rows(self, data: Any, random: bool, groups: bool) -> tuple["NewRows", Array | None]:
        """Return rows and their weights; without `groups` and `random` the random terms' columns are not needed."""
        if data is None:
            return training_rows(self.design), self.design.weights
        from bayeslmm.design import new_rows

        rows = new_rows(self.design, data, missing="drop", random=random or groups, groups=groups)
        return (rows if random or groups else without_groups(rows, self.design.terms)), None

    def _simulated(
        self,
        n: int,
        data: Any,
        random: str,
        rng: np.random.Generator,
        draws: Callable[[np.random.Generator], Iterator[Parameters]],
        respond: Callable[[int, Array, np.random.Generator], Array] | None = None,
    ) -> pd.DataFrame:
        """Return a response of every row for each of n values of the parameters.

        `respond` draws responses of a family at linear predictors; None adds normal residuals.
        """
        n = check_count("n", n, 1)
        check_random(random)
        rows, weights = self._rows(data, True, True)
        if n * len(rows.labels) > LARGEST_FRAME:
            raise OptionError(f"n={n} responses of {len(rows.labels)} rows are too many for one frame: ask for fewer.")
        groups = grouped_levels(rows, random)
        places = np.full((len(rows.labels), n), np.nan)
        for i, parameters in enumerate(draws(rng)):
            eta = simulate_predictor(rows, groups, parameters, rng)
            if respond is not None:
                places[rows.places, i] = respond(i, eta, rng)
                continue
            noise = parameters.sigma * rng.standard_normal(len(eta))
            places[rows.places, i] = eta + (noise if weights is None else noise / np.sqrt(weights))
        return pd.DataFrame(places, index=rows.labels, columns=pd.RangeIndex(n, name="simulation"))
