"""Models side by side, as papers show them."""

import html
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from bayeslmm.design.names import SIGMA
from bayeslmm.errors import OptionError, is_word
from bayeslmm.results.comparison import fit_labels
from bayeslmm.results.effects import covariance_labels
from bayeslmm.results.fit import Fit
from bayeslmm.results.tables import number

Format = Literal["text", "markdown", "latex", "html"]
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip
MARKDOWN = r"\`*_{}[]<>#|~$&"
CRITERIA = {"AIC": "AIC", "BIC": "BIC", "loglik": "Log-likelihood"}


def table(fits: Sequence[Fit], *, format: Format = "text", names: Sequence[str] | None = None) -> str:
    """Put models side by side, as in a paper.

    Parameters
    ----------
    fits
        Fits of any kind.
    format
        "text", "markdown" (GitHub's tables), "latex" (a tabular with rules of the package booktabs) or "html".
    names
        What to call the models; their methods by default.

    Returns
    -------
    str
        Coefficients with the standard error (of a posterior the standard deviation) in parentheses below, standard
        deviations and correlations of random effects, the residual's standard deviation, numbers of rows and groups,
        and the criteria of fits by ML or REML. Characters that mean something in the format are escaped.

    Raises
    ------
    OptionError
        If there are no fits, something else is among them, the names do not fit, or the format is unknown.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    >>> text = blm.table([model.fit("ml"), model.fit("reml")], format="markdown")
    """
    if not is_word(format, get_args(Format)):
        raise OptionError(f"format={format!r} is unknown; use one of {', '.join(map(repr, get_args(Format)))}.")
    if not isinstance(fits, Fit | Sequence) or isinstance(fits, str):
        raise OptionError(f"fits={fits!r} is not possible; give a fit, or a list of fits.")
    models = [fits] if isinstance(fits, Fit) else list(fits)
    if not models:
        raise OptionError("table needs one fit or more, such as table([fit1, fit2]).")
    for fit in models:
        if not isinstance(fit, Fit):
            raise OptionError(f"table takes fits; {type(fit).__name__} is none.")
    labels = fit_labels(models, names)
    return WRITERS[format](labels, _sections([_cells(fit) for fit in models]))


Cells = list[dict[str, tuple[str, str]]]
Rows = list[list[str]]


def _cells(fit: Fit) -> Cells:
    """Return a fit's sections, each from a row's name to its number and what stands below."""
    tidy, varcorr = fit.tidy(), fit.varcorr()
    fixed = tidy[tidy["effect"] == "fixed"]
    random = tidy[tidy["effect"] == "ran_pars"]
    glance = fit.glance().iloc[0]
    below = [f"({number(error)})" if np.isfinite(error) else "" for error in fixed["std_error"]]
    counts = {"Rows": str(fit.nobs), **{f"Groups: {name}": str(count) for name, count in fit.n_levels.items()}}
    criteria = {shown: f"{glance[name]:.1f}" for name, shown in CRITERIA.items() if np.isfinite(glance[name])}
    return [
        {str(n): (number(v), b) for n, v, b in zip(fixed["term"], fixed["estimate"], below, strict=True)},
        {str(n): (number(v), "") for n, v in zip(covariance_labels(varcorr), random["estimate"], strict=True)},
        {name: (value, "") for name, value in {**counts, **criteria}.items()},
    ]


def _sections(models: Sequence[Cells]) -> list[Rows]:
    """Return the sections' rows of texts: the name, then a cell per model; the line below has no name."""
    sections = []
    for parts in zip(*models, strict=True):
        rows: Rows = []
        names = list(dict.fromkeys(name for part in parts for name in part))
        # the residual and the criteria stay last where a later model brings rows of its own
        last = [name for name in (SIGMA, *CRITERIA.values()) if name in names]
        for name in [*(name for name in names if name not in last), *last]:
            cells = [part.get(name, ("", "")) for part in parts]
            rows.append([name, *(cell for cell, _ in cells)])
            if any(below for _, below in cells):
                rows.append(["", *(below for _, below in cells)])
        if rows:
            sections.append(rows)
    return sections


def _text(labels: Sequence[str], sections: Sequence[Rows]) -> str:
    everything = [["", *labels], *(row for section in sections for row in section)]
    widths = [max(len(row[k]) for row in everything) for k in range(len(labels) + 1)]

    def line(row: Sequence[str]) -> str:
        cells = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()

    rule = "-" * (sum(widths) + 2 * len(labels))
    lines = [line(["", *labels])]
    for section in sections:
        lines += [rule, *map(line, section)]
    return "\n".join(lines)


def _markdown(labels: Sequence[str], sections: Sequence[Rows]) -> str:
    def escape(text: str) -> str:
        return "".join(f"\\{letter}" if letter in MARKDOWN else letter for letter in " ".join(text.split()))

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(map(escape, row)) + " |"

    body = [line(row) for section in sections for row in section]
    return "\n".join([line(["", *labels]), "|:--|" + "--:|" * len(labels), *body])


def _latex(labels: Sequence[str], sections: Sequence[Rows]) -> str:
    def escape(text: str) -> str:
        return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))

    def line(row: Sequence[str]) -> str:
        # a cell that begins with a bracket would be read as an option of the line break before it
        return " & ".join("{[}" + cell[1:] if cell[:1] == "[" else cell for cell in map(escape, row)) + r" \\"

    lines = [rf"\begin{{tabular}}{{l{'r' * len(labels)}}}", r"\toprule", line(["", *labels])]
    for section in sections:
        lines += [r"\midrule", *map(line, section)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _html(labels: Sequence[str], sections: Sequence[Rows]) -> str:
    def line(row: Sequence[str], cell: str) -> str:
        rest = "".join(f'<{cell} style="text-align:right">{html.escape(text)}</{cell}>' for text in row[1:])
        return f'<tr><th style="text-align:left">{html.escape(row[0])}</th>{rest}</tr>'

    bodies = ["<tbody>" + "\n".join(line(row, "td") for row in section) + "</tbody>" for section in sections]
    return "\n".join(["<table>", f"<thead>{line(['', *labels], 'th')}</thead>", *bodies, "</table>"])


WRITERS: dict[str, Callable[[Sequence[str], Sequence[Rows]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "html": _html,
}
