"""Random effects of which draws were kept, and what to say of the others."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.posterior.effect_summary import EffectSummary
from bayeslmm.results.effects import Array, effect_frames

SAME_PROBABILITY = 1e-6


class KeptFrames(dict[str, pd.DataFrame]):
    """Frames by term that tell, when asked for a term whose draws were not kept, how to get them."""

    def __init__(self, frames: Mapping[str, pd.DataFrame], absent: Sequence[str]) -> None:
        super().__init__(frames)
        self.absent = tuple(absent)

    def __missing__(self, name: str) -> pd.DataFrame:
        """Raise an OptionError for a term whose draws were not kept, a KeyError for anything else."""
        if name in self.absent:
            raise OptionError(not_kept([name]))
        raise KeyError(name)


def kept_frames(design: Design, draws: Draws, values: Sequence[Array]) -> dict[str, pd.DataFrame]:
    """Return one frame per term whose draws were kept, levels by effects.

    Parameters
    ----------
    design, draws
        What was fitted, and how it came out.
    values
        One array per term, shape (J, S); those of terms not kept are left out.

    Raises
    ------
    OptionError
        If there are terms and none was kept.
    """
    if draws.summaries:
        return effect_frames(design.terms, values)
    absent = absent_terms(design, draws)
    if not any(draws.kept) and absent:
        raise OptionError(not_kept(absent))
    here = [k for k, kept in enumerate(draws.kept) if kept]
    frames = effect_frames([design.terms[k] for k in here], [values[k] for k in here])
    return KeptFrames(frames, absent) if absent else frames


def require_effects(design: Design, draws: Draws) -> None:
    """Refuse what needs the random effects of all terms.

    Raises
    ------
    OptionError
        If the draws of some were not kept.
    """
    absent = absent_terms(design, draws)
    if absent:
        raise OptionError(not_kept(absent))


def absent_terms(design: Design, draws: Draws) -> list[str]:
    """Return the names of the terms whose draws were not kept."""
    return [term.name for term, kept in zip(design.terms, draws.kept, strict=True) if not kept]


def not_kept(names: Sequence[str]) -> str:
    """Say that draws were not kept, and what to do."""
    return (
        f"The draws of the random effects of {', '.join(map(repr, names))} were not kept: fit again with "
        f"{'it' if len(names) == 1 else 'them'} in store=, or without store=."
    )


def summary_tables(design: Design, summaries: Sequence[EffectSummary], level: float) -> dict[str, pd.DataFrame]:
    """Return mean, sd, lower and upper of every random effect, one frame per term, by level and effect.

    Raises
    ------
    OptionError
        If the quantiles for this level were not kept.
    """
    ends = (0.5 - level / 2, 0.5 + level / 2)
    known = summaries[0].probabilities
    places = [int(np.argmin(np.abs(known - end))) for end in ends]
    if max(abs(known[place] - end) for place, end in zip(places, ends, strict=True)) > SAME_PROBABILITY:
        raise OptionError(
            f"The quantiles for level={level!r} were not kept; those of {', '.join(f'{p:g}' for p in known)} were. Fit "
            f"again with quantiles=({ends[0]:.4g}, {ends[1]:.4g})."
        )
    tables = {}
    for term, found in zip(design.terms, summaries, strict=True):
        index = pd.MultiIndex.from_product([term.levels, term.effects], names=[term.factor, "effect"])
        columns = {"mean": found.mean, "sd": found.sd}
        columns |= {name: found.quantiles[place] for name, place in zip(("lower", "upper"), places, strict=True)}
        tables[term.name] = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)
    return tables
