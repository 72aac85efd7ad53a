"""Means of the factors of the fixed part, and their contrasts."""

from typing import TYPE_CHECKING

import pandas as pd

from bayeslmm.design.mean_rows import predictor_levels
from bayeslmm.design.streamed import is_streamed
from bayeslmm.report import Fold, Section, Table
from bayeslmm.results.mean_scale import natural_scale
from bayeslmm.results.tables import aligned, p_value

if TYPE_CHECKING:
    from bayeslmm.effects.estimates import EffectEstimates
    from bayeslmm.results.fit import Fit

MOST_FACTORS = 4
MOST_LEVELS = 20  # of a factor whose means are shown
MOST_PAIRS = 6  # levels of a factor all of whose pairs are compared; beyond, each with the first
NOTE = (
    "Means of each level over the levels of the other factors, at the means of the numbers; random effects are zero. "
    "Contrasts allow for their number."
)


def means_section(fit: "Fit", level: float, pictures: bool) -> Section | None:
    """Return tables of means and contrasts of the factors; None without factors."""
    if is_streamed(fit.design):
        return None
    counts = {name: len(levels) for name, levels in predictor_levels(fit.design).items() if levels is not None}
    chosen = [name for name in counts if 2 <= counts[name] <= MOST_LEVELS][:MOST_FACTORS]
    if not chosen:
        return None
    on = natural_scale(fit)
    parts: list[Table | Fold | str] = []
    for name in chosen:
        means = fit.means(name, scale=on)
        parts.append(_table(means, level, name))
        kind = "pairwise" if counts[name] <= MOST_PAIRS else "trt.vs.ctrl"
        contrasts = fit.means(name).contrast(kind)
        title = f"Contrasts of {name}" + (" on the scale of the link" if on == "response" else "")
        parts.append(Fold(title, _table(contrasts, level, "Contrast")))
    left_out = [name for name in counts if name not in chosen]
    more = [f"Not shown: {', '.join(left_out)}."] if left_out else []
    return Section("Means and contrasts", (*parts, NOTE, *more))


def _table(found: "EffectEstimates", level: float, title: str) -> Table:
    table = found.table(level)
    posterior = "mean" in table
    middle, error = ("mean", "sd") if posterior else ("estimate", "std_error")
    shown = pd.DataFrame({title: table.iloc[:, 0].astype(str)})
    shown["Mean" if posterior else "Estimate"] = aligned(table[middle], table[error])
    shown["SD" if posterior else "Std. error"] = aligned(table[error])
    shown[f"{100 * (0.5 - level / 2):.4g}%"] = aligned(table["lower"], table[error])
    shown[f"{100 * (0.5 + level / 2):.4g}%"] = aligned(table["upper"], table[error])
    if "p" in table and found.kind == "contrasts":
        shown["p"] = [p_value(p) for p in table["p"]]
    if "probability_of_direction" in table and found.kind == "contrasts":
        shown["Probability of sign"] = [f"{p:.3f}" for p in table["probability_of_direction"]]
    if "note" in table:
        shown["Note"] = table["note"]
    return Table(shown)
