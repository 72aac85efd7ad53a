"""Random effects of which draws were kept, and what to say of the others."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.results.effects import Array, effect_frames


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
