"""The calibration report: long runs, their figures and tables, as a page of Markdown."""

import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.validation.calibration import Calibration
from bayeslmm.validation.coverage import LEVELS, under_coverage
from benchmarks.calibration.plan import (
    AGREEMENT_TABLES,
    COVERAGE_SIMULATIONS,
    FAMILY_TABLES,
    HARD_TABLES,
    PREDICTION_LEVEL,
    TWENTY_TABLES,
    Report,
    calibration_cells,
    coverage_cells,
    prediction_cells,
)
from benchmarks.calibration.stored import file_stem

PACKAGES = ("bayeslmm", "numpy", "scipy", "numba", "nutpie", "pymc")
COLUMNS_OF_PANELS = 4
PANEL_WIDTH, PANEL_HEIGHT = 2.4, 1.7  # inches
RESULTS = "results"

INTRODUCTION = """# Calibration report

Made by `python -m benchmarks.calibration`, {date}. {versions}.

Parameters are drawn from explicit priors, data from the parameters, and each method is asked for the posterior
of the data under the same priors. Then the truth's rank among the draws is uniform for every parameter, and
central intervals contain the truth as often as they say. The priors are fixed before the data; no rule that
reads the response plays a part. The designs are small on purpose (40 to 90 rows, unequal groups, a covariate
far from centred), where approximations show.
"""
CALIBRATION = """
## Simulation-based calibration

Ranked: every standard deviation, correlation, sigma and coefficient; the random effects of each term's largest
and smallest level; the log-likelihood of the data given all parameters; the mean of a new level. A curve is the
distribution function of the ranks less the uniform one; the band holds a calibrated curve everywhere at once
with probability 99%, exactly. So one quantity in a hundred leaves its band by chance: `smallest p` is over a
row's quantities, `expected below` what the smallest of so many independent p-values would be in the middle of
its distribution. `handed over` counts data sets whose weights were in trouble, which importance sampling left
to NUTS, and those on which the non-centred hierarchy mixed too slowly, which the centred one solved. The
two kinds of NUTS see the same data sets, and both designs with a correlated slope the same parameters: where those
happen to lie off the middle of their priors, all these rows show it.

Studies named after a family are generalized models, whose data sets go through `Model` and `fit` as a user's do; the
log-likelihood is that given all coefficients and effects.

{table}

Of {quantities} quantities {outside} left their 99% band; {expected:.1f} would by chance.
{named}
"""
COVERAGE = """
## Coverage of intervals

{simulations} data sets. Standard errors are in brackets; the last column lists the levels that are missed by more than
three of them. ML, REML and MAP give estimate ± z standard errors for coefficients, and mode ± z conditional standard
deviations for random effects (those given theta, sigma and beta, as lme4's `condVar`); they give no intervals
for standard deviations, correlations and sigma here (there are no profile intervals), so these have no row.

{table}

{sentences}
"""
SHORTFALL = """
Conditional standard deviations leave out what is not known of the coefficients and of the covariance
parameters: with few groups, random effects and their mean are hardly told apart, and mode ± z conditional sd
covers far too little.
"""
PREDICTIONS = """
## Coverage of predictions

Intervals of {level:.0%} for new responses, at fixed parameters: new rows of the groups in the data, and rows of groups
that are not (`new_levels="sample"`). Designs: 8 groups of 3 to 7 rows; 16 groups of 4 to 8 rows with a correlated
slope; 60 of the 80 cells of factors of 10 and 8 levels. "conditional" takes the covariance parameters as known, "full"
does not (`uncertainty="full"`); the posterior has default priors. In brackets the standard error.

{table}
"""
AGREEMENT = """
## Four methods, one posterior

The same data and the same (default) priors by importance sampling, NUTS on the integrated density, and NUTS on the
explicit hierarchy, non-centred and centred. The largest difference between two methods, in Monte Carlo standard errors,
over the means and over the standard deviations of all parameters, every random effect among them. By chance alone the
largest of so many lies between 1.5 and 3.5. The standard errors come from the effective sizes of the draws and of their
squared deviations.

{table}

The smallest effective size, for a mean or a standard deviation, and the number of divergences:

{sizes}
"""
FAMILIES = """
## Response distributions against PyMC

The same data and priors by NUTS and by importance sampling of bayeslmm, and by a long run of `Model.to_pymc` through
nutpie: another density, PyMC's own distributions, another parametrization. The largest difference from that run, in
Monte Carlo standard errors, over the means and over the standard deviations of all parameters, every random effect
among them. By chance alone the largest of so many lies between 1.5 and 3.5. The effective sizes are the smallest, for
a mean or a standard deviation; those of importance sampling are bounded by its weights.

{table}
"""
TWENTY = """
## Twenty covariance parameters

Two crossed factors of 60 and 32 levels, an intercept and three correlated slopes each, 1,800 rows, default
priors. `worst` is the largest difference from NUTS, of means and standard deviations of all covariance
parameters and coefficients, in Monte Carlo standard errors; `worst effect` that of the 368 random effects.
Importance sampling had to leave {troubled} of {count} to NUTS.

{table}
"""
HARD = """
## Models that are singular at their optimum

Two crossed factors with all effects of a factorial design correlated by both, some variances zero: 20 covariance
parameters with 61 and 480 levels and 28,710 rows, 72 with 56 and 32 levels and 1,790 rows. Hamiltonian Monte Carlo,
four chains of 300, against NUTS on the integrated density, in other coordinates. The largest difference, in Monte Carlo
standard errors, over the means and over the standard deviations of each kind of parameter; `shift` is the largest
difference of means in posterior standard deviations. By chance alone the largest of 20 lies near 2, of 700 between 3
and 4.

{table}
"""

