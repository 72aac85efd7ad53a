"""Commands that read saved fits, and a formula without a model file: real fits, by REML."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm import cli
from bayeslmm.commands.outcome import plain

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = blm.load_dataset("sleepstudy")
    data.to_csv(tmp_path / "sleep.csv", index=False)
    arguments = ["fit", "Reaction ~ Days + (Days | Subject)", "sleep.csv", "--method", "reml"]
    assert cli.main(arguments) == 0
    return data


def test_a_formula_and_a_table(saved, capsys):
    capsys.readouterr()
    assert cli.main(["compare", "results/sleep", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["fits"]
    assert found["status"] == "converged" and found["n"] == 180
    assert found["coefficients"][1]["estimate"] == pytest.approx(10.467, abs=1e-3)  # lme4


def test_predictions_in_a_file(saved, tmp_path, capsys):
    saved.head(3).assign(Subject=[308, 999, 308], lower=0).to_csv(tmp_path / "new.csv", index=False)
    arguments = ["predict", "results/sleep", "new.csv", "--output", "out.csv"]
    assert cli.main(arguments) == 2
    assert "level 999 of 'Subject'" in capsys.readouterr().err
    assert cli.main([*arguments, "--new-levels", "sample"]) == 0
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found.columns[-4:]) == ["lower", "prediction", "lower_", "upper"]
    fit = blm.lmm("Reaction ~ Days + (Days | Subject)", saved)
    new = saved.head(3).assign(Subject=[308, 999, 308])
    expected = fit.predict(new, interval=0.95, new_levels="sample")
    np.testing.assert_allclose(found["upper"], expected["upper"], rtol=1e-6)
    assert cli.main([*arguments, "--new-levels", "sample"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main([*arguments, "--new-levels", "sample", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3


def test_the_report_of_a_folder(saved, tmp_path, capsys):
    assert cli.main(["report", "results/sleep", "--no-plots"]) == 0
    assert "<h1>" in (tmp_path / "results" / "sleep" / "report.html").read_text()
    assert cli.main(["report", "results/sleep", "--method", "nuts"]) == 2
    assert "it holds reml" in capsys.readouterr().err


def test_a_check_by_simulation(saved, capsys):
    capsys.readouterr()
    assert cli.main(["check", "results/sleep", "-n", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["parameter"]: row for row in found["table"]}
    assert found["trusted"] and found["simulations"] == 60
    assert rows["Days"]["coverage"] > 0.85  # 95% within 3 standard errors of 60 simulations
    assert abs(rows["Days"]["bias_in_sd"]) < 0.5
    assert rows["sigma"]["mean"] == pytest.approx(rows["sigma"]["true"], rel=0.05)
    assert rows["sigma"]["coverage"] is None


def test_a_demonstration(capsys):
    assert cli.main(["demo"]) == 0
    assert "10.5 ms slower each day" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "y ~ x + (1 | g)"], "needs a table after it"),
        (["fit", "y ~ x + (1 | g)", "nowhere.csv"], "There is no file nowhere.csv"),
        (["fit", "m.toml", "data.csv"], "A table goes with a formula"),
        (["fit", "y ~ x + (1 | g)", "dyestuff", "--family", "poison"], "poisson"),
        (["fit", "y ~ x + (1 | g)", "dyestuff", "--family", "poisson", "--link", "logit"], "log"),
        (["fit", "y ~ x + (1 | g)", "dyestuff", "--link", "logit"], "identity"),
        (["fit", str(MODELS / "dyestuff.toml"), "--family", "poisson"], "a model file states family ="),
        (["predict", "nowhere", "new.csv"], "holds no saved fit"),
        (["predict", "results/sleep", "sleep.csv", "--output", "nowhere/out.csv"], "there is no folder nowhere"),
        (["check", "nowhere"], "holds no saved fit"),
    ],
)
def test_wrong_input(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_json_has_no_numbers_that_are_not_finite():
    frame = pd.DataFrame({"a": [np.nan, 1.0]}, index=pd.Index(["p", "q"], name="row"))
    assert plain({"x": np.inf, "t": frame, "n": np.int64(3)}) == {
        "x": None, "t": [{"row": "p", "a": None}, {"row": "q", "a": 1.0}], "n": 3,
    }  # fmt: skip


def test_semicolons_and_decimal_commas(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = blm.load_dataset("sleepstudy").assign(Reaction=lambda d: d.Reaction + 0.5)
    data.to_csv(tmp_path / "sleep.csv", index=False, sep=";", decimal=",")
    formula = "Reaction ~ Days + (1 | Subject)"
    assert cli.main(["fit", formula, "sleep.csv", "--method", "reml"]) == 2
    assert "separated by semicolons" in capsys.readouterr().err
    written = ["--separator", ";", "--decimal", ","]
    assert cli.main(["fit", formula, "sleep.csv", "--method", "reml", *written]) == 0
    text = f'formula = "{formula}"\ndata = "sleep.csv"\nmethods = ["reml"]\n'
    (tmp_path / "m.toml").write_text(f'{text}[csv]\nseparator = ";"\ndecimal = ","\n')
    assert cli.main(["fit", "m.toml"]) == 0
    assert cli.main(["predict", "results/m", "sleep.csv", "--output", "out.csv", *written]) == 0
    (tmp_path / "n.toml").write_text(f'{text}[csv]\ndecimal = ","\n')
    assert cli.main(["fit", "n.toml"]) == 2
    assert "state another separator" in capsys.readouterr().err


def test_predictions_of_counts_are_those_of_the_mean(tmp_path, monkeypatch, capsys):
    """A generalized fit by the likelihood has no limits of new responses."""
    monkeypatch.chdir(tmp_path)
    data = blm.load_dataset("grouseticks")
    data.to_csv(tmp_path / "ticks.csv", index=False)
    text = 'formula = "TICKS ~ YEAR + (1 | BROOD)"\ndata = "ticks.csv"\nfamily = "poisson"\nmethods = ["ml"]\n'
    (tmp_path / "ticks.toml").write_text(text)
    assert cli.main(["fit", "ticks.toml", "--no-plots"]) == 0
    assert cli.main(["predict", "results/ticks", "ticks.csv", "--output", "out.csv"]) == 0
    assert (pd.read_csv(tmp_path / "out.csv")["prediction"] > 0).all()
    capsys.readouterr()
    assert cli.main(["check", "results/ticks", "-n", "3", "--json"]) in (0, 1)
    rows = json.loads(capsys.readouterr().out)["table"]
    assert [row["parameter"] for row in rows] == ["Intercept", "YEAR", "sd_BROOD[Intercept]"]  # years read as numbers


def test_a_formula_and_a_family(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    stated = ["--family", "binomial", "--link", "probit", "--method", "ml", "--no-plots"]
    assert cli.main(["fit", formula, "cbpp", *stated]) == 0
    fit = blm.load(tmp_path / "results" / "cbpp" / "ml")
    direct = blm.Model(formula, blm.load_dataset("cbpp"), family="binomial", link="probit").fit("ml")
    assert fit.objective == pytest.approx(direct.objective, rel=1e-10)
    assert "Writ" in capsys.readouterr().out
