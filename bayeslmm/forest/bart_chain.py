"""learner="bart": chains of draws of trees, linear part, random effects and variances together."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.forest.bart import FeatureCoding, TreeDraws, TreeSampler, read_forests
from bayeslmm.forest.chain_options import SamplingOptions, check_sampling, run_chains
from bayeslmm.forest.chains import Chain, posterior_means, stack_chains
from bayeslmm.forest.covariance_steps import Block, first_block, next_block
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.fitting import residual_kernel
from bayeslmm.forest.inputs import Training
from bayeslmm.forest.probes import linear_at_means, probe_points
from bayeslmm.forest.residual_kernel import ResidualKernel
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.priors import ModelPriors, resolve_priors

Array = NDArray[np.float64]


class BartSampler:
    """One chain's state: trees, and everything else.

    A sweep draws the trees given the rest, then variances with beta and b integrated out, then beta and b: the
    trees see a residual from which intercept, linear part and random effects are taken, and are never asked to
    trade a constant with b.

    Parameters
    ----------
    y
        Response, shape (n,).
    rows, priors
        Groups, linear columns and weights; priors of everything but the trees.
    trees
        The trees, with a residual of y less what `block` says.
    block
        Where the rest starts.
    """

    def __init__(self, y: Array, rows: ResidualKernel, priors: ModelPriors, trees: TreeSampler, block: Block) -> None:
        self.y, self.rows, self.priors, self.trees, self.block = y, rows, priors, trees, block
        self.f = np.zeros(len(y))
        self.other = self.parts_beside_f()

    def parts_beside_f(self) -> Array:
        """Return the linear part and the random effects at the rows, shape (n,)."""
        return self.rows.linear(self.block.beta) + self.rows.random(self.block.effects)

    def sweep(self, rng: np.random.Generator, *, keep: bool = False) -> None:
        """Draw everything once."""
        self.f = self.trees.sweep(self.block.sigma, keep=keep)
        self.block = next_block(self.rows, self.priors, self.y - self.f, self.block, rng)
        moved = self.parts_beside_f()
        self.trees.subtract(moved - self.other)
        self.other = moved

    def observe(self, y: Array) -> None:
        """Put another response in place of the present one."""
        self.trees.subtract(self.y - y)
        self.y = y


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
    work = partial(run_bart_chain, design, rows, priors, values, coding, scale, probes, options)
    runs = run_chains(work, options)
    draws = stack_chains(
        [run.chain for run in runs], design.terms, "bart", {"sampler": "BART within Gibbs", "seed": options.seed}
    )
    return FittedForest(
        roles=training.roles,
        design=design,
        features=training.features,
        learners=(),
        predictions=np.mean([run.mean for run in runs], axis=0),
        ensemble=np.mean([run.mean for run in runs], axis=0),
        components=posterior_means(draws, design.terms),
        history=None,
        draws=draws,
        functions=TreeDraws(
            tuple(read_forests(run.forests, options.n_trees) for run in runs), coding, scale, options.draws
        ),
        probes=np.array([run.chain.probes for run in runs]),
    )


@dataclass(frozen=True, slots=True)
class BartChain:
    """One chain: its draws, its forests as JSON, and the posterior mean of f at the rows, shape (n,)."""

    chain: Chain
    forests: str
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
    """Run one chain: warm-up, and the draws that are kept."""
    block = first_block(rows, priors, design.y, rng)
    seed = int(rng.integers(2**31 - 1))
    target = design.y - rows.linear(block.beta) - rows.random(block.effects)
    trees = TreeSampler(values, coding.types, target, scale, design.weights, options.n_trees, seed)
    sampler = BartSampler(design.y, rows, priors, trees, block)
    chain, total = Chain(), np.zeros(design.n)
    warmup = round(options.draws * options.warmup / (1 - options.warmup))
    with blas_threads(rows.kernel.products.order):
        for sweep in range(warmup + options.draws):
            keep = sweep >= warmup
            sampler.sweep(rng, keep=keep)
            if keep:
                chain.keep(sampler.block, len(chain.versions), np.zeros(0))
                total += sampler.f
    at_probes = _predict_encoded(trees, probes)
    shift = [linear_at_means(design, b.beta) for b in chain.blocks]
    chain.probes = [row + level for row, level in zip(at_probes, shift, strict=True)]
    return BartChain(chain, trees.container.dump_json_string(), total / options.draws)


def _predict_encoded(trees: TreeSampler, values: Array) -> Array:
    dataset = type(trees.dataset)()
    dataset.add_covariates(values)
    return trees.scale * np.asarray(trees.container.predict(dataset), dtype=float).T