MISSING = """
## Not run yet

`python -m benchmarks.calibration` runs what is missing, goes on where an interrupted run stopped, and writes this
page again.

{missing}
"""


def write_report(folder: str | Path, report: Report | None = None, *, run: bool = True) -> Path:
    """Run what has not been run yet, and write the page with its figures.

    Parameters
    ----------
    folder
        Where README.md, the figures and ``results/`` go; results found there are not computed again.
    report
        Called with what is running and the number done.
    run
        Whether to run what is missing; otherwise the page is about what is there.

    Returns
    -------
    Path
        The page.
    """
    target = Path(folder)
    results = target / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    parts = [_introduction(), _calibration_part(target, results, report, run)]
    parts += [_coverage_part(results, report, run), _prediction_part(results, report, run)]
    parts.append(_agreement_part(results, report, run))
    parts.append(_families_part(results, report, run))
    parts.append(_twenty_part(results, report, run))
    parts.append(_hard_part(results, report, run))
    parts.append(_missing_part(results))
    page = target / "README.md"
    page.write_text("".join(parts), encoding="utf-8")
    return page


def _introduction() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return INTRODUCTION.format(
        date=datetime.now(UTC).date().isoformat(), versions=f"Python {platform.python_version()}, {versions}"
    )


def _calibration_part(target: Path, results: Path, report: Report | None, run: bool) -> str:
    found: list[Calibration] = []
    for cell in calibration_cells():
        if run or cell.path(results).exists():
            found.append(cell.run(results, report))
    if not found:
        return ""
    figures = []
    for calibration in found:
        name = f"{file_stem(calibration.study, calibration.method)}.png"
        draw_calibration(calibration, target / name)
        figures.append(f"\n### {calibration.study}, {calibration.method}\n\n![ranks]({name})\n")
    quantities = sum(len(c.names) for c in found)
    outside = [(c, name) for c in found for name in c.outside]
    named = "".join(
        f"\n- {c.study}, {c.method}: {name} (p = {c.p_values[c.names.index(name)]:.2g})" for c, name in outside
    )
    head = CALIBRATION.format(
        table=markdown_table(calibration_rows(found)),
        quantities=quantities,
        outside=len(outside),
        expected=0.01 * quantities,
        named=named,
    )
    return head + "".join(figures)


