"""The table of ratios as Markdown and JSON."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import scipy
from threadpoolctl import threadpool_info

import bayeslmm
from benchmarks.row import Outcome, Settings


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "bayeslmm": bayeslmm.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "blas": sorted(
            {f"{p['internal_api']} {p.get('version')}" for p in threadpool_info() if p["user_api"] == "blas"}
        ),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def markdown(outcomes: Sequence[Outcome], about: dict[str, Any]) -> str:
    """One line per comparison; a ratio above one means that we are faster, unless the line says otherwise."""
    lines = [
        f"{date.today().isoformat()}, {about['processor']}, {about['cores']} cores, {', '.join(about['blas'])}, "
        f"Python {about['python']}, bayeslmm {about['bayeslmm']}.",
        "",
        "| case | ours | against | theirs | ratio | aim | of processor time | pairs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        case = o.row.replace("|", "\\|")
        against = o.detail.get("version", o.against) + (" unchecked" if "unchecked" in o.against else "")
        if o.ratio is None:
            lines.append(f"| {case} | | {o.against} | {o.detail['missing']} | | | | |")
            continue
        sign = "at most" if o.at_most else "at least"
        aim = "" if o.bar is None else f"{sign} {o.bar:g}{'' if o.reached else ' (missed)'}"
        amount = o.unit != "s" and o.ratio == o.ours  # what is held against the bar is what ours adds, not a ratio
        ratio = _amount(o.ratio, o.unit) if amount else f"{o.ratio:.3g}"
        processor = f"{o.detail['processor']:.3g}" if o.detail.get("processor") else ""
        ours, theirs = _amount(o.ours, o.unit), _amount(o.theirs, o.unit)
        lines.append(f"| {case} | {ours} | {against} | {theirs} | {ratio} | {aim} | {processor} | {o.repeats} |")
    return "\n".join(lines) + "\n"


def _amount(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.3g}%"
    if unit != "s":
        return f"{value:.0f} {unit}"
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def save(outcomes: Sequence[Outcome], about: dict[str, Any], settings: Settings, folder: Path) -> Path:
    """Write ``<date>.json`` and ``<date>.md``; return the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{date.today().isoformat()}{'-quick' if settings.quick else ''}"
    record = {
        "date": date.today().isoformat(),
        "machine": about,
        "repeats": settings.repeats,
        "quick": settings.quick,
        "rows": [o.as_dict() for o in outcomes],
    }
    stem.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(outcomes, about), encoding="utf-8")
    return stem.with_suffix(".json")
