"""``python -m benchmarks.calibration [folder] [--only-report]``: the long runs and their report."""

import argparse
import sys
import time

from benchmarks.calibration.report import write_report

INTERVAL = 30.0  # seconds between lines of progress


def main(arguments: list[str] | None = None) -> int:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("folder", nargs="?", default="docs/calibration", help="where the report goes")
    parser.add_argument(
        "--only-report", action="store_true", help="run nothing: write about the results that are there"
    )
    options = parser.parse_args(arguments)
    last = 0.0

    def report(what: str, done: int) -> None:
        nonlocal last
        if time.monotonic() - last > INTERVAL:
            last = time.monotonic()
            print(f"{what}: {done} done", file=sys.stderr, flush=True)

    print(write_report(options.folder, report, run=not options.only_report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
