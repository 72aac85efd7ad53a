"""Numbers as they are printed: frames of numbers to frames of texts, and texts in columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.types import Array

SIGNIFICANT = 5  # digits shown of estimates
SMALLEST_P = 0.001


class WholeFrame(pd.DataFrame):
    """A DataFrame whose texts are printed in full, however wide."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return "\n".join(text_table(self, left=self.shape[1]))


def random_table(varcorr: pd.DataFrame) -> pd.DataFrame:
    """Return variances, standard deviations and correlations in lme4's layout, as texts.

    Correlations stand beside the later of the two effects, in the column of the earlier one.
    """
    with_correlation = varcorr[varcorr["other_effect"].notna()]
    widest = int(with_correlation.groupby("group")["effect"].nunique().max()) if len(with_correlation) else 0
    lookup = {(row.group, row.other_effect, row.effect): row.correlation for row in with_correlation.itertuples()}
    rows = []
    sds = varcorr[varcorr["other_effect"].isna()].assign(
        variance=lambda table: aligned(table["variance"], digits=4),
        sd=lambda table: aligned(table["sd"], digits=4),
    )
    for group, block in sds.groupby("group", sort=False):
        effects = list(block["effect"])
        for position, row in enumerate(block.itertuples()):
            pairs = [lookup.get((group, row.effect, earlier)) for earlier in effects[:position]]
            cells = ["" if value is None else _correlation(value) for value in pairs][:widest]
            name = str(group) if position == 0 else ""
            padding = [""] * (widest - len(cells))
            rows.append([name, row.effect or "", row.variance, row.sd, *cells, *padding])
    names = ["Group", "Effect", "Variance", "SD", *(["Corr"] + [""] * (widest - 1) if widest else [])]
    table = pd.DataFrame(rows, dtype=object) if rows else pd.DataFrame(columns=range(len(names)), dtype=object)
    table.columns = pd.Index(names)
    return table


def number(value: float) -> str:
    """Return a number with five significant digits, never in more space than a reader needs."""
    if value is None or np.isnan(value):
        return ""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        decimals = SIGNIFICANT - 1 - (0 if value == 0 else int(np.floor(np.log10(abs(value)))))
        return f"{value:.{min(max(decimals, 0), 6)}f}"
    return f"{value:.{SIGNIFICANT - 1}g}"


def p_value(value: float) -> str:
    """Return a p value as it is printed: three decimals, or ``"<0.001"``."""
    if np.isnan(value):
        return ""
    return f"<{SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"


def _correlation(value: float) -> str:
    return "nan" if np.isnan(value) else f"{value:.2f}"


def aligned(
    values: Sequence[float] | Array, reference: Sequence[float] | Array | None = None, digits: int = 3
) -> list[str]:
    """Return a column of numbers with the same number of decimals, chosen by the smallest standard error.

    Parameters
    ----------
    values
        The column.
    reference
        Numbers whose smallest absolute value sets the precision; the column itself if None.
    digits
        Significant digits the smallest number is shown with.
    """
    scale = np.abs(np.asarray(values if reference is None else reference, dtype=float))
    scale = scale[np.isfinite(scale) & (scale > 0)]
    numbers = np.asarray(values, dtype=float)
    largest = np.max(np.abs(numbers[np.isfinite(numbers)]), initial=0.0)
    if scale.size == 0 or largest >= 1e7 or scale.min() < 1e-6:
        return [number(value) for value in numbers]
    decimals = int(np.clip(digits - 1 - np.floor(np.log10(scale.min())), 0, 6))
    return ["" if np.isnan(value) else f"{value:.{decimals}f}" for value in numbers]


def text_table(table: pd.DataFrame, left: int) -> list[str]:
    """Lay a table of texts out in columns, the first `left` of them aligned left."""
    header = [str(name) for name in table.columns]
    cells = [[str(value) for value in row] for row in table.itertuples(index=False)]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = [
            f"{text:<{w}}" if i < left else f"{text:>{w}}" for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        return (" " + "  ".join(parts)).rstrip()

    return [line(header), *(line(row) for row in cells)]


def printed(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the texts of a table of posterior summaries, each row with the decimals its sd calls for."""
    names = {
        "mean": "Mean",
        "sd": "SD",
        "lower": f"{50 - 50 * level:g}%",
        "upper": f"{50 + 50 * level:g}%",
    }
    rows = [aligned(row, [row[1]]) for row in table[list(names)].to_numpy()]
    texts = pd.DataFrame(rows, index=table.index, columns=list(names.values()))
    for name, label in (("ess_bulk", "ESS bulk"), ("ess_tail", "ESS tail")):
        texts[label] = ["" if np.isnan(value) else f"{value:.0f}" for value in table[name]]
    texts["R-hat"] = ["" if np.isnan(value) else f"{value:.3f}" for value in table["rhat"]]
    return texts


def comparison_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison as texts, each row with the decimals its smallest error calls for."""
    spread = [column for column in table.columns if column[1] in ("std_error", "sd")]
    rows = []
    for _, row in pd.DataFrame(table).iterrows():
        scale = row[spread].to_numpy(dtype=float) if spread else np.full(1, np.nan)
        values = row.to_numpy(dtype=float)
        rows.append(aligned(values, scale if np.isfinite(scale).any() else np.abs(values) / 10))
    return pd.DataFrame(rows, index=table.index, columns=table.columns)


def block_table(blocks: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the description of a factorisation's blocks as a table."""
    return pd.DataFrame([dict(block) for block in blocks])
