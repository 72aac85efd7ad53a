"""Arguments of a model, checked."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.design.evaluate import LARGEST_NUMBER, SMALLEST_NUMBER
from bayeslmm.errors import OptionError

if TYPE_CHECKING:
    from bayeslmm.families import Family


def check_zero(zero: str | None, family: "Family | None") -> None:
    """Check that a family has a share of zeros where a formula for it is given."""
    if zero is not None and (family is None or not family.has_zero_part):
        name = "gaussian" if family is None else family.name
        raise OptionError(f"zero= is for the zero-inflated and hurdle families; {name!r} has no share of zeros.")


def check_sigma(sigma: Any, family: "Family | None") -> None:
    """Check that sigma, where it is known, is a positive number whose square is one, and of normal responses."""
    if sigma is None:
        return
    if family is not None:
        raise OptionError(f"sigma= is for normal responses; the family {family.name!r} has none.")
    if isinstance(sigma, bool) or not isinstance(sigma, int | float | np.number) or not 0 < sigma < math.inf:
        raise OptionError(f"sigma={sigma!r} is not a positive number; leave it out to estimate it.")
    if not SMALLEST_NUMBER <= sigma <= LARGEST_NUMBER:
        raise OptionError(
            f"sigma={sigma!r} is not between {SMALLEST_NUMBER:g} and {LARGEST_NUMBER:g}, where its square is a number: "
            "change the unit of the response."
        )


def find_family(family: Any, link: str | None) -> "Family | None":
    """Return a family, or None for normal responses with the identity link."""
    if link is not None and not isinstance(link, str):
        raise OptionError(f"link={link!r} is no link: give its name, such as 'log', or None for the family's first.")
    if isinstance(family, str) and family == "gaussian" and link in (None, "identity"):
        return None
    from bayeslmm.families import family as find

    found = find(family, link)
    return None if found.name == "gaussian" and found.link.name == "identity" else found
