"""The notebooks run from top to bottom."""

import ast
import json
import warnings
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def code_of(path):
    """Return the code cells of a notebook as one program."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_parses(path):
    ast.parse(code_of(path))


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import matplotlib

    matplotlib.use("agg")
    exec(compile(code_of(path), path.name, "exec"), {})


def test_there_are_notebooks_with_outputs_of_a_sensible_size():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert path.stat().st_size < 1_000_000, path
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert any(cell.get("outputs") for cell in cells), path


FRESH = """
import bayeslmm as blm
fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
---
fit.plot("ranef")
---
for kind in ("forest", "residuals"):
    fit.plot(kind).show()
---
import matplotlib.pyplot as plt
---
fit.plot("ranef")
---
figure = fit.plot("ranef")
---
for kind in ("forest", "residuals"):
    fit.plot(kind)
    plt.show()
---
fit.report("report.html")
"""


def test_figures_show_in_a_fresh_kernel(tmp_path):
    """As pictures where they are the value of a cell, before pyplot has been used and afterwards, once each.

    Those of a report belong to its page.
    """
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in FRESH.split("---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    place = {"metadata": {"path": str(tmp_path)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client about its own packages
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()
    pictures = [sum("image/png" in output.get("data", {}) for output in cell["outputs"]) for cell in notebook.cells]
    assert pictures == [0, 1, 2, 0, 1, 1, 2, 0]  # as pyplot's figures do, one that is only named shows at the end
