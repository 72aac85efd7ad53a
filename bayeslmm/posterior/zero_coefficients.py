r"""Whether coefficients of the share of zeros have a posterior under flat priors.

Along a direction d of the coefficients with flat priors, all others fixed, the likelihood of a row with columns c falls
to zero where its count is above zero and :math:`c^\top d > 0`, since then it becomes a sure zero; of families whose
zeros all come from the share also where it is zero and :math:`c^\top d < 0`. A zero that the counts may have made stays
possible either way. So there is no posterior where some :math:`d \ne 0` has

.. math:: c_i^\top d \le 0 \;\text{ for } y_i > 0 \qquad (\text{and } c_i^\top d \ge 0 \;\text{ for } y_i = 0),

with c in the coordinates that priors speak of: the Intercept that at the column means.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from bayeslmm.design.design import Design
from bayeslmm.errors import PriorError
from bayeslmm.families import Family
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.types import Array

UNBOUNDED = 1e-6  # of a coefficient that may go up to one: more than the rounding of a linear programme


def unbounded_coefficients(above: Array, at_zero: Array | None) -> list[int]:
    """Return the coefficients that some direction without a fall of the likelihood has a part of.

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
    found = []
    for k in range(r):
        ends = [
            linprog(sign * np.eye(r)[k], A_ub=bounds, b_ub=np.zeros(len(bounds)), bounds=(-1, 1)) for sign in (1, -1)
        ]
        if any(-end.fun > UNBOUNDED for end in ends):
            found.append(k)
    return found


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
        raise PriorError(_no_posterior([names[flat[k]] for k in found], cast(Any, family).zeros_apart))


def _no_posterior(names: Sequence[str], apart: bool) -> str:
    one = len(names) == 1
    listed = ", ".join(names)
    why = (
        "the column separates rows with zeros from the others"
        if apart
        else "counts above zero bound it from one side only, as where all of them have one value of the column"
    )
    return (
        f"The flat prior{'' if one else 's'} of {listed} leave{'s' if one else ''} no posterior: {why}. State "
        f'{"a proper prior" if one else "proper priors"}, such as "{names[0]}": "Normal(0, 2.5)", or leave the '
        f"column{'' if one else 's'} out of zero=."
    )
