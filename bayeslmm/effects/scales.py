"""From the scale that is linear in the coefficients to that of the response."""

import ast
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslmm.types import Array

STEP = 1e-6
LOGARITHMS = ("log", "logit")  # differences of these are logarithms of ratios


@dataclass(frozen=True, slots=True)
class Scale:
    """A function of the response or a link, and its inverse.

    Attributes
    ----------
    name
        "identity", "log", "sqrt", or the name of a link.
    inverse
        From the linear predictor to the response, elementwise.
    """

    name: str
    inverse: Callable[[Array], Array]

    def derivative(self, eta: Array) -> Array:
        """Return the derivative of the inverse by central differences, elementwise."""
        h = STEP * np.maximum(np.abs(eta), 1.0)
        return np.asarray((self.inverse(eta + h) - self.inverse(eta - h)) / (2.0 * h))


IDENTITY = Scale("identity", lambda eta: eta)
TRANSFORMS = {
    "log": Scale("log", np.exp),
    "log2": Scale("log2", np.exp2),
    "log10": Scale("log10", lambda eta: 10.0**eta),
    "log1p": Scale("log1p", np.expm1),
    "sqrt": Scale("sqrt", np.square),
}


def scale_of_response(tree: ast.expr) -> Scale | None:
    """Return how the left side of a formula transforms the response; None where it cannot be undone."""
    if isinstance(tree, ast.Name):
        return IDENTITY
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and len(tree.args) == 1 and not tree.keywords:
        return TRANSFORMS.get(tree.func.id) if isinstance(tree.args[0], ast.Name) else None
    return None
