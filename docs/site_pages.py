"""Hooks of mkdocs: pages from notebooks and docstrings, formulas as MathML; the site needs no network to be read."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

import bayeslmm

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)

GALLERY = re.compile(r"^## (.+)\n\n```python\n(.*?)```\n\n!\[[^]]*\]\(([^)]*)\)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the reference, and a page with its pictures for every notebook."""
    files.append(File.generated(config, "reference.md", content=reference_page()))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


HEADINGS = {
    "model": "Models",
    "results": "Fits and comparisons",
    "forest": "Forests",
    "families": "Response distributions",
    "priors": "Priors",
    "datasets": "Data sets",
    "errors": "Errors",
}


def reference_page() -> str:
    """Return the page of all public names, by room; mkdocstrings fills in the docstrings."""
    rooms: dict[str, list[str]] = {heading: [] for heading in HEADINGS.values()}
    for name in bayeslmm.__all__:
        value = getattr(bayeslmm, name)
        if hasattr(value, "__module__"):
            room = value.__module__.split(".")[1]
            rooms.setdefault(HEADINGS.get(room, room.capitalize()), []).append(f"{value.__module__}.{name}")
    parts = ["# Reference", "Every public name, from its docstring. `help(bayeslmm.Model)` shows the same."]
    for heading, names in rooms.items():
        parts += [f"## {heading}", *(f"::: {name}" for name in names)] if names else []
    return "\n\n".join([*parts, *pictures_of_the_gallery()])


def pictures_of_the_gallery() -> list[str]:
    """Return a section of the reference: every plot by its call, with its picture."""
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    parts = [
        "## Pictures",
        "What `fit.plot(kind)` and the `plot()` of other results draw; [Gallery](gallery.md) has the whole code.",
    ]
    for title, code, picture in GALLERY.findall(text):
        call = code.strip().splitlines()[-1].removeprefix("figure = ")
        parts.append(f"### {title}\n\n`{call}`\n\n![{title}]({picture})")
    return parts


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as markdown, and its pictures by name."""
    parts, pictures = [], {}
    for k, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\((\w+)\.ipynb\)", r"(\1.md)", source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{k}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Picture drawn by the code above]({name})")
            elif "text/html" in data:
                table = "".join(data["text/html"])
                parts.append(re.sub(r"\n\s*", "\n", re.sub(r"<style.*?</style>", "", table, flags=re.DOTALL)).strip())
            else:
                text = "".join(data.get("text/plain", output.get("text", "")))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts), pictures


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Write formulas as MathML, and links out of the site as the paths they name."""
    depth = page.file.src_uri.count("/")
    pieces = FENCE.split(markdown)
    for k in range(0, len(pieces), 2):
        text = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(m[1].strip(), display="block"), pieces[k], flags=re.DOTALL)
        text = re.sub(r"(?<![\\$\w])\$([^$\n]+?)\$", lambda m: convert(m[1]), text)
        text = re.sub(r"\]\(\.\./docs/", "](../", text)
        pieces[k] = re.sub(rf"\[([^\]]+)\]\((?:\.\./){{{depth + 1}}}([^)]+)\)", outside, text)
    for k in range(1, len(pieces), 2):
        if not pieces[k].startswith("```"):  # in tables GitHub wants a bar escaped, mkdocs does not
            pieces[k] = pieces[k].replace("\\|", "|")
    return "".join(pieces)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Leave out the one script fetched from elsewhere; only the search of pages opened as files needs it."""
    return re.sub(r'<script src="https://unpkg[^>]*></script>', "", output)


def outside(match: re.Match[str]) -> str:
    """Return what stands for a link to a file of the repository that is no page."""
    return f"{match[1]} (`{match[2]}`)"
