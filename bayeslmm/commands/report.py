"""``bayeslmm report``: the HTML page of a result folder."""

import argparse
from pathlib import Path

from bayeslmm.commands.outcome import NOT_TRUSTED, Outcome, chosen_fits
from bayeslmm.methods import METHODS
from bayeslmm.result_folder import REPORT_FILE

HELP = "write the report of a result folder"


def add(parser: argparse.ArgumentParser) -> None:
    """State the arguments."""
    parser.add_argument("folder", type=Path, help="a result folder or one saved fit")
    parser.add_argument("--output", type=Path, metavar="FILE.html", help=f"default: {REPORT_FILE} in the folder")
    parser.add_argument("--method", choices=METHODS, help="only this fit")
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures")


def run(options: argparse.Namespace) -> Outcome:
    """Write one page with everything in it: the first posterior, or the first fit, beside the others."""
    first, *others = chosen_fits(options.folder, options.method)
    path = first.report(options.output or options.folder / REPORT_FILE, compare=others, pictures=not options.no_plots)
    codes = {fit.method: fit.status.code for fit in (first, *others)}
    code = 0 if all(fit.status.ok for fit in (first, *others)) else NOT_TRUSTED
    return Outcome(f"Written to {path}", {"report": str(path), "status": codes}, code)
