"""Fits that end in one value of every parameter: maximum likelihood, REML and the posterior mode."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pandas as pd

from bayeslmm.covariance import TermShape, factors_from_theta, sds_and_correlations
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import OptionError, UnavailableError, is_word
from bayeslmm.inference.optimum.curvature import hessian, smallest_curvature
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.likelihood import Conditional, Kernel
from bayeslmm.likelihood.deferred import DeferredConditional
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.methods import find_method
from bayeslmm.results import coefficient_tests, effects
from bayeslmm.results.criticism import DeletionMethods
from bayeslmm.results.fit import Fit, PriorTable, Scale
from bayeslmm.results.point_inference import PointInference
from bayeslmm.results.point_predictions import PointPredictions
from bayeslmm.results.predictive_methods import PredictiveCheckMethods
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.status import Status
from bayeslmm.results.summary import Summary
from bayeslmm.results.tables import aligned, block_table, p_value, random_table
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.priors import ModelPriors


@dataclass(frozen=True, eq=False, repr=False)
class PointFit(PointInference, PointPredictions, PredictiveCheckMethods, DeletionMethods, Fit):
    r"""A mixed model at the optimum of an objective.

    The covariance parameters θ minimise the profiled objective −2 log L (ML) or −2 log L_R (REML); the fixed
    coefficients β and the random effects b are their conditional estimates given θ (Bates, Mächler, Bolker
    and Walker, 2015, J. Stat. Software 67).

    Attributes
    ----------
    design, spec, method
        The data as arrays, the arguments of the model, and "ml", "reml" or "map".
    optimum
        What the optimiser returned.
    modes
        β with its covariance, u and b at the optimum; they may be computed when first asked for.
    priors
        The priors of a posterior mode; None otherwise.
    model_kernel
        The likelihood of the model, if it is at hand; see `kernel`.
    """

    design: Design
    spec: ModelSpec
    method: str
    optimum: Maximum
    modes: Conditional | DeferredConditional
    priors: PriorTable | None = None
    model_kernel: Kernel | None = field(default=None, kw_only=True)

    @property
    def blocks(self) -> pd.DataFrame:
        """The block structure of the factorisation, one row per block."""
        return block_table(self.kernel.blocks)

    @cached_property
    def normal_priors(self) -> "ModelPriors":
        """The priors of a posterior mode as those of the equations of its coefficients.

        Student t, Cauchy, Laplace and logistic priors are replaced by normal ones with the same slopes at the mode.
        """
        from bayeslmm.inference.optimum.held_mode import normal_priors

        priors = cast("ModelPriors", self.priors)
        return normal_priors(self.kernel, priors, self.optimum.theta, self.optimum.sigma, self.spec.sigma)

    # -- the objective --------------------------------------------------------------------------------------

    @property
    def objective(self) -> float:
        """Minus twice the (restricted) log-likelihood at the optimum; with the log priors added for a "map" fit."""
        return float(self.optimum.objective)

    @property
    def deviance(self) -> float:
        """The objective, by lme4's name; it is not corrected for the deviance of a null model."""
        return self.objective

    @property
    def loglik(self) -> float:
        """The (restricted) log-likelihood at the optimum."""
        return -self.objective / 2

    @property
    def dof(self) -> int:
        """Number of parameters estimated: p coefficients, the entries of θ, and σ unless it is known."""
        return self.design.p + len(self.optimum.theta) + (self.spec.sigma is None)

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``objective + 2 dof``."""
        return self.objective + 2 * self.dof

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``objective + log(n) dof``; n counts all rows, for REML too, as in lme4."""
        return self.objective + float(np.log(self.nobs)) * self.dof

    @property
    def theta(self) -> Array:
        """θ: lower triangles of the relative covariance factors, column by column, terms in formula order."""
        return np.array(self.optimum.theta, dtype=float)

    @property
    def sigma(self) -> float:
        """The residual standard deviation."""
        return float(self.modes.sigma)

    @property
    def gradient_norm(self) -> float:
        """Length of the gradient of the objective at the end, in coordinates of unit curvature."""
        return float(self.optimum.gradient_norm)

    @cached_property
    def _curvature(self) -> tuple[Array, float]:
        if self.method == "map":
            raise UnavailableError("The Hessian is that of the likelihood: ask a fit by method='ml' or 'reml' for it.")
        found = hessian(self.kernel, self.optimum.theta, self.method, self.spec.sigma)
        return found, smallest_curvature(self.kernel, found)

    @property
    def hessian(self) -> Array:
        """Second derivatives of the objective by θ at the optimum, shape (k, k); computed when first asked for.

        Raises
        ------
        UnavailableError
            For the posterior mode.
        """
        return self._curvature[0].copy()

    @property
    def smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of `hessian`, each entry of θ in units of its column's scale.

        Positive at a strict minimum, on the boundary too, and about zero where the data say nothing of a direction; it
        does not depend on the units of the columns. NaN without random effects. It takes two gradients per entry of θ.

        Raises
        ------
        UnavailableError
            For the posterior mode.
        """
        return self._curvature[1]

    @cached_property
    def _history(self) -> pd.DataFrame:
        thetas = np.asarray(self.optimum.thetas, dtype=float).reshape(len(self.optimum.objectives), -1)
        frame = pd.DataFrame({"objective": np.asarray(self.optimum.objectives, dtype=float)})
        for k in range(thetas.shape[1]):
            frame[f"theta_{k + 1}"] = thetas[:, k]
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="evaluation")
        return frame

    @property
    def history(self) -> pd.DataFrame:
        """Every evaluation of the optimiser: objective, theta_1, theta_2, ..."""
        return self._history.copy()

    @property
    def status(self) -> Status:
        """How the optimiser ended: "converged", "boundary" (a singular covariance matrix) or "failed"."""
        return Status(self.optimum.code, self.optimum.message)  # type: ignore[arg-type]

    # -- effects --------------------------------------------------------------------------------------------

    def fixef(self) -> pd.Series:
        """Return the estimates of the fixed coefficients by name."""
        return effects.fixed_series(self.design, self.modes.beta, "estimate")

    def vcov(self) -> pd.DataFrame:
        """Return the covariance matrix of the estimates of the fixed coefficients."""
        index = effects.fixed_index(self.design)
        return pd.DataFrame(np.array(self.modes.beta_cov), index=index, columns=index.rename(None))

    def ranef(self, scale: Scale = "b") -> dict[str, pd.DataFrame]:
        """Return the conditional modes of the random effects, levels by effects.

        Parameters
        ----------
        scale
            "b" on the scale of the response, or "u", the spherical effects with b = Λu.

        Raises
        ------
        OptionError
            If `scale` is neither.
        """
        return effects.effect_frames(self.design.terms, pick_scale(scale, self.modes.b, self.modes.u))

    def ranef_sd(self, *, coefficients: Literal["known", "estimated"] = "known") -> dict[str, pd.DataFrame]:
        """Return standard deviations of the random effects given θ and σ.

        Parameters
        ----------
        coefficients
            "known": given β too, as lme4 does; "estimated": with the error of β, that of b̂ − b (Henderson 1975). Both
            leave out what the data do not know about θ and σ, so intervals made of them are too short with few groups;
            those of a posterior are not.

        Raises
        ------
        OptionError
            If `coefficients` is neither.
        """
        if not is_word(coefficients, ("known", "estimated")):
            raise OptionError(f"coefficients={coefficients!r} is unknown; use 'known' or 'estimated'.")
        covariances = self.modes.b_cov if coefficients == "known" else self._prediction_covariances
        sds = [np.sqrt(np.diagonal(cov, axis1=1, axis2=2)) for cov in covariances]
        return effects.effect_frames(self.design.terms, sds)

    @cached_property
    def _prediction_covariances(self) -> list[Array]:
        """The covariances of b̂ − b, one (J, S, S) per term."""
        factor = factorise(self.kernel.products, self.kernel.lambdas(self.theta))
        R_X = self._fixed_precision()
        blocks = inverse_blocks(factor, factor.R_X if R_X is None else R_X).blocks
        turns = [m.matrix @ f for m, f in zip(self.kernel.maps, factor.lambdas, strict=True)]
        return [self.sigma**2 * (turn @ c @ turn.T) for turn, c in zip(turns, blocks, strict=True)]

    @cached_property
    def _factors(self) -> list[Array]:
        return factors_from_theta(self.optimum.theta, term_shapes(self.design.terms))

    def varcorr(self) -> pd.DataFrame:
        """Return variances, standard deviations and correlations of the random effects, the residual last."""
        terms = self.design.terms
        pairs = [sds_and_correlations(factor, self.sigma) for factor in self._factors]
        sds = [sd for sd, _ in pairs]
        correlations = [c if term.has_correlations else None for term, (_, c) in zip(terms, pairs, strict=True)]
        residual = (self.sigma, self.sigma**2)
        return effects.varcorr_frame(terms, sds, [sd**2 for sd in sds], correlations, residual)

    # -- printing -------------------------------------------------------------------------------------------

    def summary(self, level: float = 0.95) -> Summary:
        """Return the fit as tables that print well in a terminal and a notebook.

        Parameters
        ----------
        level
            Probability of the intervals of standard deviations that have been computed.
        """
        table = self.coef_table(level)
        normal = "df" not in table
        statistic = "z" if normal else "t"
        fixed = pd.DataFrame(
            {
                "Estimate": aligned(table["estimate"], table["std_error"]),
                "Std. error": aligned(table["std_error"]),
                **({} if normal else {"df": [f"{df:.1f}" for df in table["df"]]}),
                statistic: [f"{value:.2f}" for value in table[statistic]],
                "p": [p_value(p) for p in table["p"]],
            },
            index=table.index.rename("Coefficient"),
        )
        facts = [*self._facts(), (find_method(self.method).criterion, f"{self.objective:.4f}")]
        if self.method != "map":
            criteria = f"AIC {self.aic:.2f}; BIC {self.bic:.2f}; {self.dof} parameters"
            facts.append(("Log-likelihood", f"{self.loglik:.4f}; {criteria}"))
        if not normal:
            facts.append(("Tests", coefficient_tests.DESCRIPTIONS[self._errors.find(None)[1]]))
        random = random_table(self.varcorr())
        limits = self._computed_limits(level)
        if limits is not None:
            sds = effects.covariance_labels(self.varcorr())[self.varcorr()["other_effect"].isna()]
            for place, (name, sign) in enumerate((("lower", -1), ("upper", 1)), start=4):
                random.insert(place, f"{50 + 50 * sign * level:g}%", aligned(limits[name].reindex(sds), digits=4))
        return Summary(find_method(self.method).title, tuple(facts), random, fixed, self.status)


def term_shapes(terms: Sequence[RandomTerm]) -> tuple[TermShape, ...]:
    """Return (J, S, covariance structure) of each term."""
    return tuple(term.shape for term in terms)


def pick_scale(scale: str, b: tuple[Array, ...], u: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the random effects on the scale asked for."""
    if not is_word(scale, ("b", "u")):
        raise OptionError(f"scale={scale!r} is unknown; use 'b' (scale of the response) or 'u' (spherical).")
    return b if scale == "b" else u
