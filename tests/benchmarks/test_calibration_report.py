"""The report: results are kept, not run again, and the page shows them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.validation.calibration import Calibration
from bayeslmm.validation.methods import importance
from benchmarks.calibration import plan
from benchmarks.calibration.__main__ import main
from benchmarks.calibration.report import markdown_table
from benchmarks.calibration.stored import file_stem, stored_calibration, stored_table


def calibration(seed=0):
    rng = np.random.default_rng(seed)
    ranks = np.column_stack([rng.integers(0, 64, 120), rng.integers(10, 50, 120)])
    return Calibration("random intercept", "importance", ("sigma", "beta[x]"), ranks, 63, replaced=2)


def test_calibration_is_kept(tmp_path):
    path = tmp_path / "new" / "kept.npz"
    first = stored_calibration(path, calibration)
    second = stored_calibration(path, lambda: pytest.fail("run again"))
    assert np.array_equal(first.ranks, second.ranks)
    assert (second.study, second.method, second.names) == (first.study, first.method, first.names)
    assert (second.n_draws, second.replaced) == (63, 2)
    assert [p.name for p in path.parent.iterdir()] == ["kept.npz"]


def test_interrupted_calibration_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK", 4)
    asked = []

    def sample(problem, n_draws, seed):
        asked.append(seed)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return importance(problem, n_draws, seed)

    cell = plan.CalibrationCell("random intercept", "importance", lambda: sample, 10, 63)
    with pytest.raises(KeyboardInterrupt):
        cell.run(tmp_path)
    assert not cell.path(tmp_path).exists()
    resumed = cell.run(tmp_path)
    assert asked[4:6] == asked[6:8]  # the second block again, the first not
    assert len(asked) == 12 and resumed.n_simulations == 10
    whole = plan.CalibrationCell("random intercept", "importance", lambda: importance, 10, 63)
    assert np.array_equal(whole.run(tmp_path / "whole").ranks, resumed.ranks)
    assert [p.name for p in tmp_path.glob("*.npz")] == [cell.path(tmp_path).name]


def test_interrupted_run_leaves_nothing_under_the_final_name(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_table(tmp_path / "table.csv", interrupted)
    assert not (tmp_path / "table.csv").exists()


def test_page_is_about_what_is_there(tmp_path, capsys):
    results = tmp_path / "results"
    cell = plan.calibration_cells()[0]
    stored_calibration(cell.path(results), calibration)
    coverage = pd.DataFrame(
        [
            {"study": "random intercept", "method": "ml", "kind": "beta", "under_covers": "95%"}
            | {f"{level}%": level / 100 - 0.05 for level in (50, 80, 95)}
            | {f"{level}% error": 0.01 for level in (50, 80, 95)}
        ]
    )
    stored_table(plan.coverage_cells()[0].path(results), lambda: coverage)
    predicted = {"study": "crossed", "method": "reml, full", "rows": "new groups", "coverage": 0.943, "error": 0.004}
    predicted |= {"width": 4.5, "failures": 1, "simulations": 500}
    cell = next(c for c in plan.prediction_cells() if (c.study, c.method) == ("crossed", "reml, full"))
    stored_table(cell.path(results), lambda: pd.DataFrame([predicted]))
    twenty = {"seed": 0, "k_hat": 0.3, "effective_size": 800.0, "trouble": "", "worst": 2.5}
    stored_table(results / "twenty_0.csv", lambda: pd.DataFrame([twenty]))
    pair = {"data": "dyestuff", "first": "importance", "second": "centred NUTS", "parameters": 9}
    pair |= {"mean_z": 1.62, "mean_of": "sigma", "sd_z": 2.34, "sd_of": "r_Batch[C, Intercept]"}
    pair |= {"first_ess": 3911.9, "first_divergences": 0, "second_ess": 1800.2, "second_divergences": 3}
    stored_table(results / "agreement_dyestuff.csv", lambda: pd.DataFrame([pair]))
    family = {"data": "cbpp", "method": "nuts", "parameters": 20, "mean_z": 1.62, "mean_of": "beta[3]", "sd_z": 1.97}
    family |= {
        "sd_of": "r_herd[9]",
        "ess": 3290.8,
        "divergences": 0,
        "reference_ess": 4493.7,
        "reference_divergences": 2,
    }
    stored_table(results / "pymc_cbpp.csv", lambda: pd.DataFrame([family]))
    hard = {
        "data": "72 covariance parameters",
        "kind": "correlations",
        "parameters": 56,
        "mean_z": 2.61,
        "shift": 0.101,
    }
    hard |= {"mean_of": "cor_item[a, b]", "sd_z": 3.04, "sd_of": "cor_item[a, c]", "ess": 611.4, "reference_ess": 900.2}
    hard |= {"divergences": 0, "reference_divergences": 1}
    stored_table(results / "hard_72_covariance_parameters.csv", lambda: pd.DataFrame([hard]))
    assert main([str(tmp_path), "--only-report"]) == 0
    page = (tmp_path / "README.md").read_text()
    assert str(tmp_path) in capsys.readouterr().out
    assert "| random intercept | importance | 120 | 63 | 2 | 2 | 1 |" in page
    assert "Of 2 quantities 1 left" in page and "importance: beta[x] (p = " in page
    assert "| random intercept | ml | beta | 45.0 (1.0) | 75.0 (1.0) | 90.0 (1.0) | 95% |" in page
    assert "ml: intervals of beta (random intercept) cover 90% for 95%." in page
    assert "| crossed | reml, full | new groups | 499 | 94.3 (0.4) | 4.50 |" in page
    assert "had to leave 0 of 1 to NUTS" in page
    assert "| dyestuff | 9 | importance, centred NUTS | 1.6 (sigma) | 2.3 (r_Batch[C, Intercept]) |" in page
    assert "| data | importance | centred NUTS |" in page and "| dyestuff | 3912 | 1800 (3 divergent) |" in page
    assert "- four methods on sleepstudy\n" in page and "- four methods on dyestuff\n" not in page
    assert "- nested by importance\n" in page and "- twenty covariance parameters, seed 1\n" in page
    assert "- random intercept by importance\n" not in page
    assert "| cbpp | nuts | 20 | 1.6 (beta[3]) | 2.0 (r_herd[9]) | 3291 | 4494 | 0, 2 |" in page
    assert "- gamma, independent slopes against PyMC\n" in page and "- cbpp against PyMC\n" not in page
    assert "| correlations | 56 | 2.6 (cor_item[a, b]) | 3.0 (cor_item[a, c]) | 0.10 | 611 | 900 | 0, 1 |" in page
    assert "- Hamiltonian Monte Carlo, 20 covariance parameters\n" in page
    assert (tmp_path / "random_intercept_importance.png").stat().st_size > 1000


def test_markdown_and_file_names():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", ""]})
    assert markdown_table(frame) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 |  |"
    assert file_stem("correlated slope, centred", "marginal NUTS") == "correlated_slope_centred_marginal_nuts"


def test_plan_covers_what_is_claimed():
    cells = {(c.study, c.method): c for c in plan.calibration_cells()}
    for study in ("random intercept", "correlated slope", "nested", "crossed"):
        assert cells[study, "importance"].simulations >= 1000
        assert cells[study, "marginal NUTS"].simulations >= 200
    assert ("random intercept", "hierarchical NUTS") in cells
    assert ("correlated slope", "hierarchical NUTS") in cells
    assert {c.method for c in plan.coverage_cells()} >= {"ml", "reml", "map", "importance", "advi"}
    assert len({c.path(Path()) for c in plan.coverage_cells()}) == len(plan.coverage_cells())
