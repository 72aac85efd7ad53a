"""The priors of one model, complete and explained."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslmm.design.centring import Centring
from bayeslmm.design.collinearity import Collinearity
from bayeslmm.design.names import coefficient_key, sd_name
from bayeslmm.priors.decov import Decov
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array


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
    joint
        A prior of all standard deviations together, given sigma, in place of those in `sd`; None where they are
        independent. Without correlations it is that of each effect by itself.
    """

    name: str
    effects: tuple[str, ...]
    sd: tuple[Prior, ...]
    correlation: LKJ | None
    centring: Centring
    joint: Decov | None = None

    @property
    def together(self) -> bool:
        """Whether a joint prior shares one variance out among the effects."""
        return self.correlation is not None

    def log_density(self, sds: Array, sigma: Array | float) -> Array:
        """Return the log density of standard deviations (..., S) given sigma (...), shape (...)."""
        sds = np.asarray(sds, dtype=float)
        if self.joint is not None:
            ratios = sds / np.asarray(sigma)[..., None]
            with np.errstate(divide="ignore", invalid="ignore"):
                by_ratios = self.joint.logpdf(ratios) if self.together else self.joint.logpdf(ratios[..., None]).sum(-1)
                return np.asarray(by_ratios - np.sum(np.log(sds), axis=-1))
        values = [prior.logpdf(x) for prior, x in zip(self.sd, np.moveaxis(sds, -1, 0), strict=True)]
        return np.asarray(sum(values, start=np.zeros(sds.shape[:-1])))

    def slopes(self, sds: Array, sigma: float) -> tuple[Array, float]:
        """Return the derivatives of :meth:`log_density` by the log of each sd, shape (S,), and by log sigma."""
        if self.joint is not None:
            ratios = sds / sigma
            slopes = self.joint.slopes(ratios) if self.together else self.joint.slopes(ratios[:, None])[:, 0]
            return slopes - 1.0, -float(np.sum(slopes))
        return np.array([float(prior.dlogpdf(sd)) * sd for prior, sd in zip(self.sd, sds, strict=True)]), 0.0

    def sample_sds(self, rng: np.random.Generator, draws: int, sigma: Array) -> Array:
        """Draw standard deviations given sigma (draws,), shape (draws, S)."""
        if self.joint is not None and self.together:
            return sigma[:, None] * self.joint.sample(rng, len(self.sd), draws)
        if self.joint is not None:
            return sigma[:, None] * np.hstack([self.joint.sample(rng, 1, draws) for _ in self.sd])
        return np.column_stack([prior.sample(rng, draws) for prior in self.sd])

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
    collinearity
        How the columns depend on each other; None where they are independent.
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
    collinearity: Collinearity | None = None

    @property
    def independent(self) -> tuple[Prior, ...]:
        """Priors of the coefficients of independent columns."""
        if self.collinearity is None:
            return self.fixed
        return tuple(self.fixed[j] for j in self.collinearity.kept)

    def items(self) -> list[tuple[str, Prior | LKJ | Decov]]:
        """Return (parameter, prior) pairs in the order of the table; a joint prior stands beside each of its sds."""
        pairs: list[tuple[str, Prior | LKJ | Decov]] = list(zip(self.fixed_names, self.fixed, strict=True))
        for term in self.terms:
            pairs += [
                (sd_name(term.name, e), term.joint or prior) for e, prior in zip(term.effects, term.sd, strict=True)
            ]
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
