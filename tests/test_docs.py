"""The pages under docs/ say things that can be checked."""

import re
from pathlib import Path

import pytest

import bayeslmm as blm
from bayeslmm.formula import FUNCTIONS
from bayeslmm.methods import METHODS
from bayeslmm.priors.parse import FAMILIES
from bayeslmm.priors.presets import PRESETS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "results" not in page.parts)
LINKS = [
    (page, target)
    for page in PAGES
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    if "tutorials/" not in target  # made from the notebooks when the site is built
]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=lambda value: getattr(value, "stem", value))
def test_links_lead_somewhere(page, target):
    assert (page.parent / target).exists()


def test_every_method_is_described():
    text = (DOCS / "methods.md").read_text()
    assert [method for method in METHODS if f'`"{method}"`' not in text] == []


def test_every_function_is_listed():
    text = (DOCS / "formula.md").read_text()
    assert [name for name in FUNCTIONS if not re.search(rf"`[^`]*\b{name}\b[^`]*`", text)] == []


def test_every_preset_and_family_is_named():
    text = (DOCS / "priors.md").read_text()
    assert [name for name in PRESETS if name not in text] == []
    assert [name for name in FAMILIES if f"`{name}" not in text] == []


def test_the_table_of_priors_is_what_is_printed():
    model = blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", blm.load_dataset("sleepstudy"))
    shown = (DOCS / "priors.md").read_text().split("```text\n")[1].split("```")[0]
    assert shown.strip() == str(model.priors).strip()


def test_no_marks_of_the_making_are_left():
    for page in PAGES:
        assert "<!--" not in page.read_text(), page


def test_every_room_is_on_the_map():
    import tomllib

    contract = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rooms = [room.strip().removeprefix("bayeslmm.") for layer in contract["layers"] for room in layer.split("|")]
    text = (DOCS / "design.md").read_text()
    assert [room for room in rooms if f"`{room}/`" not in text and f"`{room}.py`" not in text] == ["__main__"]


PROGRAMS = [page for page in PAGES if "```python\n" in page.read_text()]
WRITES = {"streaming.md"}  # the page is about files


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_code_of_the_page_runs(page, tmp_path, monkeypatch):
    """From top to bottom, as one program; nothing is left behind where it runs."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile("\n".join(blocks), page.name, "exec"), {})
    assert page.name in WRITES or not list(tmp_path.iterdir())


def test_blocks_without_a_language_are_no_programs():
    """A block says its language, so that a fragment of Python cannot hide from the test above."""
    for page in PAGES:
        fences = re.findall(r"^```.*$", page.read_text(), re.MULTILINE)
        assert set(fences[::2]) <= {"```python", "```sh", "```text"}, page
        assert set(fences[1::2]) <= {"```"}, page


def test_every_page_is_in_the_navigation():
    """The site's configuration names every page, and no page that is not there; notebooks are pages of their own."""
    named = set(re.findall(r": ([\w/]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "results" not in page.parts}
    notebooks = {f"tutorials/{path.stem}.md" for path in (DOCS.parent / "notebooks").glob("*.ipynb")}
    assert named == pages | notebooks | {"reference.md"}  # made when the site is built
