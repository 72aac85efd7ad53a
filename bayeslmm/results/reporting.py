"""A fit as an HTML report: which facts, tables and pictures it shows."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm import __version__
from bayeslmm.design.design import RandomTerm
from bayeslmm.design.streamed import StreamedDesign, is_streamed
from bayeslmm.errors import OptionError, check_level, check_switch, counted
from bayeslmm.report import Fold, Page, Section, Table, Verdict, page_html, write_page
from bayeslmm.report.file import check_place
from bayeslmm.report.page import Part, Tone
from bayeslmm.results.comparison import compare, fit_labels
from bayeslmm.results.fit import Fit
from bayeslmm.results.generalized import GeneralizedPointFit
from bayeslmm.results.pictures import available, draw
from bayeslmm.results.point import PointFit
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.report_pictures import report_picture
from bayeslmm.results.report_sections import AFTER_PRIORS, BEFORE_DATA, LAST, filled
from bayeslmm.results.tables import aligned, comparison_cells, number

MOST_LEVELS = 200  # levels whose effects a reader may unfold; the picture shows more
NEED_NO_EFFECTS = ("trace", "elbo", "history")
MOST_TERMS = 4  # random terms drawn
TONES: dict[str, Tone] = {
    "converged": "good", "ok": "good", "boundary": "doubt", "doubtful": "doubt", "failed": "bad",
}  # fmt: skip
CAPTIONS = {
    "residuals": "Residuals (times the square root of the weights, where there are any)",
    "trace": "Densities and traces of the chains: they should lie on each other and show no trend",
    "ppc": "The response, and responses simulated from the posterior",
    "elbo": "The evidence lower bound at every step: it should have stopped rising",
    "history": "The objective at every evaluation of the optimiser",
}
OF_FAMILIES = "Quantile residuals, which vary like a standard normal distribution where the model is right"
READING = {
    "point": "z is the estimate divided by its standard error; p compares it with the normal distribution, which is "
    "too hopeful where there are few groups.",
    "t": "t is the estimate divided by its standard error; p compares it with Student's t distribution with df "
    "degrees of freedom, by Satterthwaite's formula unless stated otherwise.",
    "map": "The mode of the posterior of standard deviations, correlations and sigma, and of coefficients whose priors "
    "are Student t, Cauchy, Laplace or logistic; estimates and standard errors of other coefficients are those given "
    "it. The mode depends on the parameters it is taken in; the posterior mean does not.",
    "posterior": "Mean and sd of the posterior, and the limits between which the stated share of it lies, with equal "
    "tails. ESS: effective draws. R-hat: 1 where the chains agree.",
    "importance": "Mean and sd of the posterior, and the limits between which the stated share of it lies, with equal "
    "tails. What standard deviations, correlations and sigma are worth is the effective size said above; ESS and R-hat "
    "are those of the draws taken from the weighted points.",
}


def write_report(
    fit: Fit, path: Path, others: Fit | Sequence[Fit] = (), *, level: float = 0.95, pictures: bool = True
) -> Path:
    """Write the report of a fit; see :meth:`Fit.report`."""
    others = (others,) if isinstance(others, Fit) else others
    if not isinstance(others, list | tuple) or not all(isinstance(other, Fit) for other in others):
        raise OptionError(f"compare={others!r} is not possible; give a fit, or a list of fits.")
    check_switch("pictures", pictures)
    check_level(level)
    path = path.absolute()
    check_place(path)
    return write_page(page_html(report_page(fit, tuple(others), level, pictures)), path)


def report_page(fit: Fit, others: Sequence[Fit], level: float, pictures: bool) -> Page:
    """Return what the report of a fit says."""
    summary = fit.summary(level)
    names = fit_labels((fit, *others))
    verdicts = tuple(_verdict(name, found) for name, found in zip(names, (fit, *others), strict=True))
    kind = fit.method if fit.method in READING else "posterior" if isinstance(fit, PosteriorFit) else "point"
    kind = "t" if kind == "point" and "t" in summary.fixed else kind
    sections = [
        Section("Fixed effects", (Table(_with_labels(summary.fixed)), READING[kind], *summary.notes)),
        Section("Standard deviations and correlations", (Table(summary.random, labels=2),)),
    ]
    if not len(summary.fixed):
        del sections[0]
    if others:
        sections.append(_comparison(fit, others, level))
    sections += [*filled(BEFORE_DATA, fit, level, pictures), _data(fit), *_priors(fit)]
    sections += filled(AFTER_PRIORS, fit, level, pictures)
    if pictures:
        sections.append(_pictures(fit, others, level))
    sections += [*_effects(fit), *filled(LAST, fit, level, pictures)]
    facts = (*((label, text) for label, text in summary.facts if label != "Formula"), *_optimum(fit))
    footer = f"Written by bayeslmm {__version__} on {date.today().isoformat()}."
    return Page(summary.title, fit.formula, verdicts, facts, tuple(sections), footer)


def _optimum(fit: Fit) -> list[tuple[str, str]]:
    """Return what is known of the place where a search ended."""
    if not isinstance(fit, PointFit) or fit.method == "map" or not len(fit.theta):
        return []
    if isinstance(fit, GeneralizedPointFit):
        return [("Optimum", f"scaled gradient {fit.gradient_norm:.1e}")]
    least = fit.smallest_eigenvalue
    return [("Optimum", f"scaled gradient {fit.gradient_norm:.1e}, smallest eigenvalue of the Hessian {least:.3g}")]


def _verdict(name: str, fit: Fit) -> Verdict:
    code, message = fit.status.code, fit.status.message
    said = message.lower().startswith(code)
    return Verdict(f"{name}:" if said else f"{name}: {code}.", TONES[code], message)


def _with_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index()


def _comparison(fit: Fit, others: Sequence[Fit], level: float) -> Section:
    table = comparison_cells(compare(fit, *others, level=level))
    table.columns = pd.MultiIndex.from_tuples([(str(a), str(b).replace("_", " ")) for a, b in table.columns])
    table.insert(0, ("Parameter", ""), [str(name) for name in table.index])
    return Section("Beside other fits", (Table(table),))


def _data(fit: Fit) -> Section:
    design = fit.design
    if isinstance(design, StreamedDesign):
        told = design.summaries.response
        numbers = [float(values[0]) for values in (told.mean, told.sd, told.low, told.high)]
    else:
        numbers = [*_moments(design.y), design.y.min(), design.y.max()]
    response = pd.DataFrame(
        [[design.response, f"{fit.nobs}", *map(number, numbers)]],
        columns=["Response", "Rows", "Mean", "SD", "Smallest", "Largest"],
    )
    parts: list[str | Table] = [Table(response)]
    factors = {term.factor: term for term in fit.design.terms}
    if factors and is_streamed(design):
        levels = [[factor, f"{term.n_levels}"] for factor, term in factors.items()]
        parts.append(Table(pd.DataFrame(levels, columns=["Grouping factor", "Levels"])))
    elif factors:
        rows = [[factor, f"{term.n_levels}", *_rows_per_level(term)] for factor, term in factors.items()]
        parts.append(
            Table(pd.DataFrame(rows, columns=["Grouping factor", "Levels", "Fewest rows", "Median", "Most rows"]))
        )
    return Section("Data", tuple(parts))


def _moments(y: np.ndarray) -> tuple[float, float]:
    return float(np.mean(y)), float(np.std(y, ddof=1)) if len(y) > 1 else float("nan")


def _rows_per_level(term: RandomTerm) -> list[str]:
    counts = np.bincount(term.codes, minlength=term.n_levels)
    return [f"{counts.min()}", f"{np.median(counts):g}", f"{counts.max()}"]


def _priors(fit: Fit) -> list[Section]:
    priors = getattr(fit, "priors", None)
    if priors is None:
        return []
    table = priors.table().astype(str).rename(columns=str.capitalize)
    sensitivity = [fit.prior_sensitivity().message] if isinstance(fit, PosteriorFit) else []
    said = (*priors.warnings, *(text for text in sensitivity if text))
    return [Section("Priors", (Table(table, labels=table.shape[1]), *said))]


def _told_terms(fit: Fit) -> list[RandomTerm]:
    """Return the random terms whose effects the fit has: draws of others may not have been kept."""
    if not isinstance(fit, PosteriorFit):
        return list(fit.design.terms)
    return [term for term, b in zip(fit.design.terms, fit.draws.effects, strict=True) if b.shape[2] > 0]


def _effects(fit: Fit) -> list[Section]:
    """Return the random effects by level, folded, of the terms that have few enough levels to read."""
    folds: list[Part] = []
    terms = [term for term in _told_terms(fit) if term.n_levels <= MOST_LEVELS]
    modes, sds = (fit.ranef(), fit.ranef_sd()) if terms else ({}, {})
    for term in terms:
        columns = {(str(term.factor), ""): [str(level) for level in term.levels]}
        for effect in term.effects:
            columns[effect, "effect"] = aligned(modes[term.name][effect], sds[term.name][effect])
            columns[effect, "sd"] = aligned(sds[term.name][effect])
        table = pd.DataFrame(columns)
        table.columns = pd.MultiIndex.from_tuples(list(columns))
        folds.append(Fold(f"{term.name}: {counted(term.n_levels, 'level')}", Table(table)))
    return [Section("Random effects by level", tuple(folds))] if folds else []


def _pictures(fit: Fit, others: Sequence[Fit], level: float) -> Section:
    kinds = available(fit)
    parts = [
        report_picture(
            f"Estimates with {100 * level:.4g}% intervals", draw(fit, "forest", {"against": others, "level": level})
        )
    ]
    told = _told_terms(fit)
    for term in told[:MOST_TERMS]:
        caption = f"Random effects of {term.name}, in order, with plus and minus two standard deviations"
        parts.append(report_picture(caption, draw(fit, "ranef", {"group": term.name})))
    whole = len(told) == len(fit.design.terms) and not is_streamed(fit.design)
    for kind in ("ppc", "residuals", "trace", "elbo", "history"):
        if kind in kinds and (whole or kind in NEED_NO_EFFECTS):
            options = {"seed": 0} if kind == "ppc" else {}
            caption = CAPTIONS[kind]
            if kind == "residuals" and fit.design.outcome is not None:
                caption = OF_FAMILIES
            parts.append(report_picture(caption, draw(fit, kind, options)))
    return Section("Pictures", tuple(parts))
