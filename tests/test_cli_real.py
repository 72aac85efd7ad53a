"""The command line as a process of its own, on real fits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parent.parent / "models"
HEAVY = ("pymc", "pytensor", "arviz", "nutpie", "matplotlib", "bambi", "sklearn")


def run(arguments, folder, code=None):
    """Run the command (or Python code) in `folder`, with warnings as users have them."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "bayeslmm"]), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_reml_loads_nothing_heavy(tmp_path):
    code = (
        "import sys, json; from bayeslmm.cli import main;"
        "code = main(sys.argv[1:]);"
        f"print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))"
    )
    done = run(["fit", MODELS / "dyestuff.toml", "--method", "reml"], tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
    assert done.stderr == ""
    # lme4's REML estimates: intercept 1527.5, sd of batches 42.001, residual sd 49.510.
    for number in ("1527.5", "42.00", "49.51"):
        assert number in done.stdout
    target = tmp_path / "results" / "dyestuff"
    assert sorted(entry.name for entry in target.iterdir()) == ["reml", "summary.txt"]
    assert "42.00" in (target / "summary.txt").read_text()


def test_a_pipe_that_is_closed_costs_nothing(tmp_path):
    """As in ``bayeslmm fit ... | head -1``, where head has ended before the results are saved."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bayeslmm", "fit", str(MODELS / "dyestuff.toml"), "--method", "reml"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "results" / "dyestuff" / "reml" / "fit.json").is_file()


def test_saved_by_the_command_read_by_the_command(tmp_path):
    assert run(["fit", MODELS / "dyestuff.toml", "--method", "reml", "--method", "ml"], tmp_path).returncode == 0
    done = run(["compare", "results/dyestuff"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1527.5" in done.stdout


def test_reml_and_posterior_side_by_side(tmp_path):
    settings = ["--draws", 200, "--tune", 200, "--chains", 2, "--seed", 1]
    done = run(["fit", MODELS / "dyestuff.toml", *settings], tmp_path)
    assert done.returncode in (0, 1), done.stderr  # so few draws may be judged a failure: that is said, not hidden
    assert "BLAS" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "1527.5" in done.stdout
    target = tmp_path / "results" / "dyestuff"
    assert sorted(entry.name for entry in target.iterdir()) == [
        "forest.png",
        "nuts",
        "reml",
        "summary.txt",
        "trace.png",
    ]
    for picture in target.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    for fit in ("reml", "nuts"):
        assert (target / fit / "fit.json").is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('formula = "Yield ~ 1 + (1 | Batch)"\ndata = "dyestuff"\nmethds = []\n', "methods"),
        ('formula = "Yield ~ 1 + (1 | Bath)"\ndata = "dyestuff"\n', "Bath"),
        ('formula = "Yield ~ 1 + (1 | Batch"\ndata = "dyestuff"\n', "Batch"),
        ("formula = \"I(__import__('os').system('x')) ~ 1\"\ndata = \"dyestuff\"\n", "__import__"),
        (
            'formula = "Yield ~ 1 + (1 | Batch)"\ndata = "dyestuff"\n[priors]\nIntercept = "Normal(0, -1)"\n',
            "Intercept",
        ),
    ],
)
def test_wrong_input_gives_no_traceback(tmp_path, text, said):
    (tmp_path / "m.toml").write_text(text)
    done = run(["fit", "m.toml", "--method", "reml"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("bayeslmm: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.toml"]
