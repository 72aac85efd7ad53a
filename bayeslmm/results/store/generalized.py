"""What the record of a generalized point fit holds beside that of a normal response, and the way back."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from bayeslmm.errors import FittingError, OptionError, StorageError, explanation
from bayeslmm.families import FAMILIES, Family
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum
from bayeslmm.inference.optimum.generalized.restored import Estimates, restore_maximum
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.results.generalized import GeneralizedPointFit
from bayeslmm.results.store.schema import ListOf, Number, Table, Text, Whole

MOST_POINTS = 1000  # of quadrature, in each dimension

GENERALIZED_OPTIMUM = Table(
    required={
        "theta": ListOf(Number()),
        "beta": ListOf(Number()),
        "dispersion": ListOf(Number()),
        "n_quad": Whole(0, MOST_POINTS),
        "objective": Number(),
        "gradient_norm": Number(),
        "code": Text(("converged", "boundary", "failed")),
        "message": Text(),
        "diverging": ListOf(Whole()),
        "objectives": ListOf(Number()),
    }
)


def check_family(family: Family) -> None:
    """Refuse a family of the user's own: a record holds names, and no code.

    Raises
    ------
    StorageError
        With the remedy.
    """
    if FAMILIES.get(family.name) is not type(family):
        raise StorageError(
            f"The family {family.name!r} is of your own, and code is never stored; keep the formula and the data, and "
            "fit again."
        )


def describe_generalized(fit: GeneralizedPointFit) -> dict[str, Any]:
    """Return the record of a fit at the maximum of a generalized likelihood."""
    found = fit.maximum
    return {
        "theta": list(found.theta),
        "beta": list(found.beta),
        "dispersion": list(found.dispersion),
        "n_quad": found.n_quad,
        "objective": -2.0 * found.loglik,
        "gradient_norm": found.gradient_norm,
        "code": found.status,
        "message": fit.optimum.message,
        "diverging": list(found.diverging),
        "objectives": list(found.values),
    }


def read_generalized(
    result: Mapping[str, Any], design: Any, family: Family, density: GeneralizedDensity | None = None
) -> GeneralizedMaximum:
    """Return the maximum of a record, its likelihood evaluated again on a design; of a posterior mode, its density.

    Raises
    ------
    StorageError
        If the record does not suit the model.
    """
    estimates = Estimates(
        n_quad=result["n_quad"],
        theta=np.array(result["theta"], dtype=float),
        beta=np.array(result["beta"], dtype=float),
        dispersion=np.array(result["dispersion"], dtype=float),
        status=cast(Any, result["code"]),
        diverging=tuple(result["diverging"]),
        gradient_norm=float(result["gradient_norm"]),
        values=tuple(float(value) for value in result["objectives"]),
    )
    try:
        return restore_maximum(
            family,
            design.outcome,
            design.X,
            design.terms,
            estimates,
            offset=design.offset,
            names=[term.name for term in design.terms],
            density=density,
        )
    except (FittingError, OptionError, np.linalg.LinAlgError) as error:
        said = explanation(error)
        raise StorageError(f"fit.json: the estimates under 'result' do not suit the model: {said}") from error
