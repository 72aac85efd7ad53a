"""Arguments that say how a table of text is written."""

import argparse

from bayeslmm.model_files import check_csv


def add_csv(parser: argparse.ArgumentParser) -> None:
    """State the arguments."""
    parser.add_argument(
        "--separator", metavar="SIGN", help="what separates the columns of a CSV file; default: a comma"
    )
    parser.add_argument("--decimal", metavar="SIGN", help="its decimal point; default: .")


def csv_options(options: argparse.Namespace) -> dict[str, str]:
    """Return what was stated, checked."""
    named = {name: getattr(options, name) for name in ("separator", "decimal")}
    stated = {name: value.replace("\\t", "\t") for name, value in named.items() if value is not None}
    return check_csv(stated, "--separator and --decimal") if stated else {}
