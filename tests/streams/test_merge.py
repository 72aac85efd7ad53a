"""Sums made apart and merged are the sums of all rows."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm


def _frame(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n) + np.repeat([10.0, 20.0], n // 2),
            "patient": np.repeat([0, 100], n // 2) + rng.integers(0, 40, n),
            "drug": rng.choice(["a", "b", "c"], n),
            "ward": rng.choice(["w1", "w2", "w3", "w4"], n),
        }
    )


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + drug + (1 | patient)",
        "y ~ x + (x | patient) + (1 | ward)",
        "y ~ C(drug, contr.sum) + I(x == 10) + (1 | ward:patient)",
        "y ~ 0 + drug + x + (0 + x | ward)",
    ],
)
def test_merged_sums_are_those_of_all_rows(tmp_path, formula):
    frame = _frame()
    for k in range(2):
        blm.Model(formula, frame.iloc[k * 300 : (k + 1) * 300], chunk_rows=77).save_sums(tmp_path / f"{k}.sums")
    merged = blm.merge([tmp_path / "0.sums", tmp_path / "1.sums"])
    whole = blm.Model(formula, frame)
    assert merged.design.fixed_names == whole.design.fixed_names
    assert [t.levels.tolist() for t in merged.design.terms] == [t.levels.tolist() for t in whole.design.terms]
    theta = np.full(whole.kernel.n_theta, 0.6)
    assert merged.objective(theta, "reml") == pytest.approx(whole.objective(theta, "reml"), rel=1e-9)
    pd.testing.assert_frame_equal(merged.priors, whole.priors)
    np.testing.assert_allclose(
        merged.fit("reml").predict(frame), whole.fit("reml").predict(frame), rtol=1e-4, atol=1e-5
    )


def test_sums_that_do_not_fit_together(tmp_path):
    frame = _frame()
    first = blm.Model("y ~ drug + (1 | patient)", frame, chunk_rows=100)
    other = blm.Model("y ~ drug + (1 | patient)", frame[frame["drug"] != "b"], chunk_rows=100)
    with pytest.raises(blm.ModelError, match=r"drug has the levels \['a', 'c'\].*C\(drug, levels="):
        blm.merge([first, other])
    with pytest.raises(blm.ModelError, match="their formula is"):
        blm.merge([first, blm.Model("y ~ x + (1 | patient)", frame, chunk_rows=100)])
    scaled = [blm.Model("y ~ scale(x) + (1 | patient)", part, chunk_rows=100) for part in (frame[:300], frame[300:])]
    with pytest.raises(blm.ModelError, match=r"scale\(x\) learned other constants"):
        blm.merge(scaled)
    with pytest.raises(blm.OptionError, match="chunk_rows="):
        blm.merge([first, blm.Model("y ~ drug + (1 | patient)", frame)])
    with pytest.raises(blm.OptionError, match="keeps its rows"):
        blm.Model("y ~ x + (1 | patient)", frame).save_sums(tmp_path / "x")


def test_a_column_of_numbers_here_and_truth_values_there():
    """Both have two fixed columns, of which the second is another one."""
    frame = _frame()
    numbers = blm.Model("y ~ x + (1 | patient)", frame[:300], chunk_rows=100)
    truths = blm.Model("y ~ x + (1 | patient)", frame[300:].assign(x=frame["x"] > 20), chunk_rows=100)
    with pytest.raises(blm.ModelError, match=r"x has levels in theirs, \[False, True\], and is a number in the others"):
        blm.merge([numbers, truths])
    with pytest.raises(blm.ModelError, match=r"x has levels in those of the first, \[False, True\], and is a number"):
        blm.merge([truths, numbers])


def test_a_formula_spelled_otherwise():
    frame = _frame()
    parts = [
        blm.Model(formula, part, chunk_rows=100)
        for formula, part in (("y ~ x + (1 | patient)", frame[:300]), ("y~x+(1|patient)", frame[300:]))
    ]
    assert blm.merge(parts).objective([0.6]) == pytest.approx(
        blm.Model("y ~ x + (1 | patient)", frame).objective([0.6])
    )


def test_labels_that_are_days(tmp_path):
    frame = _frame().assign(day=[date(2020, 1, 1 + k) for k in range(10)] * 60)
    files = []
    for k, rows in enumerate((frame.iloc[:55], frame.iloc[55:])):
        files.append(blm.Model("y ~ x + (1 | day)", rows, chunk_rows=50).save_sums(tmp_path / f"{k}.sums"))
    model, whole = blm.merge(files), blm.Model("y ~ x + (1 | day)", frame)
    assert model.design.terms[0].levels.equals(whole.design.terms[0].levels)
    assert model.objective([0.7]) == pytest.approx(whole.objective([0.7]), rel=1e-9)


def test_damaged_file(tmp_path):
    path = blm.Model("y ~ drug + (1 | patient)", _frame(), chunk_rows=100).save_sums(tmp_path / "a.sums")
    with pytest.raises(blm.StorageError, match="is there already"):
        blm.Model("y ~ drug + (1 | patient)", _frame(), chunk_rows=100).save_sums(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(blm.StorageError, match="damaged"):
        blm.merge([path])
    with pytest.raises(blm.StorageError, match="cannot be read: No such file"):
        blm.merge([tmp_path / "absent.sums"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sums"]


def test_fit_of_a_stream_is_kept_as_sums(tmp_path):
    model = blm.Model("y ~ x + (1 | patient)", _frame(), chunk_rows=100)
    fit = model.fit("reml")
    again = blm.merge([model.save_sums(tmp_path / "a.sums")]).fit("reml")
    assert again.objective == pytest.approx(fit.objective, rel=1e-12)
