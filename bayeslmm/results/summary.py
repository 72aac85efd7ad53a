"""A fit printed for a reader: plain text for the terminal, tables for a notebook."""

from dataclasses import dataclass, field
from html import escape

import pandas as pd

from bayeslmm.errors import counted
from bayeslmm.families import Family, Response
from bayeslmm.results.status import Status
from bayeslmm.results.tables import text_table

MOST_CATEGORIES = 8  # listed


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
        lines += ["Random effects", *text_table(self.random, left=2), ""]
        if len(self.fixed):
            lines += ["Fixed effects", *text_table(self.fixed.reset_index(), left=1), ""]
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


def describe_counts(nobs: int, n_levels: dict[str, int], dropped: str) -> str:
    """Return ``"180 observations; Subject: 18 levels"``."""
    levels = "; ".join(f"{name}: {counted(count, 'level')}" for name, count in n_levels.items())
    return "; ".join(part for part in (counted(nobs, "observation"), levels, dropped) if part)


def describe_family(family: Family, outcome: Response) -> list[tuple[str, str]]:
    """Return facts of the distribution: its link, and which category is modelled or the order of several."""
    facts = [("Family", f"{family.name}, link {family.link.name}")]
    if outcome.modelled is not None:
        facts.append(("Modelled", f"the probability of {outcome.modelled!r}"))
    elif outcome.categories:
        names = [str(category) for category in outcome.categories]
        if len(names) > MOST_CATEGORIES:
            names[MOST_CATEGORIES - 2 : -1] = ["..."]
        facts.append(("Order", " < ".join(names)))
    return facts
