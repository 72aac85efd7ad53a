"""How well rows are predicted that the fit has not seen."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.design.streamed import is_streamed
from bayeslmm.report import Section, Table

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

MOST_ROWS = 20_000  # beyond, leave-one-out takes more time than a report should
UNRELIABLE = 0.7
NOTE = (
    "The expected log predictive density of a row given all others (elpd), its effective number of parameters, and how "
    "many rows have a Pareto shape k above 0.7, whose terms cannot be relied on. Compare models by blm.compare_models."
)


def leave_one_out_section(fit: "Fit", level: float, pictures: bool) -> Section | None:
    """Return the leave-one-out estimate of a posterior; None for point fits."""
    if getattr(fit, "draws", None) is None or is_streamed(fit.design):
        return None
    if fit.nobs > MOST_ROWS:
        return Section("Prediction of rows left out", (f"Not computed for {fit.nobs} rows: blm.loo(fit) does it.",))
    from bayeslmm.results.leave_one_out import loo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table counts the rows it warns of
        found = loo(fit)  # type: ignore[arg-type]
    k = np.asarray(found["pareto_k"])
    row = [f"{found['elpd_loo']:.1f}", f"{found['se']:.1f}", f"{found['p_loo']:.1f}", f"{int(np.sum(k > UNRELIABLE))}"]
    table = pd.DataFrame([row], columns=["elpd", "Std. error", "Effective parameters", "k above 0.7"])
    return Section("Prediction of rows left out", (Table(table, labels=0), NOTE))
