"""A fit printed for a reader: plain text for the terminal, tables for a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.results.status import Status

Numbers = NDArray[np.float64]

SIGNIFICANT = 5  # digits shown of estimates
SMALLEST_P = 0.001


class WholeFrame(pd.DataFrame):
    """A DataFrame whose texts are printed in full, however wide."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return "\n".join(_text_table(self, left=self.shape[1]))


@dataclass(frozen=True, slots=True)
class Summary:
    """What a fit has to say, ready to print.

    Attributes
    ----------
    title
        ``"Linear mixed model fit by REML"``.
    facts
        Pairs of a label and a text: formula, counts, criteria.
    random, fixed
        Tables of texts: random effects by group, and fixed effects.
    status
        How the fit ended.
    notes
        Further sentences a reader should see.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    random: pd.DataFrame
    fixed: pd.DataFrame
    status: Status
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        width = max((len(label) for label, _ in self.facts), default=0) + 2
        lines = [self.title, *(f"{label + ':':<{width}}{text}" for label, text in self.facts), ""]
        lines += ["Random effects", *_text_table(self.random, left=2), ""]
        if len(self.fixed):
            lines += ["Fixed effects", *_text_table(self.fixed.reset_index(), left=1), ""]
        lines += [f"Note: {note}" for note in self.notes]
        lines.append(f"Status: {self.status}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        facts = "".join(
            f"<tr><th {left}>{escape(label)}</th><td {left}>{escape(text)}</td></tr>" for label, text in self.facts
        )
        random = self.random.to_html(index=False, border=0)
        fixed = self.fixed.reset_index().to_html(index=False, border=0)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return (
            f"<h4>{escape(self.title)}</h4><table>{facts}</table><h5>Random effects</h5>{random}"
            f"<h5>Fixed effects</h5>{fixed}{notes}<p><b>{escape(self.status.code)}</b>: "
            f"{escape(self.status.message)}</p>"
        )


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
    table = pd.DataFrame(rows, dtype=object)
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
    values: Sequence[float] | Numbers, reference: Sequence[float] | Numbers | None = None, digits: int = 3
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


def _text_table(table: pd.DataFrame, left: int) -> list[str]:
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


def describe_counts(nobs: int, n_levels: dict[str, int], dropped: str) -> str:
    """Return ``"180 observations; Subject: 18 levels"``."""
    levels = "; ".join(
        f"{name}: {count} levels" if count != 1 else f"{name}: 1 level" for name, count in n_levels.items()
    )
    return "; ".join(part for part in (f"{nobs} observations", levels, dropped) if part)
