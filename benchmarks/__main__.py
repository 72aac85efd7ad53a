"""Run the benchmarks: ``python -m benchmarks`` from the root of the repository.

Every row runs against each peer that is installed, in pairs; the table of ratios is printed and saved in
``benchmarks/results``. Rows are the files in ``benchmarks/rows``.
"""

import argparse
import sys
import warnings
from pathlib import Path

from benchmarks.report import machine, markdown, save
from benchmarks.row import Settings
from benchmarks.rows import all_rows

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    rows = all_rows()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data, two pairs: does everything run?")
    parser.add_argument("--repeats", type=int, default=5, help="pairs per comparison (default 5)")
    parser.add_argument("--rows", nargs="+", choices=list(rows), default=list(rows), help="only these rows")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    chosen = parser.parse_args()
    settings = Settings(2 if chosen.quick else chosen.repeats, chosen.quick)
    about = machine()
    outcomes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers' warnings about convergence are not ours to show
        for name in chosen.rows:
            print(f"{name} ...", file=sys.stderr, flush=True)
            outcomes.extend(rows[name].run(settings))
            saved = save(outcomes, about, settings, chosen.output)  # after every row: a long run may be stopped
    print(markdown(outcomes, about))
    print(f"Saved in {saved}")


if __name__ == "__main__":
    main()
