"""What means are asked for: ``"treatment * sex | litsize"``."""

import re
from dataclasses import dataclass

from bayeslmm.errors import OptionError


@dataclass(frozen=True, slots=True)
class Specification:
    """The variables whose values are crossed, and those within whose values contrasts are made."""

    shown: tuple[str, ...]
    by: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All variables, those shown first."""
        return self.shown + self.by


def names_given(option: str, value: object) -> tuple[str, ...]:
    """Return a name, or several, that an option gives; None gives none.

    Raises
    ------
    OptionError
        If it is something else.
    """
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"{option}={value!r} is not possible; give a name, or a list of names.")
    return tuple(names)


def read_specification(text: str) -> Specification:
    """Read names joined by ``*``, ``+`` or ``:``, those of groups after a bar.

    Raises
    ------
    OptionError
        If there is no name, a name twice, or more than one bar.
    """
    parts = text.split("|") if isinstance(text, str) else []
    if not 1 <= len(parts) <= 2:
        raise OptionError(
            f"{text!r} does not name variables: write 'treatment', 'treatment * sex' or 'treatment | sex'."
        )
    names = [[name.strip().strip("`") for name in re.split(r"[*+:]", part)] for part in parts]
    flat = [name for part in names for name in part]
    if not all(flat) or len(set(flat)) < len(flat):
        raise OptionError(f"{text!r} names a variable twice or not at all: write 'treatment | sex'.")
    return Specification(tuple(names[0]), tuple(names[1]) if len(parts) == 2 else ())
