"""What a fit leaves behind: everything predictions and tables are made from."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape
from bayeslmm.design import Design
from bayeslmm.forest.data.inputs import Roles
from bayeslmm.forest.em.step import Components, relative_factors
from bayeslmm.inference.draws import Draws
from bayeslmm.likelihood import Kernel
from bayeslmm.types import Array


class FunctionDraws(Protocol):
    """Several versions of f, and which of them each posterior draw goes with."""

    @property
    def index(self) -> NDArray[np.intp]:
        """Version of f of each draw, chains laid end to end, shape (D,)."""
        ...

    def predict(self, features: Any) -> Array:
        """Return all versions at some rows, shape (versions, m)."""
        ...


@dataclass(frozen=True, slots=True)
class FittedForest:
    """A fitted forest.

    Attributes
    ----------
    roles, design
        Which columns do what, and the rows of the fit.
    features
        What the learner saw of those rows.
    learners
        The learners whose mean is f; empty for BART.
    predictions
        f(X) at the rows of the fit, out of sample unless residuals are "inbag", shape (n,).
    ensemble
        f(X) at those rows as it predicts, shape (n,): what b belongs to.
    components
        Variance components, linear coefficients and random effects: estimates, or posterior means.
    history
        One row per sweep; None for methods that sample.
    draws, functions
        Posterior draws, and the versions of f they go with; None for method="em".
    probes
        f and the linear part at points watched for convergence, shape (chains, draws, P).
    """

    roles: Roles
    design: Design
    features: Any
    learners: tuple[Any, ...]
    predictions: Array
    ensemble: Array
    components: Components
    history: pd.DataFrame | None
    draws: Draws | None = None
    functions: FunctionDraws | None = None
    probes: Array | None = None

    @property
    def shapes(self) -> list[TermShape]:
        """(J, S, covariance structure) of each term."""
        return [term.shape for term in self.design.terms]

    @property
    def kernel(self) -> Kernel:
        """The likelihood of the groups and the linear part; its response is that of the data."""
        return Kernel.build(self.design.y, self.design.X, self.design.terms, self.design.weights)

    @property
    def factors(self) -> list[Array]:
        """The relative covariance factors, one (S, S) per term."""
        return relative_factors(self.components, self.shapes)
