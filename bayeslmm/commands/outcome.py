"""What a command found, to be printed as a text or as JSON."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.errors import OptionError
from bayeslmm.methods import METHODS
from bayeslmm.result_folder import saved_fits

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

NOT_TRUSTED = 1  # exit status of what was done, but cannot be trusted


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command found.

    Attributes
    ----------
    text
        For readers.
    facts
        The same for programs: names to numbers, texts, lists and further names.
    code
        The exit status.
    """

    text: str
    facts: dict[str, Any] = field(default_factory=dict)
    code: int = 0

    def said(self, as_json: bool) -> str:
        """Return what is printed."""
        return json.dumps(plain(self.facts), ensure_ascii=False, indent=2) if as_json else self.text


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers that are not finite are null, frames are records."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.reset_index().to_dict("records")]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def fit_facts(fit: "Fit") -> dict[str, Any]:
    """Return a fit's status and tables."""
    return {
        "method": fit.method,
        "formula": fit.formula,
        "n": fit.nobs,
        "levels": fit.n_levels,
        "status": fit.status.code,
        "message": fit.status.message,
        "coefficients": fit.coef_table(),  # type: ignore[attr-defined]  # both kinds of fit have one
        "covariance": fit.varcorr(),
    }


def chosen_fits(folder: Path, method: str | None) -> "list[Fit]":
    """Return the saved fits of a folder, that of a method alone or else posteriors first.

    Raises
    ------
    StorageError
        If the folder holds none.
    OptionError
        If it holds none by this method.
    """
    from bayeslmm.loading import load
    from bayeslmm.results.fit import Fit

    fits: list[Fit] = [fit for path in saved_fits(folder) if isinstance(fit := load(path), Fit)]
    if not fits:
        raise OptionError(f"{folder} holds forests only; this command is for fits of a formula.")
    if method is not None:
        found = [fit for fit in fits if fit.method == method]
        if not found:
            listed = ", ".join(fit.method for fit in fits)
            raise OptionError(f"{folder} holds no fit by {method!r}; it holds {listed}.")
        return found
    return sorted(fits, key=lambda fit: not METHODS[fit.method].samples)
