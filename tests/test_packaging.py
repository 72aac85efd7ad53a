"""What is promised to pip: one version, bounded dependencies, data that travel."""

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import bayeslmm
from bayeslmm.datasets import DATASET_NAMES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version():
    assert PROJECT["version"] == bayeslmm.__version__ == version("bayeslmm")
    assert f"## [{bayeslmm.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {bayeslmm.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize(
    "requirement",
    [*PROJECT["dependencies"], *(r for rs in PROJECT["optional-dependencies"].values() for r in rs)],
)
def test_every_dependency_has_an_upper_bound(requirement):
    assert requirement.startswith("bayeslmm[") or re.search(r"<\d", requirement)


@pytest.mark.parametrize("pair", [("pymc", "<6"), ("arviz", "<1"), ("matplotlib", "<3.11"), ("arviz-plots", "<0.9")])
def test_bounds_that_keep_the_stack_importable(pair):
    name, bound = pair
    found = [r for r in requires("bayeslmm") if re.match(rf"{name}[<>=]", r)]
    assert len(found) == 1
    assert bound in found[0].split(",") or found[0].endswith(bound) or f"{bound}," in found[0]


def test_data_and_typing_marker_are_declared_and_present():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = tool["package-data"]["bayeslmm"]
    package = ROOT / "bayeslmm"
    shipped = {path.relative_to(package).as_posix() for pattern in patterns for path in package.glob(pattern)}
    assert shipped >= {"py.typed", "datasets/data/ORIGINS.md"}
    assert shipped >= {f"datasets/data/{name}.csv.gz" for name in DATASET_NAMES}


def test_licence_and_origins():
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    origins = (ROOT / "bayeslmm" / "datasets" / "data" / "ORIGINS.md").read_text()
    for name in DATASET_NAMES:
        assert f"`{name}.csv.gz`" in origins
