"""The priors of one model, complete and explained."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslmm.design.centring import Centring
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.prior import Prior


@dataclass(frozen=True, slots=True)
class TermPriors:
    r"""The priors of one random-effects term.

    Attributes
    ----------
    name
        The term's name.
    effects
        Names of the S effects.
    sd
        One prior per standard deviation.
    correlation
        The LKJ prior of the correlations, None where there are none (``||``, or a single effect).
    centring
        Where `sd` and `correlation` hold: they speak of the columns ``centring.apply(Z)``, and
        :math:`\Sigma = T \tilde\Sigma T^\top`, T = ``centring.matrix``, is the covariance on the user's columns.
    """

    name: str
    effects: tuple[str, ...]
    sd: tuple[Prior, ...]
    correlation: LKJ | None
    centring: Centring

    @property
    def moved(self) -> bool:
        """Whether the priors hold elsewhere than at zero of every column."""
        return bool(np.any(self.centring.means))

    @property
    def place(self) -> str:
        """Where the priors of correlated effects hold, ``Days = 0``; empty for a term without correlations."""
        if self.correlation is None:
            return ""
        pairs = zip(self.effects, self.centring.constant, self.centring.means, strict=True)
        return ", ".join(f"{effect} = {mean:g}" for effect, constant, mean in pairs if not constant)


@dataclass(frozen=True, slots=True)
class ModelPriors:
    """The priors of every parameter of a model.

    Attributes
    ----------
    preset
        The rule everything not overridden comes from.
    fixed_names
        Names of the p coefficients.
    fixed
        Their priors, on the columns ``fixed_centring.apply(X)``; so that of Intercept is at the column means.
    fixed_centring
        The centring of X the priors are stated on; coefficients on the user's columns are
        ``fixed_centring.matrix @ coefficients``.
    terms
        The priors of the random terms, in formula order.
    sigma
        The prior of the residual standard deviation; None where it is fixed.
    sources
        Where each prior came from, by parameter.
    warnings
        Sentences about priors that may not mean what the user thinks.
    dispersion
        Names and priors of the dispersion parameters of a generalized model, on their natural scale.
    """

    preset: str
    fixed_names: tuple[str, ...]
    fixed: tuple[Prior, ...]
    fixed_centring: Centring
    terms: tuple[TermPriors, ...]
    sigma: Prior | None
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    dispersion: tuple[tuple[str, Prior], ...] = ()

    def items(self) -> list[tuple[str, Prior | LKJ]]:
        """Return (parameter, prior) pairs in the order of the table."""
        pairs: list[tuple[str, Prior | LKJ]] = list(zip(self.fixed_names, self.fixed, strict=True))
        for term in self.terms:
            pairs += [(sd_name(term.name, e), prior) for e, prior in zip(term.effects, term.sd, strict=True)]
            if term.correlation is not None:
                pairs.append((f"cor_{term.name}", term.correlation))
        if self.sigma is not None:
            pairs.append(("sigma", self.sigma))
        return [*pairs, *self.dispersion]

    @property
    def improper(self) -> tuple[str, ...]:
        """Names of the parameters whose prior is flat."""
        return tuple(name for name, prior in self.items() if not prior.proper)

    def table(self) -> pd.DataFrame:
        """Return the priors as text: columns parameter, prior, source."""
        places = {f"cor_{term.name}": term.place for term in self.terms if term.place}
        rows = [
            (name, f"{prior} at {places[name]}" if name in places else str(prior), source)
            for (name, prior), source in zip(self.items(), self._sources(), strict=True)
        ]
        return pd.DataFrame(rows, columns=["parameter", "prior", "source"])

    def _sources(self) -> list[str]:
        fixed = [self.sources[coefficient_key(name)] for name in self.fixed_names]
        return fixed + [self.sources[name] for name, _ in self.items()[len(fixed) :]]

    def __str__(self) -> str:
        return self.table().to_string(index=False)


def sd_name(term: str, effect: str) -> str:
    """Return the name of a random-effect standard deviation, ``sd_Subject[Days]``."""
    return f"sd_{term}[{effect}]"


def coefficient_key(name: str) -> str:
    """Return the name of a coefficient that no other parameter can have, ``beta[Days]``."""
    return f"beta[{name}]"
