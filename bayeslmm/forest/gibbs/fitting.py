"""method="gibbs": chains of draws of everything but f, which is a plug-in fitted anew in every sweep."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.forest.data.inputs import Training
from bayeslmm.forest.em.fitting import EMOptions, check_options, kernel_structure, make_trainer
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.gibbs.chains import Chain, posterior_means, stack_chains
from bayeslmm.forest.gibbs.covariance_steps import Block, first_block, next_block, redraw_coefficients
from bayeslmm.forest.gibbs.options import SamplingOptions, check_sampling, run_chains
from bayeslmm.forest.gibbs.probes import linear_at_means, probe_points
from bayeslmm.forest.learners import Fitted, Trainer, predict_mean
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.priors import ModelPriors, resolve_priors
from bayeslmm.types import Array

MOST_VERSIONS = 40  # versions of a plug-in f kept in all chains together
SETTLING_STEPS = 10  # steps of the variances after every fit of f


@dataclass(frozen=True, slots=True)
class LearnerVersions:
    """Fitted learners of several sweeps, and the version each draw goes with.

    Attributes
    ----------
    versions
        The learners of each version; their mean is f.
    index
        Version of each draw, shape (D,).
    """

    versions: tuple[tuple[Any, ...], ...]
    index: NDArray[np.intp]

    def predict(self, features: Any) -> Array:
        """Return every version at some rows, shape (versions, m)."""
        return np.array([predict_mean(learners, features) for learners in self.versions])


def fit_gibbs(training: Training, options: SamplingOptions, em: EMOptions) -> FittedForest:
    """Alternate the learner with Gibbs steps given its residuals.

    As in the loop of "em", variances are drawn given residuals of learners that did not see the group, beta and b
    given those of the f that predicts.

    Every sweep fits the learner to y - X beta - Zb at the current draw. The draws kept are those of the last
    sweeps, each with the f of its own sweep: they are conditional on a plug-in f, whose own uncertainty only
    ``outer="bootstrap"`` adds.
    """
    check_sampling(options)
    check_options(em)
    if options.outer == "bootstrap" and em.residuals != "crossfit":
        raise OptionError(
            "outer='bootstrap' needs residuals='crossfit', so that a group left out or repeated is judged by others."
        )
    design = training.design
    rows, priors = kernel_structure(design), resolve_priors(design, options.priors)
    trainer = make_trainer(design, training.features, em)
    probes = probe_points(training.features, options.seed)
    chains: list[Chain] = []
    versions: list[tuple[Any, ...]] = []
    rounds: list[Fitted] = []
    for chain in run_chains(partial(_run_chain, design, rows, priors, trainer, probes, options), options):
        chains.append(chain.kept)
        versions += chain.versions
        rounds += chain.rounds
    draws = stack_chains(chains, design.terms, "gibbs", {"sampler": "plug-in Gibbs", "seed": options.seed})
    per_chain = len(versions) // options.chains
    index = np.concatenate([np.array(c.versions) + k * per_chain for k, c in enumerate(chains)])
    return FittedForest(
        roles=training.roles,
        design=design,
        features=training.features,
        learners=tuple(learner for version in versions for learner in version),
        predictions=np.mean([fitted.predictions for fitted in rounds], axis=0),
        ensemble=np.mean([fitted.ensemble for fitted in rounds], axis=0),
        components=posterior_means(draws, design.terms),
        history=None,
        draws=draws,
        functions=LearnerVersions(tuple(versions), index),
        probes=np.array([c.probes for c in chains]),
    )


def _run_chain(
    design: Design,
    rows: KernelStructure,
    priors: ModelPriors,
    trainer: Trainer,
    probes: Any,
    options: SamplingOptions,
    rng: np.random.Generator,
) -> "_GibbsChain":
    chain = _GibbsChain(design, rows, priors, trainer, probes, rng)
    chain.run(options)
    return chain


class _GibbsChain:
    """One chain with a plug-in f."""

    def __init__(
        self,
        design: Design,
        rows: KernelStructure,
        priors: ModelPriors,
        trainer: Trainer,
        probes: Any,
        rng: np.random.Generator,
    ) -> None:
        self.design, self.rows, self.priors, self.trainer = design, rows, priors, trainer
        self.probes, self.rng = probes, rng
        self.kept = Chain()
        self.versions: list[tuple[Any, ...]] = []
        self.rounds: list[Fitted] = []

    def run(self, options: SamplingOptions) -> None:
        """Run all sweeps."""
        recorded = recorded_sweeps(options)
        counts = np.diff(np.linspace(0, options.draws, len(recorded) + 1).round().astype(int))
        resample = self.rng if options.outer == "bootstrap" else None
        block: Block | None = None
        target = self.design.y
        for iteration in range(options.sweeps):
            fitted = self.trainer.round(target, resample)
            residual = self.design.y - fitted.predictions
            if block is None:
                block = first_block(self.rows, self.priors, residual, self.rng)
            for _ in range(SETTLING_STEPS):
                block = next_block(self.rows, self.priors, residual, block, self.rng)
            if iteration in recorded:
                block = self._record(fitted, residual, block, counts[recorded.index(iteration)])
            drawn = self._with_effects(fitted, block)
            target = self.design.y - self.rows.linear(drawn.beta) - self.rows.random(drawn.effects)

    def _record(self, fitted: Fitted, residual: Array, block: Block, count: int) -> Block:
        probe = predict_mean(fitted.learners, self.probes)
        for _ in range(count):
            block = next_block(self.rows, self.priors, residual, block, self.rng)
            drawn = self._with_effects(fitted, block)
            self.kept.keep(drawn, len(self.versions), probe + linear_at_means(self.design, drawn.beta))
        self.versions.append(fitted.learners)
        self.rounds.append(fitted)
        return block

    def _with_effects(self, fitted: Fitted, block: Block) -> Block:
        """Return the block with beta and b drawn given the f that predicts."""
        if self.trainer.residuals != "crossfit":
            return block
        return redraw_coefficients(self.rows, self.priors, self.design.y - fitted.ensemble, block, self.rng)


def recorded_sweeps(options: SamplingOptions) -> list[int]:
    """Return the sweeps whose draws are kept: evenly spaced after warm-up, as many as f can be kept."""
    first = min(int(options.warmup * options.sweeps), options.sweeps - 1)
    most = max(1, min(MOST_VERSIONS // options.chains, options.draws))
    after = np.arange(first, options.sweeps)
    places = np.linspace(0, len(after) - 1, min(most, len(after))).round().astype(int)
    return sorted({int(after[i]) for i in places} | {options.sweeps - 1})[-most:]
