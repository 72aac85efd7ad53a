"""The only list of methods: what each is called, which options it takes, whether it returns draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bayeslmm.errors import OptionError, is_word, suggest

DRAW_OPTIONS = ("draws", "chains", "seed", "progressbar", "precision", "store", "quantiles")


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A way to fit.

    Attributes
    ----------
    name
        What it is called in a sentence.
    title
        Heading of a summary.
    samples
        Whether it returns draws of a posterior rather than an estimate.
    options
        Names of the options of `Model.fit` that it takes.
    criterion
        What it minimises, as a summary calls it; empty where it returns draws.
    """

    name: str
    title: str
    samples: bool
    options: tuple[str, ...]
    criterion: str = ""


METHODS: dict[str, MethodEntry] = {
    "nuts": MethodEntry(
        "NUTS",
        "Bayesian linear mixed model, sampled by NUTS",
        True,
        (*DRAW_OPTIONS, "tune", "cores", "target_accept", "sampler", "parametrization", "resume"),
    ),
    "importance": MethodEntry(
        "Importance sampling",
        "Bayesian linear mixed model, by importance sampling",
        True,
        (*DRAW_OPTIONS, "cores", "handover", "solver", "device"),
    ),
    "hmc": MethodEntry(
        "Hamiltonian Monte Carlo",
        "Bayesian linear mixed model, sampled by Hamiltonian Monte Carlo",
        True,
        (*DRAW_OPTIONS, "cores", "target_accept"),
    ),
    "advi": MethodEntry(
        "ADVI",
        "Bayesian linear mixed model, approximated by ADVI",
        True,
        (*DRAW_OPTIONS, "parametrization", "full_rank", "iterations"),
    ),
    "map": MethodEntry(
        "The posterior mode", "Linear mixed model at its posterior mode", False, ("progressbar",), "-2 log posterior"
    ),
    "reml": MethodEntry("REML", "Linear mixed model fit by REML", False, ("progressbar", "solver"), "REML criterion"),
    "ml": MethodEntry(
        "Maximum likelihood",
        "Linear mixed model fit by maximum likelihood",
        False,
        ("progressbar", "n_quad", "solver"),
        "-2 log-likelihood",
    ),
}


def find_method(method: str) -> MethodEntry:
    """Return the entry of a method.

    Raises
    ------
    OptionError
        If there is none of that name.
    """
    if is_word(method, METHODS):
        return METHODS[method]
    near = suggest(method, METHODS) if isinstance(method, str) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"method={method!r} is unknown; the methods are {', '.join(map(repr, METHODS))}.{hint}")


def _is_default(value: Any, default: Any) -> bool:
    """Return whether an option was left at its default; an array is none."""
    return value is default or (isinstance(value, type(default)) and value == default)


def check_options(method: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse an option that a method does not take.

    Parameters
    ----------
    method
        One of the methods.
    given
        The values of options; one that equals its default counts as not given.
    defaults
        The defaults.

    Raises
    ------
    OptionError
        With the methods that do take it.
    """
    entry = find_method(method)
    for name, value in given.items():
        if name not in entry.options and not _is_default(value, defaults[name]):
            takers = ", ".join(repr(other) for other, known in METHODS.items() if name in known.options)
            raise OptionError(f"method={method!r} takes no option {name!r}; it is for {takers}.")
