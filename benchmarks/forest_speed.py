"""One EM iteration of a mixed-effects forest against merf's: ``python -m benchmarks.forest_speed``.

merf is no dependency: install it beside the package, or name the interpreter of an environment that has it with
``--merf``. Both run in turn in processes of their own, on the same data, and must reach the same criterion: as they
come, and with one thread each, which helps merf on a busy machine. Also measured are the memory an iteration adds and
the time spent outside the learner. The table is printed and saved in ``benchmarks/results/forest``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import machine, markdown, save
from benchmarks.row import Outcome, Settings

RESULTS = Path(__file__).parent / "results" / "forest"
CASES = {
    "10,000 rows in 20 groups of 500": (20, 500, 200.0),
    "100,000 rows in 5,000 groups": (5_000, 20, 50.0),
}
LARGE = "100,000 rows in 5,000 groups"
SIZES = {"200,000 rows in 5,000 groups": (5_000, 40), "100,000 rows in 20,000 groups": (20_000, 5)}
REPEATS = 5  # of our iteration in one process, where merf takes one
SAME = 1e-6  # relative: largest difference of the criteria
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MOST_OUTSIDE = 5.0  # per cent of the time, outside the learner

DATA = """
import gc, json, logging, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from sklearn.linear_model import LinearRegression
logging.disable(logging.CRITICAL)
n_groups, size, seed, repeats = json.loads(sys.argv[1])

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

def simulate(n_groups, size):
    rng = np.random.default_rng(seed)
    n = n_groups * size
    X = pd.DataFrame(rng.standard_normal((n, 5)), columns=list("abcde"))
    g = np.repeat(np.arange(n_groups), size)
    b = rng.standard_normal((n_groups, 2))
    y = X["a"] + b[g, 0] + b[g, 1] * X["b"] + rng.standard_normal(n)
    return X, pd.Series(g, name="g"), pd.Series(y)

def measure(iterate):
    iterate(*simulate(10, 5))
    data = simulate(n_groups, size)
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    seconds, processor = [], []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        criterion = iterate(*data)
        seconds.append(time.perf_counter() - clock)
        processor.append(time.process_time() - cpu)
        if len(seconds) == 1:
            added = status("VmHWM") - before
    print(json.dumps({"seconds": seconds, "processor": processor, "criterion": criterion, "added": added}))
"""

OURS = f"""{DATA}
from bayeslmm import MixedEffectsForest

def iterate(X, g, y):
    forest = MixedEffectsForest("(1 + b | g)", LinearRegression(), residuals="inbag", max_iterations=1)
    return float(forest.fit(X.assign(g=g), y).gll_[-1])

measure(iterate)
"""

MERF = f"""{DATA}
from merf import MERF

def iterate(X, g, y):
    Z = pd.DataFrame({{"one": 1.0, "b": X["b"]}})
    return float(MERF(LinearRegression(), max_iterations=1).fit(X, Z, g, y).gll_history[-1])

