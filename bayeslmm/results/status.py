"""Whether a fit can be trusted, in a code and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Code = Literal["converged", "boundary", "failed", "ok", "doubtful"]

RHAT_LIMIT = 1.01  # Vehtari et al. (2021)
RHAT_FAILURE = 1.1  # chains that have not mixed: means and intervals say nothing
ESS_LIMIT = 400.0  # Vehtari et al. (2021): 100 per chain with four chains
K_HAT_LIMIT = 0.7  # Vehtari et al. (2024), Pareto smoothed importance sampling
LARGEST_WEIGHT = 50.0  # times the average: with no weight above it no point carries the estimate, whatever k-hat is
FAILURE_SHARE = 0.01  # share of points at which the density may fail before it is worth a word
TREE_DEPTH_SHARE = 0.05  # share of iterations at the largest tree depth that slows exploration noticeably


@dataclass(frozen=True, slots=True)
class Status:
    """How a fit ended.

    Attributes
    ----------
    code
        A PointFit's is "converged", "boundary" (a converged fit with a singular covariance matrix), "doubtful" (some
        coefficients have no finite estimate) or "failed"; a PosteriorFit's is "ok", "doubtful" or "failed".
    message
        A sentence, or several: what was found and what to try.
    """

    code: Code
    message: str

    @property
    def ok(self) -> bool:
        """Whether the numbers can be used as they are."""
        return self.code in ("converged", "boundary", "ok")

    def __str__(self) -> str:
        said = self.message.lower().startswith(self.code)
        return self.message if said else f"{self.code}: {self.message}"


def posterior_status(
    table: pd.DataFrame,
    stats: Mapping[str, NDArray[Any]],
    info: Mapping[str, Any],
    notes: Sequence[str] = (),
    failures: Sequence[str] = (),
) -> Status:
    """Judge posterior draws.

    Parameters
    ----------
    table
        Diagnostics by readable parameter name: columns rhat, ess_bulk, ess_tail; NaN where not defined.
    stats
        Statistics of the sampler, each of shape (chains, draws).
    info
        Facts about the run; ``k_hat``, ``largest_weight``, ``effective_size``, ``doubts``, ``failures``,
        ``kernel_failures``, ``kernel_evaluations``, ``messages`` are read.
    notes
        Further sentences that make a fit doubtful, such as what the data do not identify.
    failures
        Further sentences that make it a failed one, such as which draws are not finite.
    """
    found, doubts = _convergence(table, info)
    doubts += _sampler(stats, info)
    failures = [*failures, *found, *map(str, info.get("failures", ()))]
    doubts += [*map(str, info.get("doubts", ())), *notes]
    remarks = [*_unevaluated(info), *map(str, info.get("messages", ()))]
    if failures:
        return Status("failed", " ".join([*failures, *doubts, *remarks]))
    if doubts:
        return Status("doubtful", " ".join([*doubts, *remarks]))
    return Status("ok", " ".join([_praise(table, stats, info), *remarks]))


def _unevaluated(info: Mapping[str, Any]) -> list[str]:
    """Tell of points at which the density failed, if they are many: they count as impossible.

    A few far out, where no draw would stay, are no news.
    """
    count, evaluations = (int(info.get(name) or 0) for name in ("kernel_failures", "kernel_evaluations"))
    if not count or count <= FAILURE_SHARE * evaluations:
        return []
    share = f" ({count / evaluations:.1%} of those tried)" if evaluations else ""
    points = "one point, which was" if count == 1 else f"{count} points{share}, which were"
    return [f"The log posterior was not finite at {points} given no probability."]


def _convergence(table: pd.DataFrame, info: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    failures: list[str] = []
    doubts = _weights(info)
    if table["rhat"].notna().any():
        name, value = _worst(table["rhat"], largest=True)
        if value > RHAT_LIMIT and not _weighted(info):  # weighted draws are independent: nothing there has to mix
            others = _others(table["rhat"] > RHAT_LIMIT)
            (failures if value > RHAT_FAILURE else doubts).append(
                f"R-hat of {name} is {value:.3f}, above {RHAT_LIMIT}{others}: the chains have not mixed; "
                "sample longer (tune=, draws=) or simplify the model."
            )
    elif not table.empty:
        doubts.append("There are too few draws to judge convergence; sample longer (draws=).")
    least = table[["ess_bulk", "ess_tail"]].min(axis=1)
    if least.notna().any():
        name, value = _worst(least, largest=False)
        if value < ESS_LIMIT:
            doubts.append(
                f"{name} has {value:.0f} effective draws, fewer than {ESS_LIMIT:.0f}"
                f"{_others(least < ESS_LIMIT)}: means and intervals are imprecise; {_more_draws(info)}."
            )
    return failures, doubts


def _more_draws(info: Mapping[str, Any]) -> str:
    return f"ask for more draws=, or {_remedy(info)}" if _weighted(info) else "sample longer (draws=)"


def _weighted(info: Mapping[str, Any]) -> bool:
    """Whether the draws are those of importance sampling."""
    return info.get("effective_size") is not None and "approximation" not in info


def _remedy(info: Mapping[str, Any]) -> str:
    return str(info.get("remedy", 'use method="nuts"'))


def _weights(info: Mapping[str, Any]) -> list[str]:
    """Judge importance weights; an approximation's doubts speak of its weights themselves."""
    doubts: list[str] = []
    if "approximation" in info:
        return doubts
    k_hat, largest = info.get("k_hat"), info.get("largest_weight", np.inf)
    if k_hat is not None and not k_hat <= K_HAT_LIMIT and not largest <= LARGEST_WEIGHT:
        doubts.append(
            f"The Pareto k̂ of the importance weights is {k_hat:.2f}, above {K_HAT_LIMIT}: the "
            f"approximation misses part of the posterior; {_remedy(info)}."
        )
    size = info.get("effective_size")
    if size is not None and size < ESS_LIMIT:
        doubts.append(
            f"The importance weights leave {size:.0f} effective draws, fewer than {ESS_LIMIT:.0f}: ask for more "
            f"draws=, or {_remedy(info)}."
        )
    return doubts


