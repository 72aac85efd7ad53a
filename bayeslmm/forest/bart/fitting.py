"""learner="bart": chains of draws of trees, linear part, random effects and variances together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bayeslmm.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.forest.bart.group_trees import GroupPlan, GroupTrees, plan_group_trees
from bayeslmm.forest.bart.sampler import FeatureCoding, KeptForests, TreeDraws, TreePart, TreePlan, TreeSampler
from bayeslmm.forest.data.inputs import Training
from bayeslmm.forest.em.fitting import kernel_structure
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.gibbs.chains import Chain, posterior_means, stack_chains
from bayeslmm.forest.gibbs.covariance_steps import Block, first_block, next_block
from bayeslmm.forest.gibbs.options import SamplingOptions, check_sampling, run_chains
from bayeslmm.forest.gibbs.probes import linear_at_means, probe_points
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.priors import ModelPriors, resolve_priors
from bayeslmm.types import Array

SMALLEST_LEAF = 5


@dataclass(frozen=True, slots=True)
class BartPlan:
    """A model and its trees before sampling.

    Attributes
    ----------
    design, rows, priors
        The data, as arrays and as cross-products, and the priors of everything but the trees.
    trees
        The trees that see all columns.
    values
        These columns, encoded, shape (n, p).
    groups
        Trees of columns constant within groups, one item per factor that has some.
    """

    design: Design
    rows: KernelStructure
    priors: ModelPriors
    trees: TreePlan
    values: Array
    groups: tuple[GroupPlan, ...]


def plan_bart(training: Training, priors: Any, n_trees: int, scale: float | None = None) -> BartPlan:
    """Look at the data and choose the trees' columns and scales.

    With group trees the prior variance of f is shared equally between them and the others, so that f has the
    same standard deviation anywhere as without. The others split on constant columns a tenth as often: main
    effects of these belong to the group trees, interactions with other columns to the others.
    """
    design = training.design
    if scale is None:
        scale = float(np.sqrt(np.cov(design.y, aweights=design.weights)))
    groups = plan_group_trees(training.features, design.terms, scale / np.sqrt(2.0))
    coding = FeatureCoding.learn(training.features)
    own = scale / np.sqrt(2.0) if groups else scale
    rare = tuple(name for group in groups for name in group.trees.coding.names)
    return BartPlan(
        design=design,
        rows=kernel_structure(design),
        priors=resolve_priors(design, priors),
        trees=TreePlan(coding, own, n_trees, SMALLEST_LEAF, rare),
        values=coding.encode(training.features),
        groups=tuple(groups),
    )


class BartSampler:
    """One chain's state: trees, and everything else.

    A sweep draws the trees given the rest; then variances with beta and b integrated out; then beta and b;
    then the trees of columns constant within groups, with the sum of what they say and b given. The trees see
    a residual from which intercept, linear part and random effects are taken, and are never asked to trade a
    constant with b.

    Parameters
    ----------
    plan
        Data, priors and trees.
    rng
        Source of randomness of the starting point and the trees' seeds.
    """

    def __init__(self, plan: BartPlan, rng: np.random.Generator) -> None:
        self.plan = plan
        self.y = plan.design.y
        self.block: Block = first_block(plan.rows, plan.priors, self.y, rng)
        self.groups = [GroupTrees(group, _seed(rng)) for group in plan.groups]
        self.own = np.zeros(len(self.y))
        self.other = self.parts_beside_own_trees()
        self.trees = TreeSampler(plan.values, plan.trees, self.y - self.other, plan.design.weights, _seed(rng))

    @property
    def f(self) -> Array:
        """F at the rows, all trees together, shape (n,)."""
        return self.own + self.group_part()

    def group_part(self) -> Array:
        """Return what the trees of constant columns say at the rows, shape (n,)."""
        return sum((group.at_rows for group in self.groups), start=np.zeros(len(self.y)))

    def parts_beside_own_trees(self) -> Array:
        """Return linear part, random effects and the trees of constant columns at the rows, shape (n,)."""
        rows = self.plan.rows
        return rows.linear(self.block.beta) + rows.random(self.block.effects) + self.group_part()

    def sweep(self, rng: np.random.Generator, *, keep: bool = False) -> None:
        """Draw everything once."""
        self.own = self.trees.sweep(self.block.sigma, keep=keep)
        self.block = next_block(self.plan.rows, self.plan.priors, self.y - self.f, self.block, rng)
        for group in self.groups:
            self.block = group.sweep(self.block, keep=keep)
        moved = self.parts_beside_own_trees()
        self.trees.subtract(moved - self.other)
        self.other = moved

    def observe(self, y: Array) -> None:
        """Put another response in place of the present one."""
        self.trees.subtract(self.y - y)
        self.y = y

    def forests(self) -> tuple[KeptForests, ...]:
        """Return the kept forests of each sum of trees."""
        return tuple(sampler.kept for sampler in [self.trees, *(group.trees for group in self.groups)])


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31 - 1))


def fit_bart(training: Training, options: SamplingOptions) -> FittedForest:
    """Draw trees, linear part, random effects and variances from their joint posterior."""
    check_sampling(options)
    if options.outer is not None:
        raise OptionError(
            "outer='bootstrap' is for learners without a posterior; BART's trees are drawn: use outer=None."
        )
    plan = plan_bart(training, options.priors, options.n_trees)
    runs = run_chains(partial(run_bart_chain, plan, options), options)
    terms = plan.design.terms
    draws = stack_chains(
        [run.chain for run in runs], terms, "bart", {"sampler": "BART within Gibbs", "seed": options.seed}
    )
    functions = join_chains(plan, [run.forests for run in runs], options.chains * options.draws)
    at_probes = functions.predict(probe_points(training.features, options.seed))
    levels = np.array([linear_at_means(plan.design, block.beta) for run in runs for block in run.chain.blocks])
    mean = np.mean([run.mean for run in runs], axis=0)
    return FittedForest(
        roles=training.roles,
        design=plan.design,
        features=training.features,
        learners=(),
        predictions=mean,
        ensemble=mean,
        components=posterior_means(draws, terms),
        history=None,
        draws=draws,
        functions=functions,
        probes=(at_probes + levels[:, None]).reshape(options.chains, options.draws, -1),
    )


def join_chains(plan: BartPlan, forests: Sequence[tuple[KeptForests, ...]], n_draws: int) -> TreeDraws:
    """Return the forests of all chains, given as one tuple per chain with an item for each sum of trees."""
    plans = [plan.trees, *(group.trees for group in plan.groups)]
    parts = tuple(TreePart(trees, tuple(kept[k] for kept in forests)) for k, trees in enumerate(plans))
    return TreeDraws(parts, n_draws)


@dataclass(frozen=True, slots=True)
class BartChain:
    """One chain: its draws, its forests, and the posterior mean of f at the rows, shape (n,)."""

    chain: Chain
    forests: tuple[KeptForests, ...]
    mean: Array


def run_bart_chain(plan: BartPlan, options: SamplingOptions, rng: np.random.Generator) -> BartChain:
    """Run one chain: warm-up, and the draws that are kept."""
    sampler = BartSampler(plan, rng)
    chain, total = Chain(), np.zeros(plan.design.n)
    warmup = round(options.draws * options.warmup / (1 - options.warmup))
    with blas_threads(plan.rows.kernel.products.order):
        for sweep in range(warmup + options.draws):
            sampler.sweep(rng, keep=sweep >= warmup)
            if sweep >= warmup:
                chain.keep(sampler.block, len(chain.versions), np.zeros(0))
                total += sampler.f
    return BartChain(chain, sampler.forests(), total / options.draws)
