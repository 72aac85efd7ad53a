"""Pictures of the predictors' effects, and of what the model shrinks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bayeslmm.design.build import Recipe
from bayeslmm.design.mean_rows import predictor_levels
from bayeslmm.design.streamed import is_streamed
from bayeslmm.errors import BayeslmmError
from bayeslmm.report import Section
from bayeslmm.report.page import Part
from bayeslmm.results.pictures import draw
from bayeslmm.results.report_pictures import report_picture

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

MOST_PICTURES = 4
MOST_COLOURS = 6  # levels of a factor that interacts with what is drawn
MOST_LEVELS = 30  # of a category along the axis
MOST_GROUPS = 200  # levels of a factor whose shrinkage is drawn


def effects_section(fit: "Fit", level: float, pictures: bool) -> Section | None:
    """Return a picture for each predictor, by the factor it interacts with, and of shrinkage; None without any."""
    if not pictures or is_streamed(fit.design):
        return None
    parts: list[Part] = []
    for variable, by in _wanted(fit)[:MOST_PICTURES]:
        shown = {"variable": variable, "by": by, "level": level}
        caption = f"{fit.design.response} by {variable}" + (f" and {by}" if by else "")
        caption += f": mean with {100 * level:g}% limits, the data behind it"
        parts.append(_drawn(fit, "effects", shown, caption))
    for term in fit.design.terms:
        if term.n_levels <= MOST_GROUPS and fit.design.outcome is None:
            caption = f"{term.name}: estimates from each level's own rows, the model's, and those of all rows together"
            parts.append(_drawn(fit, "shrinkage", {"group": term.name}, caption))
            break
    return Section("Effects", tuple(parts)) if parts else None


def _drawn(fit: "Fit", kind: str, options: Mapping[str, object], caption: str) -> Part:
    try:
        return report_picture(caption, draw(fit, kind, options))
    except BayeslmmError as error:
        return f"{caption}: not drawn. {error}"


def _wanted(fit: "Fit") -> list[tuple[str, str | None]]:
    """Return the predictors to draw, each with a factor of few levels that it interacts with, if there is one."""
    recipe: Recipe = fit.design.recipe
    levels = predictor_levels(fit.design)
    together: dict[str, list[str]] = {name: [] for name in levels}
    for term in recipe.fixed.terms:
        names = list(dict.fromkeys(name for factor in term for name in factor.columns))
        for name in names:
            if name in together:
                together[name] += [other for other in names if other != name and other in levels]
    found: list[tuple[str, str | None]] = []
    for name, known in levels.items():
        if known is not None and not 2 <= len(known) <= MOST_LEVELS:
            continue
        partners = [other for other in together[name] if levels[other] is not None]
        few = [other for other in partners if len(levels[other]) <= MOST_COLOURS]  # type: ignore[arg-type]
        found.append((name, few[0] if few else None))
    return found