measure(iterate)
"""


def run(python: str, script: str, n_groups: int, size: int, repeats: int, one_thread: bool) -> dict[str, Any]:
    """Return medians of seconds and of processor time, the criterion, and MiB added to the peak."""
    arguments = [python, "-c", script, json.dumps([n_groups, size, 1, repeats])]
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    if one_thread:
        environment |= dict.fromkeys(THREADS, "1")
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {name: statistics.median(found[name]) for name in ("seconds", "processor")}


def against_merf(
    name: str, n_groups: int, size: int, bar: float | None, python: str, pairs: int, one_thread: bool
) -> list[Outcome]:
    """Return the rows of time and of memory of one case."""
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(run(sys.executable, OURS, n_groups, size, REPEATS, one_thread))
        theirs.append(run(python, MERF, n_groups, size, 1, one_thread))
        if abs(ours[-1]["criterion"] / theirs[-1]["criterion"] - 1) > SAME:
            raise RuntimeError(f"{name}: criteria {ours[-1]['criterion']} and {theirs[-1]['criterion']} differ")

    def middle(key: str, runs: list[dict[str, Any]]) -> float:
        return statistics.median(found[key] for found in runs)

    ratios = [b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)]
    processor = [b["processor"] / a["processor"] for a, b in zip(ours, theirs, strict=True)]
    detail = {
        "version": "merf 1.0, one thread each" if one_thread else "merf 1.0",
        "criterion": ours[-1]["criterion"],
        "criterion of the peer": theirs[-1]["criterion"],
        "seconds of processor time": [middle("processor", ours), middle("processor", theirs)],
        "ratios": ratios,
        "processor": statistics.median(processor),
    }
    seconds = (middle("seconds", ours), middle("seconds", theirs), statistics.median(ratios))
    added = (middle("added", ours), middle("added", theirs))
    timed = Outcome(f"{name}, linear learner, one iteration", "merf", *seconds, bar, repeats=pairs, detail=detail)
    if one_thread:
        return [timed]
    return [
        timed,
        Outcome(
            f"{name}, memory added", "merf", *added, added[0], repeats=pairs, unit="MiB", detail={"version": "merf 1.0"}
        ),
    ]


def memory(name: str, n_groups: int, size: int, base: float) -> Outcome:
    """Return the row of another number of rows or groups, beside the MiB of 100,000 rows in 5,000 groups."""
    added = run(sys.executable, OURS, n_groups, size, 1, True)["added"]
    return Outcome(f"{name}, memory added", LARGE, added, base, added, repeats=1, unit="MiB")


def outside_learner(n_trees: int = 10) -> Outcome:
    """Return the row of the time outside the learner's own fit and predict: 100,000 rows, a random forest."""
    from sklearn.ensemble import RandomForestRegressor

    from bayeslmm import MixedEffectsForest

    inside = 0.0

    class Timed(RandomForestRegressor):
        def fit(self, *arguments: Any, **keywords: Any) -> Any:
            nonlocal inside
            started = time.perf_counter()
            result = super().fit(*arguments, **keywords)
            inside += time.perf_counter() - started
            return result

        def predict(self, *arguments: Any) -> Any:
            nonlocal inside
            started = time.perf_counter()
            result = super().predict(*arguments)
            inside += time.perf_counter() - started
            return result

    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.standard_normal((100_000, 5)), columns=list("abcde")).assign(g=np.repeat(np.arange(5000), 20))
    b = rng.standard_normal((5000, 2))
    y = pd.Series(X["a"] + b[X["g"], 0] + b[X["g"], 1] * X["b"] + rng.standard_normal(len(X)))
    forest = MixedEffectsForest("(1 + b | g)", Timed(n_trees, min_samples_leaf=20, n_jobs=1), max_iterations=2, seed=1)
    started = time.perf_counter()
    forest.fit(X, y)
    whole = time.perf_counter() - started
    share = 100 * (1 - inside / whole)
    return Outcome(
        f"{LARGE}, cross-fitted forest of {n_trees} trees: time outside the learner",
        "the whole", share, 100.0, share, MOST_OUTSIDE, at_most=True, repeats=1, unit="%",
        detail={"seconds of the whole": whole},
    )  # fmt: skip


def main() -> None:
    """Print the table and save it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forest_speed", description=__doc__)
    parser.add_argument("--merf", default=sys.executable, help="an interpreter that has merf (default: this one)")
    parser.add_argument("--pairs", type=int, default=3, help="pairs per comparison (default 3)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    settings, about = Settings(chosen.pairs), machine()
    outcomes: list[Outcome] = []

    def keep(rows: list[Outcome]) -> Path:
        outcomes.extend(rows)
        return save(outcomes, about, settings, chosen.output)  # after every row: a long run may be stopped

    keep([outside_learner()])
    for name, (n_groups, size, bar) in CASES.items():
        for one_thread in (False, True):
            aim = None if one_thread else bar
            keep(against_merf(name, n_groups, size, aim, chosen.merf, chosen.pairs, one_thread))
    base = next(o.ours for o in outcomes if o.unit == "MiB" and o.row.startswith(LARGE))
    for name, (n_groups, size) in SIZES.items():
        saved = keep([memory(name, n_groups, size, base or 0.0)])
    print(markdown(outcomes, about))
    print(f"Saved in {saved}")


if __name__ == "__main__":
    main()
