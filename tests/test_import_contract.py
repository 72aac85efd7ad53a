"""The import contract of pyproject.toml: rooms import only from the rooms before them."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PLACED = {name.strip().removeprefix("bayeslmm.") for layer in CONTRACTS[0]["layers"] for name in layer.split("|")}


def lint(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def test_contract_is_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_contract_sees_imports_inside_functions(tmp_path):
    """The same contract, on a copy in which the likelihood reaches up for a data frame, inside a function."""
    package = tmp_path / "bayeslmm"
    for path in (ROOT / "bayeslmm").rglob("*.py"):
        copy = package / path.relative_to(ROOT / "bayeslmm")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (package / "likelihood" / "reaching_up.py").write_text(
        "def reach():\n    import pandas\n    from bayeslmm import results\n    return pandas, results\n"
    )
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 broken" in done.stdout


def test_every_module_has_a_place_in_the_contract():
    entries = (ROOT / "bayeslmm").iterdir()
    present = {path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert present - {"__init__"} == PLACED


def test_only_the_sampling_rooms_may_import_pymc():
    contract = next(c for c in CONTRACTS if "pytensor" in c.get("forbidden_modules", ()))
    assert PLACED - {name.removeprefix("bayeslmm.") for name in contract["source_modules"]} == {
        "pymc_models",
        "inference",
    }
