"""Hamiltonian Monte Carlo against NUTS in the report: what the comparison says of a small model, and of a wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from bayeslmm.validation.agreement import Agreement, Moments
from benchmarks.calibration.hard import KINDS, SMALL, hamiltonian_against_nuts, largest_by_kind


def moments(shift=0.0):
    names = ("sd_g[a]", "sd_g[b]", "cor_g[a, b]", "sigma", "beta[x]", "r_g[1, a]")
    ones = np.ones(6)
    return Moments(names, 2.0 * ones, 0.1 * ones, ones, 0.1 * ones), replace(
        Moments(names, 2.0 * ones, 0.1 * ones, ones, 0.1 * ones), mean=2.0 + shift * np.eye(6)[1]
    )


def test_the_largest_difference_has_its_kind_and_name():
    rows = {row["kind"]: row for row in largest_by_kind(Agreement(*moments(0.5)))}
    assert [row["parameters"] for row in rows.values()] == [3, 1, 1, 1]
    worst = rows["standard deviations"]
    assert (worst["mean_of"], worst["shift"]) == ("sd_g[b]", 0.5)
    assert worst["mean_z"] == pytest.approx(0.5 / np.hypot(0.1, 0.1))
    assert worst["ess"] == pytest.approx(100.0) and rows["coefficients"]["mean_z"] == 0.0


def test_a_small_model(tmp_path):
    """Twenty parameters of 220 rows, too short to judge: every kind is told, and finished chains are kept."""
    short = replace(SMALL, chains=1, draws=10, tune=10, hmc_draws=5)
    found = hamiltonian_against_nuts("small", short, 3, tmp_path / "chains")
    assert list(found["kind"]) == list(KINDS)
    assert np.isfinite(found[["mean_z", "sd_z", "shift"]]).all().all()
    assert len(list((tmp_path / "chains").glob("chain_*.npz"))) == 1
