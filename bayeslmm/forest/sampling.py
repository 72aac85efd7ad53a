"""method="gibbs" and learner="bart": chains of draws of everything, f a plug-in or sampled."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.forest.bart import GROWN_FROM_ROOT, FeatureCoding, TreeDraws, TreeSampler
from bayeslmm.forest.chains import Chain, posterior_means, stack_chains
from bayeslmm.forest.covariance_steps import Block, first_block, next_block, redraw_coefficients
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.fitting import EMOptions, check_options, make_trainer, residual_kernel
from bayeslmm.forest.inputs import Training
from bayeslmm.forest.learners import Fitted, Trainer, predict_mean
from bayeslmm.forest.residual_kernel import ResidualKernel
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.priors import ModelPriors, resolve_priors

Array = NDArray[np.float64]
Outer = Literal["bootstrap"]

MOST_VERSIONS = 40  # versions of a plug-in f kept in all chains together
SETTLING_STEPS = 10  # steps of the variances before they meet the first draw of f
N_PROBES = 20  # points at which the convergence of f is watched
STEPS_PER_TREE_SWEEP = 1


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """Options of the chains; see `MixedEffectsForest`."""

    sweeps: int
    chains: int
    draws: int
    warmup: float
    outer: Outer | None
    priors: Any
    n_trees: int
    seed: int | None


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


def check_sampling(options: SamplingOptions) -> None:
    """Refuse options that have no meaning.

    Raises
    ------
    OptionError
        With what would have one.
    """
    for name in ("chains", "draws", "n_trees"):
        value = getattr(options, name)
        if not isinstance(value, int | np.integer) or value < 1:
            raise OptionError(f"{name}={value!r} must be a whole number of at least 1.")
    if not 0 <= options.warmup < 1:
        raise OptionError(f"warmup={options.warmup!r} is a share of the sweeps: at least 0 and less than 1.")
    if options.outer not in (None, "bootstrap"):
        raise OptionError(f"outer={options.outer!r} is unknown; use 'bootstrap' or None.")


def chain_generators(options: SamplingOptions) -> list[np.random.Generator]:
    """Return one generator per chain; chain k depends on the seed and k only."""
    entropy = np.random.SeedSequence(options.seed).entropy
    return [np.random.default_rng([_number(entropy), k]) for k in range(options.chains)]


def _number(entropy: Any) -> int:
    return int(entropy) if not isinstance(entropy, list | tuple) else int(entropy[0])


# -- a plug-in f ----------------------------------------------------------------------------------------------


def fit_gibbs(training: Training, options: SamplingOptions, em: EMOptions) -> FittedForest:
    """Alternate the learner with Gibbs steps given its residuals.

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
    rows, priors = residual_kernel(design), resolve_priors(design, options.priors)
    trainer = make_trainer(design, training.features, em)
    probes = probe_points(training.features, options.seed)
    chains, versions, predictions = [], [], []
    for rng in chain_generators(options):
        chain = _GibbsChain(design, rows, priors, trainer, probes, rng)
        chain.run(options)
        chains.append(chain.kept)
        versions += chain.versions
        predictions += chain.predictions
    draws = stack_chains(chains, design.terms, "gibbs", {"sampler": "plug-in Gibbs", "seed": options.seed})
    per_chain = len(versions) // options.chains
    index = np.concatenate([np.array(c.versions) + k * per_chain for k, c in enumerate(chains)])
    return FittedForest(
        roles=training.roles,
        design=design,
        features=training.features,
        learners=tuple(learner for version in versions for learner in version),
        predictions=np.mean(predictions, axis=0),
        components=posterior_means(draws, design.terms),
        history=None,
        draws=draws,
        functions=LearnerVersions(tuple(versions), index),
        probes=np.array([c.probes for c in chains]),
    )


class _GibbsChain:
    """One chain with a plug-in f."""

    def __init__(
        self,
        design: Design,
        rows: ResidualKernel,
        priors: ModelPriors,
        trainer: Trainer,
        probes: Any,
        rng: np.random.Generator,
    ) -> None:
        self.design, self.rows, self.priors, self.trainer = design, rows, priors, trainer
        self.probes, self.rng = probes, rng
        self.kept = Chain()
        self.versions: list[tuple[Any, ...]] = []
        self.predictions: list[Array] = []

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
            target = self._target(fitted, block)

    def _record(self, fitted: Fitted, residual: Array, block: Block, count: int) -> Block:
        probe = predict_mean(fitted.learners, self.probes)
        for _ in range(count):
            block = next_block(self.rows, self.priors, residual, block, self.rng)
            self.kept.keep(block, len(self.versions), probe + linear_at_means(self.design, block.beta))
        self.versions.append(fitted.learners)
        self.predictions.append(fitted.predictions)
        return block

    def _target(self, fitted: Fitted, block: Block) -> Array:
        """Return what f is fitted to next: y less the effects as judged by learners that saw the groups."""
        drawn = block
        if self.trainer.residuals == "crossfit":
            drawn = redraw_coefficients(self.rows, self.priors, self.design.y - fitted.seen, block, self.rng)
        return self.design.y - self.rows.linear(drawn.beta) - self.rows.random(drawn.effects)


