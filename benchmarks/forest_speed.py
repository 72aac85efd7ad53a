"""Time of one EM iteration with a linear learner, against merf: python benchmarks/forest_speed.py [python with merf].

merf is no dependency: give the path of an interpreter that has it (``pip install merf`` in a virtual
environment of its own), and both are timed in one run, on the same data. Without it only our own times are
printed.
"""

import json
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd

CASES = {"100,000 rows, 5,000 groups": (5000, 20), "10,000 rows, 20 groups": (20, 500)}
REPEATS = 5

MERF = """
import json, logging, sys, time
import numpy as np, pandas as pd
from merf import MERF
from sklearn.linear_model import LinearRegression
logging.disable(logging.CRITICAL)
n_groups, size, seed = json.loads(sys.argv[1])
rng = np.random.default_rng(seed)
n = n_groups * size
X = pd.DataFrame(rng.standard_normal((n, 5)), columns=list("abcde"))
g = np.repeat(np.arange(n_groups), size)
b = rng.standard_normal((n_groups, 2))
y = X["a"] + b[g, 0] + b[g, 1] * X["b"] + rng.standard_normal(n)
Z = pd.DataFrame({"one": 1.0, "b": X["b"]})
started = time.perf_counter()
model = MERF(LinearRegression(), max_iterations=1).fit(X, Z, pd.Series(g), pd.Series(y))
print(json.dumps([time.perf_counter() - started, float(model.gll_history[-1])]))
"""


def simulate(n_groups: int, size: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Return predictors with the grouping column, and a response with correlated slopes."""
    rng = np.random.default_rng(seed)
    n = n_groups * size
    X = pd.DataFrame(rng.standard_normal((n, 5)), columns=list("abcde"))
    g = np.repeat(np.arange(n_groups), size)
    b = rng.standard_normal((n_groups, 2))
    y = X["a"] + b[g, 0] + b[g, 1] * X["b"] + rng.standard_normal(n)
    return X.assign(g=g), pd.Series(y)


def ours(n_groups: int, size: int, seed: int) -> tuple[float, float, float]:
    """Return seconds, GLL and peak memory in MB of one iteration."""
    from sklearn.linear_model import LinearRegression

    from bayeslmm import MixedEffectsForest

    X, y = simulate(n_groups, size, seed)
    seconds = []
    for _ in range(REPEATS):
        forest = MixedEffectsForest("(1 + b | g)", LinearRegression(), residuals="inbag", max_iterations=1)
        started = time.perf_counter()
        forest.fit(X, y)
        seconds.append(time.perf_counter() - started)
    tracemalloc.start()
    forest.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return min(seconds), float(forest.gll_[-1]), peak


def merf(python: str, n_groups: int, size: int, seed: int) -> tuple[float, float]:
    """Return seconds and GLL of one iteration of merf."""
    arguments = [python, "-c", MERF, json.dumps([n_groups, size, seed])]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    seconds, gll = json.loads(printed.splitlines()[-1])
    return seconds, gll


def learner_share() -> float:
    """Return the share of the time outside the learner's own fit and predict, 100,000 rows with a random forest."""
    from sklearn.ensemble import RandomForestRegressor

    from bayeslmm import MixedEffectsForest

    inside = 0.0

    class Timed(RandomForestRegressor):
        def fit(self, *arguments, **keywords):
            nonlocal inside
            started = time.perf_counter()
            result = super().fit(*arguments, **keywords)
            inside += time.perf_counter() - started
            return result

        def predict(self, *arguments):
            nonlocal inside
            started = time.perf_counter()
            result = super().predict(*arguments)
            inside += time.perf_counter() - started
            return result

    X, y = simulate(5000, 20, 1)
    forest = MixedEffectsForest("(1 + b | g)", Timed(10, min_samples_leaf=20, n_jobs=1), max_iterations=2)
    started = time.perf_counter()
    forest.fit(X, y)
    whole = time.perf_counter() - started
    return 1 - inside / whole


def main() -> None:
    """Print the table."""
    python = sys.argv[1] if len(sys.argv) > 1 else None
    for name, (n_groups, size) in CASES.items():
        seconds, gll, peak = ours(n_groups, size, 1)
        line = f"{name}: {seconds:.3f} s, peak {peak:.0f} MB, GLL {gll:.4f}"
        if python:
            theirs, their_gll = merf(python, n_groups, size, 1)
            line += f"; merf {theirs:.2f} s, GLL {their_gll:.4f}: {theirs / seconds:.0f} times"
        print(line, flush=True)
    print(f"share outside the learner, 100,000 rows, forest of 10 trees: {learner_share():.1%}")


if __name__ == "__main__":
    main()