def _sampler(stats: Mapping[str, NDArray[Any]], info: Mapping[str, Any]) -> list[str]:
    doubts: list[str] = []
    diverging = stats.get("diverging")
    if diverging is not None and (count := int(np.sum(diverging))):
        doubts.append(
            f"{count} of {np.size(diverging)} draws ended in a divergence: part of the posterior may be "
            f"missed; {_remedy_of_divergences(info)}."
        )
    deep = stats.get("reached_max_treedepth")
    if deep is not None and np.mean(deep) > TREE_DEPTH_SHARE:
        doubts.append(
            f"{np.mean(deep):.0%} of the draws stopped at the largest tree depth: exploration is slow; "
            f"sample longer{'' if _is_whitened(info) else ' or try another parametrization='}."
        )
    return doubts


def _is_whitened(info: Mapping[str, Any]) -> bool:
    """Whether the coordinates are those of families other than the normal, which have no others to choose."""
    return info.get("parametrization") == "whitened"


def _remedy_of_divergences(info: Mapping[str, Any]) -> str:
    if not _is_whitened(info):
        return "raise target_accept= (0.95), or try another parametrization="
    return 'compare with method="importance", state more informative priors, or leave out effects'


def _praise(table: pd.DataFrame, stats: Mapping[str, NDArray[Any]], info: Mapping[str, Any]) -> str:
    parts = []
    if "diverging" in stats:
        parts.append("no divergences")
    if (k_hat := info.get("k_hat")) is not None and np.isfinite(k_hat):  # equal weights have none
        parts.append(f"k̂ {k_hat:.2f}")
    if (size := info.get("effective_size")) is not None:
        parts.append(f"effective size {size:.0f}")
    if table["rhat"].notna().any():
        parts.append(f"largest R-hat {table['rhat'].max():.3f}")
    least = table[["ess_bulk", "ess_tail"]].min(axis=1)
    if least.notna().any():
        name, value = _worst(least, largest=False)
        parts.append(f"at least {value:.0f} effective draws ({name})")
    text = ", ".join(parts)
    return f"The draws can be trusted: {text}."


def _worst(values: pd.Series, *, largest: bool) -> tuple[str, float]:
    name = values.idxmax() if largest else values.idxmin()
    return str(name), float(values[name])


def _others(mask: pd.Series) -> str:
    count = int(mask.sum()) - 1
    if count <= 0:
        return ""
    return " (and 1 other parameter is beyond it)" if count == 1 else f" (and {count} other parameters are)"
