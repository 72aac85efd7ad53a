"""Leave-one-out of posteriors of generalized models."""

import numpy as np

from bayeslmm.comparison.generalized import NODES, IntegratedTerm, generalized_left_out
from bayeslmm.comparison.pareto_loo import LeftOut
from bayeslmm.errors import OptionError
from bayeslmm.likelihood.layout import nesting
from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.results.left_out_units import Units
from bayeslmm.results.posterior_prediction import flatten
from bayeslmm.types import Array

AGAIN = "use cross_validate(), which fits the model again"


def generalized_units(fit: GeneralizedPosteriorFit, units: Units, count: int) -> LeftOut:
    """Return the predictive densities of units left out, at most `count` draws used.

    Raises
    ------
    OptionError
        If the effects of the units cannot be integrated out, or draws of random effects were not kept.
    """
    design = fit.design
    require_effects(design, fit.draws)
    chosen_term = _integrated(fit, units)
    flat = flatten(fit.draws)
    total = len(flat.sigma)
    chosen = np.arange(total) if total <= count else np.linspace(0, total - 1, count).astype(int)
    beta = flat.beta[chosen]
    effects = [b[chosen] for b in flat.effects]
    offset = 0.0 if design.offset is None else design.offset

    def predictor(d: int) -> Array:
        """Return the linear predictor of a draw without the term integrated out."""
        eta = np.asarray(design.X @ beta[d] + offset)
        for k, (term, b) in enumerate(zip(design.terms, effects, strict=True)):
            if k != chosen_term:
                eta += term.times(b[d])
        return eta

    if chosen_term is None:
        n = design.n
        nothing = IntegratedTerm(np.zeros(n, dtype=np.int32), np.zeros((n, 0)), np.zeros((1, 0)), np.zeros((1, 0, 0)))
        factors = np.zeros((len(chosen), 0, 0))
        integrated = nothing
    else:
        term, factors = design.terms[chosen_term], flat.factors[chosen_term][chosen]
        spherical = np.linalg.solve(factors, effects[chosen_term].swapaxes(1, 2)).swapaxes(1, 2)
        integrated = IntegratedTerm.around(term.codes, term.columns, spherical)
    return generalized_left_out(
        fit.family, fit.outcome, integrated, predictor, factors, fit._working[chosen], by_level=units.codes is not None
    )


def _integrated(fit: GeneralizedPosteriorFit, units: Units) -> int | None:
    """Return the place of the term to integrate out."""
    terms = fit.design.terms
    if units.codes is None:
        if not terms:
            return None
        place = max(range(len(terms)), key=lambda k: (terms[k].n_levels, -k))
    else:
        places = [k for k, term in enumerate(terms) if term.factor == units.name]
        if not places:
            raise OptionError(
                f"{units.name!r} is no grouping factor of the model, so the effects of its levels cannot be integrated "
                f"out in a generalized model: {AGAIN}, with by={units.name!r}."
            )
        inside = [
            term.name
            for k, term in enumerate(terms)
            if k != places[0] and nesting(term.codes, terms[places[0]].codes, term.n_levels) is not None
        ]
        if inside:
            raise OptionError(
                f"The effects of {', '.join(inside)} belong to one level of {units.name!r} alone, so they would have "
                f"to be integrated out with it: {AGAIN}, with by={units.name!r}."
            )
        place = places[0]
    if terms[place].n_columns not in NODES:
        raise OptionError(
            f"{terms[place].name!r} has {terms[place].n_columns} effects per level, more than the {max(NODES)} that "
            f"quadrature integrates: {AGAIN}."
        )
    return place
