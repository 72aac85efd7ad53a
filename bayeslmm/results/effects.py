"""Labelled tables of effects from arrays: the layouts both kinds of fit share."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bayeslmm.covariance.pairs import lower_triangle
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.names import COVARIANCE, RESIDUAL, SIGMA, correlation_name, joined_names, sd_name
from bayeslmm.types import Array

VARCORR_COLUMNS = ("group", "effect", "other_effect", "variance", "sd", "correlation")


def level_counts(design: Design) -> dict[str, int]:
    """Return the number of levels of every grouping factor, by its name."""
    return {term.factor: term.n_levels for term in design.terms}


def fixed_series(design: Design, values: Array, name: str) -> pd.Series:
    """Return p values as a Series by coefficient name."""
    return pd.Series(np.array(values, dtype=float), index=fixed_index(design), name=name)


def fixed_index(design: Design) -> pd.Index:
    """Return the names of the fixed coefficients as an index."""
    return pd.Index(list(design.fixed_names), name="coefficient")


def effect_frames(terms: Sequence[RandomTerm], values: Sequence[Array]) -> dict[str, pd.DataFrame]:
    """Return one frame per term, levels by effects.

    Parameters
    ----------
    terms
        The random terms.
    values
        One array per term, shape (J, S).
    """
    frames = {}
    for term, array in zip(terms, values, strict=True):
        index = term.levels.rename(term.factor)
        frames[term.name] = pd.DataFrame(np.array(array, dtype=float), index=index, columns=list(term.effects))
    return frames


def varcorr_frame(
    terms: Sequence[RandomTerm],
    sds: Sequence[Array],
    variances: Sequence[Array],
    correlations: Sequence[Array | None],
    sigma: tuple[float, float] | None,
) -> pd.DataFrame:
    """Return variances, standard deviations and correlations as one table.

    A row per standard deviation (``other_effect`` None), per correlation (``variance`` and ``sd`` NaN), and
    ``"Residual"`` last (``effect`` None).

    Parameters
    ----------
    terms
        The random terms.
    sds, variances
        Per term, shape (S,). Given apart because the posterior mean of a variance is not the square of the
        posterior mean of its root.
    correlations
        Per term, shape (S, S), or None where the term has none.
    sigma
        Standard deviation and variance of the residuals; None where the response's family has none.
    """
    rows: list[tuple[object, ...]] = []
    for term, sd, variance, correlation in zip(terms, sds, variances, correlations, strict=True):
        for s, effect in enumerate(term.effects):
            rows.append((term.name, effect, None, float(variance[s]), float(sd[s]), np.nan))
        if correlation is None:
            continue
        for i, j in lower_triangle(term.n_columns):
            rows.append((term.name, term.effects[j], term.effects[i], np.nan, np.nan, float(correlation[i, j])))
    if sigma is not None:
        rows.append((RESIDUAL, None, None, float(sigma[1]), float(sigma[0]), np.nan))
    columns = list(zip(*rows, strict=True)) or [()] * len(VARCORR_COLUMNS)
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=object if position < 3 else float)
            for position, (name, column) in enumerate(zip(VARCORR_COLUMNS, columns, strict=True))
        }
    )


def parameter_label(group: str, effect: str | None, other: str | None) -> str:
    """Return the parameter of a row of varcorr: ``"sd_Subject[Days]"``, ``"cor_g[Intercept, x]"``, ``"sigma"``."""
    if effect is None:
        return SIGMA
    return sd_name(group, effect) if other is None else correlation_name(group, effect, other)


def covariance_labels(varcorr: pd.DataFrame) -> pd.Index:
    """Return the parameters of all rows of a varcorr table, as posteriors, priors and statements name them."""
    columns = (varcorr["group"], varcorr["effect"], varcorr["other_effect"])
    return pd.Index([parameter_label(*row) for row in zip(*columns, strict=True)], name="parameter")


def parameter_names(design: Design, varcorr: pd.DataFrame) -> list[str]:
    """Return the names of coefficients, then of the rows of varcorr, each once."""
    return joined_names(design.fixed_names, list(covariance_labels(varcorr)))


def spellings(name: str) -> list[str]:
    """Return how else a parameter may be written.

    ``"sd_Subject[Days]"`` is ``"Subject: sd(Days)"``, the effects of ``"cor_Subject[Intercept, Days]"`` come in either
    order, ``"sigma"`` is ``"Residual: sd"``, and a coefficient ``"treatment[T.High]"`` is ``"treatment[High]"``.
    """
    if name == SIGMA:
        return [f"{RESIDUAL}: sd"]
    found = COVARIANCE.fullmatch(name)
    if found is None:
        return [name.replace("[T.", "[")] if "[T." in name else []
    kind, group, inside = found.groups()
    if kind == "sd":
        return [f"{group}: sd({inside})"]
    effects = inside.split(", ")  # an effect may have commas of its own
    turned = [", ".join([*effects[k:], *effects[:k]]) for k in range(1, len(effects))]
    return [f"{group}: cor({inside})", *(f"cor_{group}[{pair}]" for pair in turned)]


def dropped_rows_sentence(n_dropped: Mapping[str, int]) -> str:
    """Return ``"3 rows dropped (missing: 2, zero weight: 1)"``, or an empty text if none were."""
    counts = {reason: count for reason, count in n_dropped.items() if count}
    if not counts:
        return ""
    total = sum(counts.values())
    reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.items())
    return f"{total} {'row' if total == 1 else 'rows'} dropped ({reasons})"