def _missing_part(results: Path) -> str:
    """Say which runs the page is without."""
    missing = [f"{c.study} by {c.method}" for c in calibration_cells() if not c.path(results).exists()]
    missing += [f"coverage of {c.method}, {c.study}" for c in coverage_cells() if not c.path(results).exists()]
    missing += [f"predictions of {c.method}, {c.study}" for c in prediction_cells() if not c.path(results).exists()]
    missing += [
        said
        for tables in (AGREEMENT_TABLES, FAMILY_TABLES, TWENTY_TABLES, HARD_TABLES)
        for said in tables.not_made(results)
    ]
    return MISSING.format(missing="\n".join(f"- {name}" for name in missing)) if missing else ""


def calibration_rows(found: Sequence[Calibration]) -> pd.DataFrame:
    """Return a row per calibration."""
    rows = []
    for c in found:
        rows.append(
            {
                "design": c.study,
                "method": c.method,
                "simulations": c.n_simulations,
                "draws": c.n_draws,
                "handed over": c.replaced,
                "quantities": len(c.names),
                "outside 99%": len(c.outside),
                "smallest p": f"{c.p_values.min():.2g}",
                "expected below": f"{1 - 0.5 ** (1 / len(c.names)):.2g}",
            }
        )
    return pd.DataFrame(rows)


def _coverage_part(results: Path, report: Report | None, run: bool) -> str:
    tables = [cell.run(results, report) for cell in coverage_cells() if run or cell.path(results).exists()]
    if not tables:
        return ""
    table = pd.concat(tables, ignore_index=True)
    table["under_covers"] = _texts(table["under_covers"])
    shown = table[["study", "method", "kind"]].copy()
    for level in LEVELS:
        name = f"{level:.0%}"
        shown[name] = [
            f"{100 * share:.1f} ({100 * error:.1f})"
            for share, error in zip(table[name], table[f"{name} error"], strict=True)
        ]
    shown["under-covers"] = table["under_covers"]
    sentences = "\n".join(f"- {sentence}" for sentence in under_coverage(table)) or "No method under-covers."
    page = COVERAGE.format(simulations=COVERAGE_SIMULATIONS, table=markdown_table(shown), sentences=sentences)
    return page + SHORTFALL


def _prediction_part(results: Path, report: Report | None, run: bool) -> str:
    tables = [cell.run(results, report) for cell in prediction_cells() if run or cell.path(results).exists()]
    if not tables:
        return ""
    table = pd.concat(tables, ignore_index=True)
    shown = table[["study", "method", "rows"]].copy()
    shown["data sets"] = table["simulations"] - table["failures"]
    shown["coverage"] = [
        f"{100 * c:.1f} ({100 * e:.1f})" for c, e in zip(table["coverage"], table["error"], strict=True)
    ]
    shown["mean width"] = [f"{width:.2f}" for width in table["width"]]
    return PREDICTIONS.format(level=PREDICTION_LEVEL, table=markdown_table(shown))


def _agreement_part(results: Path, report: Report | None, run: bool) -> str:
    table = AGREEMENT_TABLES.run(results, report, run=run)
    if table.empty:
        return ""
    shown = pd.DataFrame(
        {
            "data": table["data"],
            "parameters": table["parameters"],
            "methods": table["first"] + ", " + table["second"],
            **_largest(table),
        }
    )
    return AGREEMENT.format(table=markdown_table(shown), sizes=markdown_table(_sizes(table)))


def _families_part(results: Path, report: Report | None, run: bool) -> str:
    table = FAMILY_TABLES.run(results, report, run=run)
    if table.empty:
        return ""
    shown = pd.DataFrame(
        {
            "model": table["data"],
            "method": table["method"],
            "parameters": table["parameters"],
            **_largest(table),
            **_beside(table, "PyMC"),
        }
    )
    return FAMILIES.format(table=markdown_table(shown))


