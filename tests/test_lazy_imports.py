"""Light things stay light: what is loaded is checked, since time depends on the machine."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "pymc",
    "pytensor",
    "arviz",
    "nutpie",
    "matplotlib",
    "bambi",
    "sklearn",
    "joblib",
    "stochtree",
    "lightgbm",
)
# The likelihood's own machinery: needed for a fit, not for an import.
MACHINERY = ("scipy", "numba", "formulaic")


def loaded(code, names):
    """Run code in a new process and list which of the modules it loaded."""
    code += f"\nimport sys, json; print(json.dumps([name for name in {names} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_check_itself_sees_modules():
    assert loaded("import numpy", ("numpy", "pymc")) == ["numpy"]


@pytest.mark.parametrize(
    "code",
    [
        "import bayeslmm",
        "import bayeslmm; dir(bayeslmm); bayeslmm.__version__",
        "import bayeslmm; bayeslmm.load_dataset('sleepstudy')",
    ],
    ids=["import", "dir", "data"],
)
def test_import_loads_neither_samplers_nor_solvers(code):
    assert loaded(code, HEAVY + MACHINERY) == []


def test_reml_loads_no_sampler():
    code = (
        "import bayeslmm as blm\n"
        "fit = blm.lmm('Reaction ~ Days + (Days | Subject)', blm.load_dataset('sleepstudy'))\n"
        "print(fit.summary()); fit.ranef(); fit.varcorr(); fit.coef_table(); fit.predict()\n"
    )
    assert loaded(code, HEAVY) == []


def test_a_compiled_posterior_loads_neither_other_samplers_nor_statistics():
    """scipy.stats alone takes a second, a quarter of the time from a new process to the printed posterior.

    The search for the mode is BFGS of our own, which leaves out scipy.optimize and a fifth of a second, and
    Fourier transforms are numpy's.
    """
    code = (
        "import bayeslmm as blm\n"
        "formula = 'cbind(incidence, size - incidence) ~ period + (1 | herd)'\n"
        "model = blm.Model(formula, blm.load_dataset('cbpp'), family='binomial')\n"
        "print(model.fit('nuts', draws=20, tune=20, seed=1, progressbar=False).summary())\n"
    )
    assert loaded(code, (*HEAVY, "scipy.stats", "scipy.optimize", "scipy.fft")) == []


def test_saving_and_loading_a_point_fit_loads_no_sampler(tmp_path):
    code = (
        "import bayeslmm as blm\n"
        "fit = blm.lmm('Yield ~ 1 + (1 | Batch)', blm.load_dataset('dyestuff'))\n"
        f"fit.save({str(tmp_path / 'fit')!r})\n"
        f"blm.load({str(tmp_path / 'fit')!r})\n"
    )
    assert loaded(code, HEAVY) == []


@pytest.mark.parametrize("name", ["formula", "design", "likelihood", "priors", "results"])
def test_rooms_load_no_sampler(name):
    assert loaded(f"import bayeslmm.{name}", HEAVY) == []


def test_public_names_resolve_to_the_same_object_twice():
    code = (
        "import types, bayeslmm as blm\n"
        "later = {'MixedEffectsForest', 'mixed_forest'}\n"
        "for name in set(blm.__all__) - later:\n"
        "    first = getattr(blm, name)\n"
        "    assert getattr(blm, name) is first, name\n"
        "    assert not isinstance(first, types.ModuleType), name\n"
    )
    assert loaded(code, ("pymc", "nutpie")) == []
