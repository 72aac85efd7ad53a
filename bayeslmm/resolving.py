"""The priors of a model, and the columns whose coefficients they can tell apart."""

from typing import TYPE_CHECKING

from bayeslmm.design.collinearity import with_all_columns
from bayeslmm.design.names import coefficient_key
from bayeslmm.errors import PriorError

if TYPE_CHECKING:
    from bayeslmm.design.design import Design
    from bayeslmm.families import Family
    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.spec import ModelSpec


def priors_of(design: "Design", spec: "ModelSpec", family: "Family | None") -> "ModelPriors":
    """Return the priors stated by `spec`, and the default ones of all other parameters of the design."""
    from bayeslmm.priors import resolve_family_priors, resolve_priors

    if family is None:
        return resolve_priors(design, spec.priors, sigma=spec.sigma)
    return resolve_family_priors(design, family.for_response(design.outcome), design.outcome, spec.priors)


def resolved_with_design(design: "Design", spec: "ModelSpec", family: "Family | None") -> "tuple[Design, ModelPriors]":
    """Return the design of posteriors and its priors.

    The design keeps collinear columns where the priors of those that likelihoods leave out are proper.

    Raises
    ------
    PriorError
        If a prior is stated for a coefficient that is not kept.
    """
    from bayeslmm.posterior.collinear_prior import identifies

    whole = with_all_columns(design)
    priors = priors_of(whole, spec, family)
    if identifies(priors):
        return whole, priors
    _refuse_stated(design.dropped_columns, priors)
    return design, priors_of(design, spec, family)


def _refuse_stated(left_out: tuple[str, ...], priors: "ModelPriors") -> None:
    """Refuse a prior of a coefficient that the model does not keep."""
    stated = [name for name in left_out if priors.sources.get(coefficient_key(name)) == "user"]
    if stated:
        raise PriorError(
            f"The column {stated[0]!r} is a combination of others, so the data do not tell its coefficient: give it a "
            "proper prior, or leave its prior out."
        )
