"""A page of HTML from its parts. Every text is escaped: labels of data are a stranger's."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Literal

import pandas as pd

from bayeslmm.report.style import STYLE

Tone = Literal["good", "doubt", "bad"]

GENERATOR = "bayeslmm"
# Nothing may be fetched or run, whatever the page is made to hold: a second wall behind the escaping.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a fit can be trusted.

    Attributes
    ----------
    name
        Which fit is judged.
    tone
        "good", "doubt" or "bad": the colour.
    sentence
        The judgement.
    """

    name: str
    tone: Tone
    sentence: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    frame
        Cells ready to print; its index is not shown. Columns may have two levels, of which the upper one is
        printed above the columns it covers.
    labels
        How many columns, from the left, hold texts and not numbers; those are aligned left.
    """

    frame: pd.DataFrame
    labels: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that the page carries within itself.

    Attributes
    ----------
    caption
        Said above it, and read out where it cannot be seen.
    png
        The image.
    width, height
        Size in CSS pixels.
    """

    caption: str
    png: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Fold:
    """A table that stays folded until the reader opens it."""

    title: str
    table: Table


@dataclass(frozen=True, slots=True)
class Code:
    """Lines of a program, shown as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML made by the package: equations and drawings, the labels in it escaped by those who make it."""

    html: str


Part = str | Table | Picture | Fold | Code | Markup


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what follows it: sentences, tables, pictures."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What a report says, from top to bottom.

    Attributes
    ----------
    title
        The heading, and the name of the browser's tab.
    formula
        The model as the user wrote it.
    verdicts
        Whether each fit can be trusted.
    facts
        Pairs of a label and a text.
    sections
        The rest.
    footer
        The last line.
    """

    title: str
    formula: str
    verdicts: tuple[Verdict, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    footer: str


def page_html(page: Page) -> str:
    """Return a page as one HTML document that needs nothing from outside and runs no scripts."""
    verdicts = "".join(
        f'<p class="verdict {escape(v.tone)}"><b>{escape(v.name)}</b> {escape(v.sentence)}</p>\n' for v in page.verdicts
    )
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>\n" for label, text in page.facts)
    sections = "".join(_section_html(section) for section in page.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{GENERATOR}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}: {escape(page.formula)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f'<body>\n<main>\n<h1>{escape(page.title)}</h1>\n<code class="formula">{escape(page.formula)}</code>\n'
        f'{verdicts}<dl class="facts">\n{facts}</dl>\n{sections}'
        f"<footer>{escape(page.footer)}</footer>\n</main>\n</body>\n</html>\n"
    )


def _section_html(section: Section) -> str:
    parts = "".join(_part_html(part) for part in section.parts)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{parts}</section>\n"


def _part_html(part: Part) -> str:
    match part:
        case Table():
            return table_html(part)
        case Picture():
            return picture_html(part)
        case Code():
            return f'<div class="scroll"><pre>{escape(part.text)}</pre></div>\n'
        case Markup():
            return part.html
        case Fold():
            return f"<details><summary>{escape(part.title)}</summary>{table_html(part.table)}</details>\n"
        case _:
            return f'<p class="note">{escape(part)}</p>\n'


def picture_html(picture: Picture) -> str:
    """Return a picture with its caption, its data within the page."""
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f"<figure><figcaption>{escape(picture.caption)}</figcaption>"
        f'<img alt="{escape(picture.caption)}" width="{picture.width}" height="{picture.height}" '
        f'src="data:image/png;base64,{data}"></figure>\n'
    )


def table_html(table: Table) -> str:
    """Return a table that scrolls by itself where the page is narrower."""
    rows = "".join(_row_html(row, table.labels) for row in table.frame.itertuples(index=False, name=None))
    head = _head_html(table.frame.columns, table.labels)
    return f'<div class="scroll"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'


def _row_html(row: Sequence[object], labels: int) -> str:
    cells = []
    for place, value in enumerate(row):
        text = escape(str(value))
        if place == 0 and labels:
            cells.append(f'<th scope="row" class="label">{text}</th>')
        else:
            cells.append(f'<td class="label">{text}</td>' if place < labels else f"<td>{text}</td>")
    return f"<tr>{''.join(cells)}</tr>\n"


def _head_html(columns: pd.Index, labels: int) -> str:
    if columns.nlevels == 1:
        cells = [
            f'<th scope="col"{_label_class(place, labels)}>{escape(str(c))}</th>' for place, c in enumerate(columns)
        ]
        return f"<tr>{''.join(cells)}</tr>"
    upper = [f'<th scope="col" rowspan="2" class="label">{escape(str(column[0]))}</th>' for column in columns[:labels]]
    for name, covered in groupby(columns[labels:], key=lambda column: column[0]):
        span = len(list(covered))
        upper.append(f'<th scope="colgroup" class="group" colspan="{span}">{escape(str(name))}</th>')
    lower = [f'<th scope="col">{escape(str(column[1]))}</th>' for column in columns[labels:]]
    return f"<tr>{''.join(upper)}</tr><tr>{''.join(lower)}</tr>"


def _label_class(place: int, labels: int) -> str:
    return ' class="label"' if place < labels else ""