def recorded_sweeps(options: SamplingOptions) -> list[int]:
    """Return the sweeps whose draws are kept: evenly spaced after warm-up, as many as f can be kept."""
    first = min(int(options.warmup * options.sweeps), options.sweeps - 1)
    most = max(1, min(MOST_VERSIONS // options.chains, options.draws))
    after = np.arange(first, options.sweeps)
    places = np.linspace(0, len(after) - 1, min(most, len(after))).round().astype(int)
    return sorted({int(after[i]) for i in places} | {options.sweeps - 1})[-most:]


# -- sampled trees --------------------------------------------------------------------------------------------


def fit_bart(training: Training, options: SamplingOptions) -> FittedForest:
    """Draw trees, linear part, random effects and variances from their joint posterior."""
    check_sampling(options)
    if options.outer is not None:
        raise OptionError(
            "outer='bootstrap' is for learners without a posterior; BART's trees are drawn: use outer=None."
        )
    design = training.design
    rows, priors = residual_kernel(design), resolve_priors(design, options.priors)
    coding = FeatureCoding.learn(training.features)
    values = coding.encode(training.features)
    scale = float(np.sqrt(np.cov(design.y, aweights=design.weights)))
    probes = coding.encode(probe_points(training.features, options.seed))
    runs = [
        run_bart_chain(design, rows, priors, values, coding, scale, probes, options, rng)
        for rng in chain_generators(options)
    ]
    draws = stack_chains(
        [run.chain for run in runs], design.terms, "bart", {"sampler": "BART within Gibbs", "seed": options.seed}
    )
    return FittedForest(
        roles=training.roles,
        design=design,
        features=training.features,
        learners=(),
        predictions=np.mean([run.mean for run in runs], axis=0),
        components=posterior_means(draws, design.terms),
        history=None,
        draws=draws,
        functions=TreeDraws(tuple(run.container for run in runs), coding, scale, options.draws),
        probes=np.array([run.chain.probes for run in runs]),
    )


@dataclass(frozen=True, slots=True)
class BartChain:
    """One chain: its draws, its forests, and the posterior mean of f at the rows, shape (n,)."""

    chain: Chain
    container: Any
    mean: Array


def run_bart_chain(
    design: Design,
    rows: ResidualKernel,
    priors: ModelPriors,
    values: Array,
    coding: FeatureCoding,
    scale: float,
    probes: Array,
    options: SamplingOptions,
    rng: np.random.Generator,
) -> BartChain:
    """Run one chain.

    A sweep draws the trees given the rest, then variances with beta and b integrated out, then beta and b:
    the trees see a residual from which intercept, linear part and random effects are taken, and are never
    asked to trade a constant with b.
    """
    y = design.y
    block = first_block(rows, priors, y, rng)
    other = rows.linear(block.beta) + rows.random(block.effects)
    trees = TreeSampler(
        values, coding.types, y - other, scale, design.weights, options.n_trees, int(rng.integers(2**31 - 1))
    )
    chain, total = Chain(), np.zeros(len(y))
    warmup = round(options.draws * options.warmup / (1 - options.warmup))
    with blas_threads(rows.kernel.products.order):
        for sweep in range(GROWN_FROM_ROOT + warmup + options.draws):
            keep = sweep >= GROWN_FROM_ROOT + warmup
            f = trees.sweep(block.sigma, keep=keep, greedy=sweep < GROWN_FROM_ROOT)
            for _ in range(STEPS_PER_TREE_SWEEP):
                block = next_block(rows, priors, y - f, block, rng)
            moved = rows.linear(block.beta) + rows.random(block.effects)
            trees.subtract(moved - other)
            other = moved
            if keep:
                chain.keep(block, len(chain.versions), np.zeros(0))
                total += f
    at_probes = _predict_encoded(trees, probes)
    shift = [linear_at_means(design, b.beta) for b in chain.blocks]
    chain.probes = [row + level for row, level in zip(at_probes, shift, strict=True)]
    return BartChain(chain, trees.container, total / options.draws)


def _predict_encoded(trees: TreeSampler, values: Array) -> Array:
    dataset = type(trees.dataset)()
    dataset.add_covariates(values)
    return trees.scale * np.asarray(trees.container.predict(dataset), dtype=float).T


# -- convergence of f -----------------------------------------------------------------------------------------


def probe_points(features: Any, seed: int | None) -> Any:
    """Return points at which f is watched: each column's values drawn apart, so no rows of the fit."""
    rng = np.random.default_rng(seed if seed is not None else 0)
    picks = rng.integers(len(features), size=(N_PROBES, features.shape[1]))
    if not isinstance(features, pd.DataFrame):
        return np.column_stack([features[picks[:, j], j] for j in range(features.shape[1])])
    columns = {name: features[name].iloc[picks[:, j]].array for j, name in enumerate(features.columns)}
    return pd.DataFrame(columns)


def linear_at_means(design: Design, beta: Array) -> float:
    """Return the linear part at the means of its columns: with f it is identified, apart it need not be."""
    return float(design.X.mean(axis=0) @ beta) if design.p else 0.0
