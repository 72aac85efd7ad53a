r"""Whether coefficients of the share of zeros, or of the log odds of successes, have a posterior under flat priors.

Along a direction d of the coefficients with flat priors, all others fixed, the likelihood of a row with columns c falls
to zero where its count is above zero and :math:`c^\top d > 0`, since then it becomes a sure zero; of families whose
zeros all come from the share also where it is zero and :math:`c^\top d < 0`. A zero that the counts may have made stays
possible either way. So there is no posterior where some :math:`d \ne 0` has

.. math:: c_i^\top d \le 0 \;\text{ for } y_i > 0 \qquad (\text{and } c_i^\top d \ge 0 \;\text{ for } y_i = 0),

with c in the coordinates that priors speak of: the Intercept that at the column means. Of successes among trials the
likelihood falls where :math:`c^\top d > 0` and there are failures, or :math:`c^\top d < 0` and there are successes.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import scipy  # scipy.optimize takes a fifth of a second to load and does so at its first use
from numpy.typing import NDArray

from bayeslmm.design.design import Design
from bayeslmm.errors import PriorError
from bayeslmm.families import Family
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.types import Array

SUCCESSES = ("bernoulli", "binomial")
UNBOUNDED = 1e-6  # of a coefficient that may go up to one: more than the rounding of a linear programme


def unbounded_coefficients(above: Array, at_zero: Array | None) -> list[int]:
    """Return the coefficients along which the likelihood does not fall, by themselves or else some of them together.

    Parameters
    ----------
    above
        Columns of the rows with counts above zero, (m, r).
    at_zero
        Those of the rows with zeros, (k, r), where the share has to account for them; None elsewhere.
    """
    bounds = above if at_zero is None else np.vstack([above, -at_zero])
    r = bounds.shape[1]
    sizes = np.max(np.abs(bounds), axis=0, initial=0.0)
    bounds = np.unique(bounds / np.where(sizes > 0, sizes, 1.0), axis=0)
    if np.linalg.matrix_rank(bounds) == r and _lowest(bounds.sum(axis=0), bounds) > -UNBOUNDED:
        return []  # every direction that lowers no row's likelihood would leave them all as they are
    found = []
    for k in range(r):
        if min(_lowest(sign * np.eye(r)[k], bounds) for sign in (1, -1)) < -UNBOUNDED:
            found.append(k)
    alone = [k for k in found if np.all(bounds[:, k] <= 0.0) or np.all(bounds[:, k] >= 0.0)]
    return alone or found


def _lowest(costs: Array, bounds: Array) -> float:
    """Return the least ``costs @ d`` over directions d, entries within one, with ``bounds @ d`` nowhere above zero."""
    return float(scipy.optimize.linprog(costs, A_ub=bounds, b_ub=np.zeros(len(bounds)), bounds=(-1, 1)).fun)


def check_separation(design: Design, family: Family, priors: ModelPriors) -> None:
    """Check that coefficients of the log odds under flat priors have a posterior.

    Raises
    ------
    PriorError
        Where the responses are separated by columns whose coefficients have flat priors.
    """
    flat = [j for j, prior in enumerate(priors.fixed) if not prior.proper]
    if family.name not in SUCCESSES or not flat:
        return
    moved = (design.X @ priors.fixed_centring.matrix)[:, flat]
    y, size = design.outcome.y, design.outcome.size
    if found := unbounded_coefficients(moved[y < size], moved[y > 0]):
        several = len(found) > 1
        why = f"the column{'s separate' if several else ' separates'} the responses"
        names = [priors.fixed_names[flat[k]] for k in found]
        raise PriorError(_message(names, why, f"{'columns' if several else 'the column'} out"))


def check_zero_coefficients(design: Design, family: Family, priors: ModelPriors) -> None:
    """Check that coefficients of the share of zeros under flat priors have a posterior.

    Raises
    ------
    PriorError
        Where they have none.
    """
    columns = family.zero_columns
    if columns is None:
        return
    r = columns.shape[1]
    stated = dict(priors.dispersion)
    names = [parameter.name for parameter in family.parameters[-r:]]
    flat = [k for k, name in enumerate(names) if not stated[name].proper]
    if not flat:
        return
    turn = family.prior_turn
    moved = columns if turn is None else columns @ np.linalg.inv(turn[-r:, -r:])
    zero: NDArray[np.bool_] = np.asarray(design.outcome.y) == 0
    at_zero = moved[zero][:, flat] if cast(Any, family).zeros_apart else None
    if found := unbounded_coefficients(moved[~zero][:, flat], at_zero):
        why = (
            "the column separates rows with zeros from the others"
            if at_zero is not None
            else "counts above zero bound it from one side only, as where all of them have one value of the column"
        )
        raise PriorError(
            _message([names[flat[k]] for k in found], why, f"the column{'s' if len(found) > 1 else ''} out of zero=")
        )


def _message(names: Sequence[str], why: str, what_to_leave: str) -> str:
    one, listed = len(names) == 1, ", ".join(names)
    return (
        f"The flat prior{'' if one else 's'} of {listed} leave{'s' if one else ''} no posterior: {why}. State "
        f'{"a proper prior" if one else "proper priors"}, such as "{names[0]}": "Normal(0, 2.5)", or leave '
        f"{what_to_leave}."
    )
