"""One row of the table per file; each file has a ROW."""

import importlib
import pkgutil

from benchmarks.row import Row


def all_rows() -> dict[str, Row]:
    """Every row by the name of its file, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").ROW for name in names}
