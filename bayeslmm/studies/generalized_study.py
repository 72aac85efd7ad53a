"""Responses of a generalized model simulated in a design with more groups or rows, and the fit to each."""

from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.errors import FittingError
from bayeslmm.families import Family, Response
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum
from bayeslmm.results.generalized import GeneralizedPointFit, coefficient_covariance
from bayeslmm.results.generalized_refits import at_design, family_at, maximum_for, simulated_response
from bayeslmm.results.point import PointFit
from bayeslmm.types import Array, Index

SEPARATED = "separated"  # how a fit ended whose coefficient has no finite estimate


@dataclass(frozen=True)
class GeneralizedStudy:
    """One design, and the parameters that its responses are simulated from.

    Attributes
    ----------
    design, family
        The design, its family with the rows' share of zeros.
    truth
        The likelihood of a response of the design at the parameters, from which searches start.
    beta, factors
        The coefficients (p,), and the covariance factors of the random effects.
    working
        The dispersion parameters' working values.
    place
        The coefficient that is tested.
    """

    design: Design
    family: Family
    truth: GeneralizedMaximum
    beta: Array
    factors: tuple[Array, ...]
    working: Array
    place: int

    @classmethod
    def of(
        cls, fit: GeneralizedPointFit, design: Design, rows: Index, place: int, effect: float | None
    ) -> "GeneralizedStudy":
        """Return the study of a design whose rows are these of the fit's."""
        beta = np.array(fit.modes.beta, dtype=float)
        if effect is not None:
            beta[place] = effect
        family = family_at(fit.family, rows)
        study = cls(design, family, fit.maximum, beta, tuple(fit._factors), fit.maximum.dispersion, place)
        like = replace(design, outcome=study.response(np.random.default_rng(0)))
        return replace(study, truth=at_design(fit.maximum, like, family, beta))

    def response(self, rng: np.random.Generator) -> Response:
        """Return a simulated response."""
        return simulated_response(self.family, self.design.outcome, self.simulate(rng))

    def simulate(self, rng: np.random.Generator) -> Array:
        """Return a response of new groups, (n,), in the form of `Response.y`."""
        design = self.design
        eta = design.X @ self.beta + (0.0 if design.offset is None else design.offset)
        for term, factor in zip(design.terms, self.factors, strict=True):
            effects = rng.standard_normal((term.n_levels, term.n_columns)) @ factor.T
            eta = eta + np.sum(term.columns * effects[term.codes], axis=1)
        return self.family.simulate(design.outcome, eta, self.working, rng)

    def one(self, rng: np.random.Generator) -> tuple[float, float, str]:
        """Return the coefficient's estimate, its standard error, and how the fit ended."""
        found = maximum_for(self.truth, self.design, self.response(rng))
        if found.status == "failed":
            raise FittingError("The fit failed.")
        error = float(np.sqrt(coefficient_covariance(found)[self.place, self.place]))
        code = SEPARATED if self.place in found.diverging else found.status
        return float(found.beta[self.place]), error, code

    def degrees_of_freedom(self, fit: PointFit, rng: np.random.Generator) -> float:
        """Return infinity: coefficients of these families are tested by z."""
        return float("inf")
