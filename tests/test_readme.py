"""README.md says things that can be checked."""

import re
import tomllib
from pathlib import Path

import pytest

from bayeslmm.model_files import read_data, read_model_file

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL).group(1)


def test_the_model_file_shown_is_valid(tmp_path):
    (tmp_path / "m.toml").write_text(block("toml"))
    assert len(read_data(read_model_file(tmp_path / "m.toml"))) == 322


def test_the_two_commands():
    assert "pip install -e . && bayeslmm fit models/sleepstudy.toml\n" in TEXT
    assert 'pip install -e ".[test]" && pytest\n' in TEXT
    assert (ROOT / "models" / "sleepstudy.toml").is_file()
    # .ci/run runs the command that users are told to run.
    assert 'pip install --quiet -e ".[test]" && pytest\n' in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)]+)\)", TEXT))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_entry_point_and_scripts():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"bayeslmm": "bayeslmm.cli:main"}


def test_example_is_ten_lines():
    assert len(block("python").strip().splitlines()) == 10


@pytest.mark.notebooks
def test_example_runs():
    exec(compile(block("python"), "README.md", "exec"), {})
