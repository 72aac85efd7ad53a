"""A picture of a model."""

from typing import Any

import pymc as pm
import pytensor

from bayeslmm.errors import MissingDependencyError


def graph(model: pm.Model) -> Any:
    """Return a model's graph, free and derived variables with their dimensions, as a ``graphviz.Digraph``.

    Raises
    ------
    MissingDependencyError
        When the Python package graphviz is not installed.
    """
    try:
        with pytensor.config.change_flags(mode="FAST_COMPILE"):  # it only counts elements: no C for that
            return pm.model_to_graphviz(model)
    except ImportError as error:
        raise MissingDependencyError(
            "Drawing a model needs graphviz: pip install graphviz, and the graphviz program to render it."
        ) from error
