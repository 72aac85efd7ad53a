"""What the picture of a predictor's effect shows: means with limits, curves of single groups, the data."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.mean_rows import check_predictor, predictor_frame, predictor_levels
from bayeslmm.design.streamed import is_streamed
from bayeslmm.errors import OptionError
from bayeslmm.results.mean_scale import natural_scale, scale_of_fit

if TYPE_CHECKING:
    from bayeslmm.plots.effect_curve import EffectCurves
    from bayeslmm.results.fit import Fit

NODES = 60  # values of a number along the axis
MOST_GROUPS = 60  # curves of single groups drawn
MOST_POINTS = 5_000  # rows drawn
MOST_COLOURS = 8


def effect_curves(
    fit: "Fit", variable: str, by: str | None, group: str | None, points: bool, level: float
) -> "EffectCurves":
    """Return the arrays of an effects picture, on the scale of the response where it is known.

    Parameters
    ----------
    fit
        Any fit of a model.
    variable
        A predictor of the fixed part.
    by
        Another one, whose values have colours.
    group
        Grouping factor whose levels' curves are shown; None for the first, "" for none.
    points
        Whether the data are shown.
    level
        Probability of the band.

    Raises
    ------
    DataError
        If a variable is no predictor.
    OptionError
        If `by` is the variable itself or has too many values, or `group` is no grouping factor.
    """
    from bayeslmm.plots.effect_curve import EffectCurves

    design = fit.design
    for name in (variable, *(() if by is None else (by,))):
        check_predictor(design, name)
    if by == variable:
        raise OptionError(f"by={by!r} is the variable along the axis; name another predictor.")
    levels, data = predictor_levels(design), predictor_frame(design)
    at: dict[str, Any] = {}
    numeric = levels[variable] is None
    if numeric:
        observed = data[variable].to_numpy(dtype=float)
        at[variable] = np.linspace(observed.min(), observed.max(), NODES)
    if by is not None and levels[by] is None:
        at[by] = _some_values(data[by].to_numpy(dtype=float))
    if by is not None and (len(at[by]) if by in at else len(cast(Any, levels[by]))) > MOST_COLOURS:
        raise OptionError(
            f"{by!r} has more than {MOST_COLOURS} levels, too many for colours: choose another predictor."
        )
    wanted = variable if by is None else f"{variable} | {by}"
    on = natural_scale(fit)
    estimates = fit.means(wanted, at=at, scale=on)
    table = estimates.table(level).rename(columns={"mean": "estimate", variable: "x", **({by: "by"} if by else {})})
    groups = _group_curves(fit, table, variable, by, at, on, group) if numeric else pd.DataFrame()
    shown = _points(fit, data, variable, by, at, on) if points else pd.DataFrame()
    name = design.response if on == "response" or design.outcome is None else f"linear predictor of {design.response}"
    return EffectCurves(variable, by, str(name), table, groups, shown, level)


def _some_values(x: Any) -> Any:
    """Return a low, a middle and a high value of a number, or all of its few values."""
    values = np.unique(x)
    return values if len(values) <= 4 else np.quantile(x, [0.1, 0.5, 0.9]).round(6)


def _group_curves(
    fit: "Fit", table: pd.DataFrame, variable: str, by: str | None, at: dict[str, Any], on: str, group: str | None
) -> pd.DataFrame:
    """Return the means moved by the random effects of single levels, at the values those levels have of `by`."""
    design = fit.design
    factors = [term.factor for term in design.terms if not isinstance(term.factor, tuple) and ":" not in term.factor]
    if group == "" or not factors or is_streamed(design) or not _kept(fit):
        return pd.DataFrame()
    chosen = factors[0] if group is None else group
    if chosen not in factors:
        raise OptionError(f"group={chosen!r} is no grouping factor; they are {', '.join(map(repr, factors))}.")
    rows = design.data.iloc[design.rows]
    first = rows.drop_duplicates([chosen, by] if by is not None and by not in at else [chosen])
    first = first.iloc[np.linspace(0, len(first) - 1, min(len(first), MOST_GROUPS)).astype(int)]
    x = np.asarray(at[variable])
    frame = first.loc[first.index.repeat(len(x))].reset_index(drop=True)
    frame[variable] = np.tile(x, len(first))
    moved = _linear(fit, frame, chosen) - _linear(fit, frame, None)
    if by is not None and by not in at:
        key = table.set_index(["x", "by"])["estimate"]
        middle = key.reindex(pd.MultiIndex.from_frame(frame[[variable, by]])).to_numpy(dtype=float)
    else:
        middle = table.groupby("x")["estimate"].mean().reindex(frame[variable]).to_numpy(dtype=float)
    found = pd.DataFrame({"x": frame[variable], "group": np.repeat(np.arange(len(first)), len(x))})
    if by is not None:
        found["by"] = frame[by] if by not in at else table["by"].iloc[0]
    return found.assign(mean=_shifted(fit, middle, moved, on))


def _kept(fit: "Fit") -> bool:
    """Whether the draws of all random effects are there; a point fit has its modes."""
    draws = getattr(fit, "draws", None)
    return draws is None or all(draws.kept)


def _linear(fit: "Fit", frame: pd.DataFrame, factor: str | None) -> Any:
    """Return the linear predictor of rows, with the random effects or without."""
    if getattr(fit, "family", None) is not None:
        return np.asarray(cast(Any, fit).predict(frame, kind="link", random="none" if factor is None else "all"))
    return np.asarray(fit.predict(frame, kind="population" if factor is None else "conditional"))


def _shifted(fit: "Fit", middle: Any, moved: Any, on: str) -> Any:
    """Return the means moved on the linear scale."""
    scale = scale_of_fit(fit)
    if on == "link" or scale is None:
        return middle + moved
    family = cast(Any, fit).family
    return np.asarray(scale.inverse(family.link.predictor(middle) + moved))


def _points(fit: "Fit", data: pd.DataFrame, variable: str, by: str | None, at: dict[str, Any], on: str) -> pd.DataFrame:
    """Return the data on the scale shown, in few enough rows; none where the response is not on it."""
    design = fit.design
    if is_streamed(design) or (design.outcome is not None and on == "link"):
        return pd.DataFrame()
    y = np.asarray(design.y, dtype=float)
    found = pd.DataFrame({"x": data[variable].to_numpy(), "y": y})
    if by is not None:
        values = data[by].to_numpy()
        if by in at:
            nearest = np.abs(values.astype(float)[:, None] - np.asarray(at[by])[None]).argmin(axis=1)
            values = np.asarray(at[by])[nearest]
        found["by"] = values
    if len(found) > MOST_POINTS:
        found = found.iloc[np.linspace(0, len(found) - 1, MOST_POINTS).astype(int)]
    return found


def check_variable(variable: Any) -> str:
    """Return the name of the predictor to draw along.

    Raises
    ------
    OptionError
        If none is given.
    """
    if not isinstance(variable, str):
        raise OptionError("The plot 'effects' needs a predictor, as in fit.plot('effects', 'Days').")
    return variable