def _largest(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the largest differences of means and of sds, with the parameters they are of."""
    pairs = {"means": ("mean_z", "mean_of"), "sds": ("sd_z", "sd_of")}
    return {
        name: [f"{z:.1f} ({which})" for z, which in zip(table[size], table[of], strict=True)]
        for name, (size, of) in pairs.items()
    }


def _beside(table: pd.DataFrame, reference: str) -> dict[str, list[str]]:
    """Return effective draws and divergences of a method and of what it is compared with."""
    divergences = zip(table["divergences"], table["reference_divergences"], strict=True)
    return {
        "effective draws": [f"{size:.0f}" for size in table["ess"]],
        f"of {reference}": [f"{size:.0f}" for size in table["reference_ess"]],
        "divergences": [f"{own}, {other}" for own, other in divergences],
    }


def _sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per data set and a column per method: effective size, and divergences where there are any."""
    found: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        for side in ("first", "second"):
            divergences = row[f"{side}_divergences"]
            note = f" ({divergences} divergent)" if divergences else ""
            found.setdefault(row["data"], {})[row[side]] = f"{row[f'{side}_ess']:.0f}{note}"
    return pd.DataFrame([{"data": name, **cells} for name, cells in found.items()])


def _twenty_part(results: Path, report: Report | None, run: bool) -> str:
    table = TWENTY_TABLES.run(results, report, run=run)
    if table.empty:
        return ""
    troubled = sum(map(bool, _texts(table["trouble"])))
    formats: dict[str, Callable[[Any], str]] = {
        "k_hat": "{:.2f}".format,
        "effective_size": "{:.0f}".format,
        "seconds": "{:.1f}".format,
        "nuts_seconds": "{:.0f}".format,
        "nuts_ess": "{:.0f}".format,
        "worst": "{:.1f}".format,
        "worst_effect": "{:.1f}".format,
    }
    shown = table.drop(columns="trouble")
    for name, show in formats.items():
        if name in shown:
            shown[name] = [show(value) if np.isfinite(value) else "" for value in shown[name]]
    shown.columns = [name.replace("_", " ") for name in shown.columns]
    return TWENTY.format(troubled=troubled, count=len(table), table=markdown_table(shown))


def _hard_part(results: Path, report: Report | None, run: bool) -> str:
    table = HARD_TABLES.run(results, report, run=run)
    if table.empty:
        return ""
    shown = pd.DataFrame(
        {
            "model": table["data"],
            "kind": table["kind"],
            "parameters": table["parameters"],
            **_largest(table),
            "shift": [f"{shift:.2f}" for shift in table["shift"]],
            **_beside(table, "NUTS"),
        }
    )
    return HARD.format(table=markdown_table(shown))


def _texts(column: pd.Series) -> list[str]:
    """Return a column read from CSV, where an empty text looks like a missing number."""
    return [value if isinstance(value, str) else "" for value in column]


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a frame as a table of Markdown."""
    lines = [
        "| " + " | ".join(map(str, frame.columns)) + " |",
        "|" + " --- |" * len(frame.columns),
    ]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def draw_calibration(calibration: Calibration, path: Path) -> None:
    """Draw a panel per quantity: the curve and its band."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(calibration.names)
    rows = -(-count // COLUMNS_OF_PANELS)
    figure = Figure(figsize=(COLUMNS_OF_PANELS * PANEL_WIDTH, rows * PANEL_HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS_OF_PANELS, sharex=True, sharey=True, squeeze=False)
    band, curves, outside = calibration.band, calibration.curves, calibration.outside
    n = calibration.n_simulations
    for k, panel in enumerate(axes.flat):
        if k >= count:
            panel.set_visible(False)
            continue
        panel.fill_between(
            band.places, band.lower / n - band.places, band.upper / n - band.places, color="0.85", linewidth=0
        )
        name = calibration.names[k]
        panel.plot(band.places, curves[:, k], color="C3" if name in outside else "C0", linewidth=1.0)
        panel.set_title(name, fontsize=7)
        panel.tick_params(labelsize=6)
    figure.savefig(path, dpi=90)
