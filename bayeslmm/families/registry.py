"""Families by name."""

from typing import Any

from bayeslmm.errors import OptionError
from bayeslmm.families.bernoulli import Bernoulli
from bayeslmm.families.beta import Beta
from bayeslmm.families.binomial import Binomial
from bayeslmm.families.cumulative import Cumulative
from bayeslmm.families.definition import Family
from bayeslmm.families.gamma import Gamma
from bayeslmm.families.gaussian import Gaussian
from bayeslmm.families.hurdle import HurdleNegativeBinomial, HurdlePoisson
from bayeslmm.families.lognormal import LogNormal
from bayeslmm.families.negative_binomial import NegativeBinomial
from bayeslmm.families.poisson import Poisson
from bayeslmm.families.student import Student
from bayeslmm.families.zero_inflated import ZeroInflatedNegativeBinomial, ZeroInflatedPoisson

FAMILIES: dict[str, type[Family]] = {
    kind.name: kind
    for kind in (
        Gaussian, Bernoulli, Binomial, Poisson, NegativeBinomial, Gamma, Beta, Student, LogNormal, Cumulative,
        ZeroInflatedPoisson, ZeroInflatedNegativeBinomial, HurdlePoisson, HurdleNegativeBinomial,
    )
}  # fmt: skip


def family(name: Any, link: str | None = None) -> Family:
    """Return a family by its name, or the one given.

    Parameters
    ----------
    name
        The name of a family, or a family.
    link
        One of its links; None for the first, or for the link of the family given.

    Raises
    ------
    OptionError
        If there is no family of that name, or it has no such link.
    """
    if isinstance(name, Family):
        if link is not None and link != name.link.name:
            raise OptionError(f"The family given has the link {name.link.name!r}, and link={link!r} asks for another.")
        return name
    if not isinstance(name, str) or name not in FAMILIES:
        listed = "; ".join(f"{known!r} ({', '.join(kind.links)})" for known, kind in FAMILIES.items())
        raise OptionError(f"There is no family {name!r}. The families, each with its links, are: {listed}.")
    return FAMILIES[name](link)
