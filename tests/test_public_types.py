"""The public names as a type checker sees them: right uses pass, wrong ones are found."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import bayeslmm
from bayeslmm.inference.options import Options
from bayeslmm.methods import METHODS
from bayeslmm.types import DrawOptions, EstimateOptions, EstimatingMethod, Method, SamplingMethod

RIGHT = """
import pandas as pd
import bayeslmm as blm
from typing import assert_type

data: pd.DataFrame = blm.load_dataset("sleepstudy")
model = blm.Model("Reaction ~ Days + (Days | Subject)", data, priors={"sigma": blm.HalfNormal(30)})
assert_type(model, blm.Model)
assert_type(model.fit(), blm.PosteriorFit)
assert_type(model.fit("importance", draws=500, seed=1, store=()), blm.PosteriorFit)
assert_type(model.fit(method="advi", full_rank=True, iterations=1000), blm.PosteriorFit)
assert_type(model.fit("reml"), blm.PointFit)
assert_type(model.fit(method="map", progressbar=False, strict=True), blm.PointFit)
assert_type(blm.lmm("y ~ x", data), blm.PointFit)
assert_type(blm.lmm("y ~ x", data, "nuts", seed=1), blm.PosteriorFit)
reml = model.fit("ml")
assert_type(reml.aic, float)
assert_type(reml.sigma, float)
reml.predict(data, interval=0.9, new_levels="sample")
again: blm.PointFit = reml.refit(data["Reaction"])
print(blm.compare(reml, model.fit("nuts")))
try:
    blm.load("folder")
except blm.StorageError as error:
    print(error)
forest = blm.MixedEffectsForest("(1 | Subject)")
assert_type(forest, blm.MixedEffectsForest)
"""

WRONG = {
    "blm.Modell('y ~ x', {})": "attr-defined",
    "blm.Model('y ~ x', {}).fti()": "attr-defined",
    "blm.Model('y ~ x', {}).fit('lmer')": "call-overload",
    "blm.Model('y ~ x', {}).fit('reml', draws=10)": "call-overload",
    "blm.Model('y ~ x', {}).fit('nuts', draw=10)": "call-overload",
    "blm.Model('y ~ x', {}, missing='keep')": "arg-type",
    "blm.Model('y ~ x', {}).fit('nuts').aic": "attr-defined",
    "blm.Model('y ~ x', {}).fit('reml').idata": "attr-defined",
    "blm.Model('y ~ x', {}).fit('reml').predict(kind='average')": "arg-type",
    "blm.lmm('y ~ x', {}).objectiv": "attr-defined",
    "blm.Normal(sd=1)": "call-arg",
}


def check(path):
    settings = path.parent / "mypy.ini"
    settings.write_text("[mypy]\nignore_missing_imports = True\nfollow_imports_for_stubs = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", path.parent / "cache", path]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What mypy says of both files, in one run: it reads the package and what that imports."""
    folder = tmp_path_factory.mktemp("types")
    wrong = folder / "wrong.py"
    wrong.write_text("import bayeslmm as blm\n" + "\n".join(WRONG) + "\n" + RIGHT)
    return check(wrong)


def test_right_uses_pass_and_wrong_ones_are_found(found):
    lines = [line for line in found.splitlines() if ": error:" in line]
    errors: dict[int, str] = {}
    for line in (line for line in lines if "wrong.py" in line):
        number = int(line.split(":")[1])
        errors[number] = errors.get(number, "") + line
    expected = dict(enumerate(WRONG.items(), start=2))
    assert set(errors) == set(expected), found
    for number, (use, code) in expected.items():
        assert f"[{code}]" in errors[number], (use, found)


def test_checkers_see_the_names_that_there_are():
    tree = ast.parse(Path(bayeslmm.__file__).read_text(encoding="utf8"))
    block = next(
        node for node in tree.body if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == bayeslmm._PUBLIC
    for name in bayeslmm.__all__:
        assert getattr(bayeslmm, name) is not None


def test_types_of_options_and_methods_repeat_the_lists():
    assert set(get_args(Method)) == set(METHODS)
    assert set(get_args(SamplingMethod)) == {name for name, entry in METHODS.items() if entry.samples}
    assert set(get_args(EstimatingMethod)) == {name for name, entry in METHODS.items() if not entry.samples}
    assert set(DrawOptions.__annotations__) | {"progressbar", "strict"} == set(Options.__dataclass_fields__) | {
        "strict"
    }
    assert set(EstimateOptions.__annotations__) == {"progressbar", "strict", "n_quad", "solver"}
