"""Pictures of a fitted forest: matplotlib figures without pyplot."""

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import OptionError
from bayeslmm.forest import reading
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.residual_kernel import random_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


KINDS = ("convergence", "ranef", "predicted")
MOST_LABELS = 60  # levels whose names still fit beside a plot
Z95 = 1.959963984540054  # 97.5% point of the standard normal


def draw(fitted: FittedForest, kind: str) -> "Figure":
    """Draw one of the pictures.

    Raises
    ------
    OptionError
        If there is no such picture.
    """
    if kind not in KINDS:
        raise OptionError(f"there is no plot {kind!r}; use one of {', '.join(map(repr, KINDS))}.")
    if kind == "ranef":
        return effects_figure(fitted)
    if kind == "predicted":
        return predicted_figure(fitted)
    return sweeps_figure(fitted) if fitted.draws is None else traces_figure(fitted)


def _grid(count: int, height: float = 2.4, width: float = 7.0) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * count), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)
    return figure, list(axes[:, 0])


def sweeps_figure(fitted: FittedForest) -> "Figure":
    """Draw standard deviations, marginal log-likelihood and held-out error by sweep."""
    from matplotlib.ticker import MaxNLocator

    history = fitted.history
    assert history is not None
    panels = [("Standard deviations", [c for c in history if c == "sigma" or c.startswith("sd_")])]
    panels += [("Marginal log-likelihood", ["loglik"])]
    if history["held_out_rmse"].notna().any():
        panels.append(("Held-out root mean squared error", ["held_out_rmse"]))
    figure, axes = _grid(len(panels))
    for ax, (title, columns) in zip(axes, panels, strict=True):
        for column in columns:
            ax.plot(history.index, history[column], marker="o", markersize=3, label=column)
        ax.set_title(title, loc="left", fontsize=10)
        if len(columns) > 1:
            ax.legend(fontsize=8, frameon=False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1].set_xlabel("sweep")
    return figure


def traces_figure(fitted: FittedForest) -> "Figure":
    """Draw the chains of standard deviations, sigma, and f at the first watched point."""
    labels, draws = reading.monitored(fitted)
    shown = [k for k, label in enumerate(labels) if label.startswith("sd_") or label in ("sigma", "f at point 1")]
    figure, axes = _grid(len(shown), height=1.6)
    for ax, k in zip(axes, shown, strict=True):
        for chain in draws[:, :, k]:
            ax.plot(chain, linewidth=0.6)
        ax.set_title(labels[k], loc="left", fontsize=10)
    axes[-1].set_xlabel("draw")
    return figure


def effects_figure(fitted: FittedForest) -> "Figure":
    """Draw every random effect in order, with 95% intervals given f."""
    frames, spreads = reading.random_effects(fitted), reading.random_effect_sds(fitted)
    panels = [(name, effect) for name, frame in frames.items() for effect in frame.columns]
    figure, axes = _grid(len(panels), height=3.0)
    for ax, (name, effect) in zip(axes, panels, strict=True):
        b = frames[name][effect].sort_values()
        sd = spreads[name][effect].loc[b.index].to_numpy()
        places = np.arange(len(b))
        ax.errorbar(places, b.to_numpy(), yerr=Z95 * sd, fmt="o", markersize=3, linewidth=0.8)
        ax.axhline(0.0, color="0.6", linewidth=0.8)
        ax.set_title(f"{name}: {effect}", loc="left", fontsize=10)
        ax.set_ylabel("b")
        ax.set_xticks(places if len(b) <= MOST_LABELS else [])
        if len(b) <= MOST_LABELS:
            ax.set_xticklabels([str(level) for level in b.index], rotation=90, fontsize=7)
    return figure


def predicted_figure(fitted: FittedForest) -> "Figure":
    """Draw the response against f and the linear part, out of sample, and against the full prediction."""
    from matplotlib.figure import Figure

    design = fitted.design
    linear = design.X @ fitted.components.beta
    marginal = fitted.predictions + linear
    conditional = fitted.ensemble + linear + random_part(design.terms, fitted.components.effects, design.n)
    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    name = "f(X) + Xβ" if fitted.design.p else "f(X)"
    for ax, values, title in zip(
        axes, (marginal, conditional), (f"marginal: {name}", f"conditional: {name} + Zb"), strict=True
    ):
        ax.scatter(values, design.y, s=8, alpha=0.5, edgecolors="none")
        ends = [min(values.min(), design.y.min()), max(values.max(), design.y.max())]
        ax.plot(ends, ends, color="0.5", linewidth=0.8)
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_xlabel("predicted")
    axes[0].set_ylabel(design.response)
    return figure
