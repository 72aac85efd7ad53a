r"""How far the model moves the estimates of groups towards what they share.

Without pooling, group j of a term has the least-squares coefficients of its own rows,
:math:`c_j = \operatorname{argmin}\sum_{i \in j} w_i(r_i - z_i^\top c)^2`, r the response less the parts that are not
of the term; by the model they are :math:`\hat\beta + \hat b_j` of the term's effects.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit


def pooling(fit: "Fit", name: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return estimates of a term without, with partial and with complete pooling.

    Parameters
    ----------
    fit
        A fit of a normal response.
    name
        The term.

    Returns
    -------
    separate, pooled
        Levels by effects; NaN where the rows of a group do not identify its own coefficients.
    common
        By effect, of least squares over all rows without groups.
    """
    design = fit.design
    place = [term.name for term in design.terms].index(name)
    term = design.terms[place]
    beta = fit.fixef()
    effects, index = list(term.effects), fit.ranef()[name].index
    shared = np.array([float(beta.get(effect, 0.0)) for effect in effects])
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    y = design.y - (0.0 if design.offset is None else design.offset)
    rest = fit.fitted().to_numpy() - (0.0 if design.offset is None else design.offset)
    b = fit.ranef()[name].to_numpy()
    partial = y - rest + np.einsum("ns,ns->n", term.columns, b[term.codes] + shared)
    separate = np.full((term.n_levels, len(effects)), np.nan)
    order = np.argsort(term.codes, kind="stable")
    starts = np.searchsorted(term.codes[order], np.arange(term.n_levels + 1))
    for j in range(term.n_levels):
        rows = order[starts[j] : starts[j + 1]]
        Z = root[rows, None] * term.columns[rows]
        solution, _, rank, _ = np.linalg.lstsq(Z, root[rows] * partial[rows], rcond=None)
        if rank == len(effects):
            separate[j] = solution
    least, *_ = np.linalg.lstsq(root[:, None] * design.X, root * y, rcond=None)
    complete = dict(zip(design.fixed_names, least, strict=True))
    common = pd.Series([complete.get(effect, 0.0) for effect in effects], index=effects)
    return (
        pd.DataFrame(separate, index=index, columns=effects),
        pd.DataFrame(shared + b, index=index, columns=effects),
        common,
    )
