"""Writes data/after_fit.csv: crossed and nested groups, unbalanced factors with an empty cell, counts and trials.

Run from this folder: python make_after_fit_data.py. The numbers of after_fit_reference.json are of this file.
"""

import numpy as np
import pandas as pd

rng = np.random.default_rng(20261128)
n = 240
school, klass, item = np.repeat(np.arange(12), 20), np.repeat(np.arange(48), 5), rng.integers(0, 10, n)
A = rng.choice(list("abc"), n, p=[0.5, 0.3, 0.2])
B = rng.choice(["no", "yes"], n, p=[0.6, 0.4])
C = rng.choice(list("pqr"), n)
C[(A == "c") & (C == "r")] = "p"
x, w = np.round(rng.normal(2, 1.5, n), 3), np.round(rng.uniform(0.5, 3, n), 2)
shift_a = np.array([{"a": 0.0, "b": 1.2, "c": -0.8}[level] for level in A])
shift_b = np.where(B == "yes", 0.9, 0.0)
u = rng.multivariate_normal([0, 0], [[1.2, 0.2], [0.2, 0.15]], 12)
v, it = rng.normal(0, 0.7, 48), rng.normal(0, 0.8, 10)
eta = 10 + shift_a + shift_b + 0.6 * shift_a * shift_b + 0.5 * x - 0.08 * x**2
eta += u[school, 0] + u[school, 1] * x + v[klass] + it[item]
y = np.round(eta + rng.normal(0, 1.3, n) / np.sqrt(w), 3)
logit = -0.4 + 0.6 * shift_a + 0.5 * shift_b - 0.3 * shift_a * shift_b + 0.25 * x + 0.6 * u[school, 0]
trials = rng.integers(4, 13, n)
successes = rng.binomial(trials, 1 / (1 + np.exp(-logit)))
counts = rng.poisson(np.exp(0.6 + 0.3 * shift_a + 0.2 * shift_b + 0.2 * x + 0.4 * u[school, 0] + 0.4 * it[item]))
flat = np.round(5 + 0.5 * shift_a + rng.normal(0, 1, n), 3)
log_mean = 1 + 0.2 * shift_a + 0.15 * shift_b + 0.1 * shift_a * shift_b + 0.05 * x + 0.2 * u[school, 0]
positive = np.round(np.exp(log_mean + rng.normal(0, 0.3, n)), 4)
columns = {
    "school": [f"s{i:02d}" for i in school],
    "klass": [f"k{i:02d}" for i in klass],
    "item": [f"i{i}" for i in item],
    "A": A, "B": B, "C": C, "x": x, "x2": np.round(2 * x + 1, 3), "w": w,
    "y": y, "flat": flat, "yp": positive, "k": successes, "n": trials, "cnt": counts,
}  # fmt: skip
pd.DataFrame(columns).to_csv("data/after_fit.csv", index=False)
