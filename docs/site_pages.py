"""Hooks of mkdocs: notebooks become pages, formulas become MathML, so that the site needs no script and no network."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add a page, and its pictures, for every notebook."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


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
    return "".join(pieces)


def outside(match: re.Match[str]) -> str:
    """Return what stands for a link to a file of the repository that is no page."""
    return f"{match[1]} (`{match[2]}`)"
