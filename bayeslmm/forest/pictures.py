"""Which pictures a fitted forest can be drawn as, and the arrays each needs."""

from typing import TYPE_CHECKING

import pandas as pd

from bayeslmm.errors import OptionError, is_word
from bayeslmm.forest import reading
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.likelihood.new_response import random_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("convergence", "ranef", "predicted")


def draw(fitted: FittedForest, kind: str, group: str | None = None) -> "Figure":
    """Draw one of the pictures.

    Raises
    ------
    OptionError
        If there is no such picture or random term.
    """
    if not is_word(kind, KINDS):
        raise OptionError(f"There is no plot kind={kind!r}; use one of {', '.join(map(repr, KINDS))}.")
    if kind == "ranef":
        return _ranef(fitted, group)
    if kind == "predicted":
        return _predicted(fitted)
    return _chains(fitted) if fitted.history is None or fitted.draws is not None else _sweeps(fitted.history)


def _sweeps(history: pd.DataFrame) -> "Figure":
    from bayeslmm.plots.sweeps import sweeps_figure

    return sweeps_figure(history)


def _chains(fitted: FittedForest) -> "Figure":
    """Draw the chains of standard deviations, sigma, and f at the first watched point."""
    from bayeslmm.plots.sweeps import chains_figure

    labels, draws = reading.monitored(fitted)
    shown = [k for k, label in enumerate(labels) if label.startswith("sd_") or label in ("sigma", "f at point 1")]
    return chains_figure([labels[k] for k in shown], draws[:, :, shown])


def _ranef(fitted: FittedForest, group: str | None) -> "Figure":
    """Draw the random effects of a term, with two conditional sds given f on either side."""
    from bayeslmm.plots.caterpillar import caterpillar_figure

    names = [term.name for term in fitted.design.terms]
    chosen = names[0] if group is None else group
    if chosen not in names:
        raise OptionError(f"There is no random term {chosen!r}; the terms are {', '.join(map(repr, names))}.")
    shown = "mode ± 2 sd, f and variances taken as known" if fitted.draws is None else "posterior mean ± 2 sd"
    return caterpillar_figure(reading.random_effects(fitted)[chosen], reading.random_effect_sds(fitted)[chosen], shown)


def _predicted(fitted: FittedForest) -> "Figure":
    """Draw the response against f and the linear part, out of sample, and against the full prediction."""
    from bayeslmm.plots.predicted import predicted_figure

    design = fitted.design
    linear = design.X @ fitted.components.beta
    name = "f(X) + Xβ" if design.p else "f(X)"
    predictions = {
        f"marginal: {name}": fitted.predictions + linear,
        f"conditional: {name} + Zb": fitted.ensemble
        + linear
        + random_part(design.terms, fitted.components.effects, design.n),
    }
    return predicted_figure(design.y, predictions, design.response)
