"""``bayeslmm predict``: rows of a table predicted by a saved fit."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bayeslmm.commands.outcome import NOT_TRUSTED, Outcome, chosen_fits
from bayeslmm.commands.table_options import add_csv, csv_options
from bayeslmm.datasets import read_table
from bayeslmm.errors import StorageError, counted
from bayeslmm.files import whole_file
from bayeslmm.methods import METHODS

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

HELP = "predict the rows of a table by a saved fit"


def add(parser: argparse.ArgumentParser) -> None:
    """State the arguments."""
    parser.add_argument("folder", type=Path, help="a result folder or one saved fit")
    parser.add_argument("data", type=Path, help="a table with the columns of the formula")
    add_csv(parser)
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="where to; default: printed")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    parser.add_argument("--method", choices=METHODS, help="which fit; default: a posterior if there is one")
    parser.add_argument("--interval", type=float, default=0.95, metavar="P", help="probability; default: 0.95")
    parser.add_argument(
        "--kind",
        choices=("mean", "response"),
        help="what the limits are for; default: a new response, or the mean for the likelihood's fit of another family",
    )
    parser.add_argument(
        "--new-levels",
        choices=("error", "sample", "population"),
        default="error",
        help="what a level unknown to the fit gets",
    )
    parser.add_argument("--seed", type=int, help="seed of what is drawn")


def run(options: argparse.Namespace) -> Outcome:
    """Predict the rows of a table, with limits, by a saved fit."""
    output: Path | None = options.output
    if output is not None and output.exists() and not (options.overwrite and output.is_file()):
        raise StorageError(f"{output} is there already. Give --overwrite to replace it, or another --output.")
    if output is not None and not output.absolute().parent.is_dir():
        raise StorageError(f"{output} cannot be written: there is no folder {output.parent}.")
    fit = chosen_fits(options.folder, options.method)[0]
    rows = read_table(options.data, **csv_options(options))
    found = fit.predict(
        rows,
        kind=options.kind or _kind(fit),
        interval=options.interval,
        new_levels=options.new_levels,
        seed=options.seed,
    )
    table = rows.join(found.rename(columns={name: _free(name, list(rows.columns)) for name in found.columns}))
    code = 0 if fit.status.ok else NOT_TRUSTED
    facts = {"method": fit.method, "status": fit.status.code, "message": fit.status.message}
    if output is None:
        return Outcome(table.to_csv(index=False).rstrip("\n"), {**facts, "predictions": found}, code)
    with whole_file(output) as partial:
        table.to_csv(partial, index=False)
    said = f"{counted(len(table), 'row')} predicted by {fit.method} ({fit.status.code}); written to {output}"
    return Outcome(said, {**facts, "rows": len(table), "output": str(output)}, code)


def _kind(fit: "Fit") -> Literal["mean", "response"]:
    """Return what limits a fit has: a generalized fit by the likelihood has those of the mean only."""
    from bayeslmm.results.generalized import GeneralizedPointFit

    return "mean" if isinstance(fit, GeneralizedPointFit) else "response"


def _free(name: str, taken: list[str]) -> str:
    """Return a name that is no column of the table."""
    while name in taken:
        name = f"{name}_"
    return name
