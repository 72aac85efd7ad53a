"""Dimensions and labels of a model's variables."""

from collections.abc import Sequence
from typing import Any

from bayeslmm.covariance.pairs import pair_labels
from bayeslmm.design.design import Design
from bayeslmm.design.names import DIMENSIONS, safe_labels, safe_name
from bayeslmm.errors import ModelError


def term_coordinates(design: Design) -> dict[str, Sequence[Any]]:
    """Return the labels of every dimension, the user's own.

    Returns
    -------
    dict
        ``fixed``: coefficient names; the name of a grouping factor: its levels; per term g: ``g_effect`` the
        effects, and ``g_pair`` their pairs where they are correlated.

    Raises
    ------
    ModelError
        When two dimensions would have one name, as with grouping factors ``a`` and ``a_effect``.
    """
    coordinates: dict[str, Sequence[Any]] = {"fixed": list(design.fixed_names)} if design.p else {}
    for term in design.terms:
        effects = list(term.effects)
        label = safe_name(term.name)
        labels = {f"{label}_effect": effects}
        if term.has_correlations:
            labels[f"{label}_pair"] = pair_labels(effects)
        if term.name == term.factor:  # further terms on one factor share its levels
            labels[label] = list(safe_labels(term.levels))
        for name, values in labels.items():
            if name in coordinates or name in DIMENSIONS:
                raise ModelError(
                    f"The grouping factor {term.factor!r} gives a second dimension called {name!r}; rename the column."
                )
            coordinates[name] = values
    return coordinates
