r"""Trees of the columns that are constant within groups, drawn against the groups' own effects.

What such columns say about a group and the group's effect are pinned together by its rows: with b given, f
cannot move, and with f given, b cannot. So f has a second sum of trees, :math:`f_2`, on these columns alone,
and it is drawn with the sum :math:`\eta_g = f_2(x_g) + b_g` of each group given:

.. math:: \eta_g - E(b_g \mid b_{g,rest}) \sim N\bigl(f_2(x_g), \mathrm{var}(b_g \mid b_{g,rest})\bigr),

one row per group and the rows of the data nowhere in it. Then :math:`b_g = \eta_g - f_2(x_g)`. This is the
centred parametrisation of hierarchical models: Papaspiliopoulos, Roberts and Sköld (2007), A general
framework for the parametrization of hierarchical models, Statistical Science 22, 59-73.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import RandomTerm
from bayeslmm.forest.bart.sampler import FeatureCoding, TreePlan, TreeSampler
from bayeslmm.forest.data.group_information import constant_within
from bayeslmm.forest.gibbs.covariance_steps import Block
from bayeslmm.types import Array

GROUP_TREES = 50  # fewer than f's own: they see as many rows as there are groups
SMALLEST_GROUP_LEAF = 2
LEAST_SPREAD = 1e-6  # of b_g given the rest, in units of the trees' scale, that stochtree can divide by


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """The trees of one factor's constant columns.

    Attributes
    ----------
    term
        Position of the random term whose intercepts they are drawn against.
    effect
        Position of the intercept among its effects.
    codes
        Group of each row, shape (n,).
    values
        The constant columns of each group, encoded, shape (J, p).
    trees
        Number and prior of the trees.
    """

    term: int
    effect: int
    codes: NDArray[np.int32]
    values: Array
    trees: TreePlan


def plan_group_trees(features: Any, terms: Sequence[RandomTerm], scale: float) -> list[GroupPlan]:
    """Return a plan for every factor with constant columns and random intercepts.

    Parameters
    ----------
    features
        What f sees, n rows.
    terms
        The random terms.
    scale
        Prior standard deviation of all these sums of trees together.
    """
    found = []
    constant = constant_within(features, terms)
    for k, term in enumerate(terms):
        names = constant.pop(term.factor, []) if "Intercept" in term.effects else []
        if names:
            found.append((k, term, names))
    plans = []
    for k, term, names in found:
        _, first = np.unique(term.codes, return_index=True)
        table = _columns(features, names)
        coding = FeatureCoding.learn(table) if isinstance(table, pd.DataFrame) else FeatureCoding.of_positions(names)
        trees = TreePlan(coding, scale / np.sqrt(len(found)), GROUP_TREES, SMALLEST_GROUP_LEAF)
        source = table.iloc[first] if isinstance(table, pd.DataFrame) else table[first]
        plans.append(GroupPlan(k, term.effects.index("Intercept"), term.codes, coding.encode(source), trees))
    return plans


def _columns(features: Any, names: Sequence[Any]) -> Any:
    return features[list(names)] if isinstance(features, pd.DataFrame) else features


class GroupTrees:
    """One chain's trees of one factor's constant columns.

    Parameters
    ----------
    plan
        What they are like.
    seed
        Seed of the trees.
    """

    def __init__(self, plan: GroupPlan, seed: int) -> None:
        self.plan = plan
        self.f = np.zeros(len(plan.values))
        self.trees = TreeSampler(plan.values, plan.trees, self.f, None, seed)

    @property
    def at_rows(self) -> Array:
        """f_2 at the rows of the data, shape (n,)."""
        return self.f[self.plan.codes]

    def sweep(self, block: Block, *, keep: bool) -> Block:
        """Draw the trees given f_2 + b of each group, and return the block with the b that is left."""
        k, s = self.plan.term, self.plan.effect
        b = block.effects[k].copy()
        mean, spread = intercept_given_rest(block.sds[k], block.correlations[k], b, s)
        total = self.f + b[:, s]
        self.trees.see(total - mean - self.f)
        self.f = self.trees.sweep(max(spread, LEAST_SPREAD * self.plan.trees.scale), keep=keep)
        b[:, s] = total - self.f
        effects = tuple(b if place == k else other for place, other in enumerate(block.effects))
        return replace(block, effects=effects)


def intercept_given_rest(sds: Array, correlations: Array, b: Array, s: int) -> tuple[Array, float]:
    """Return mean (J,) and standard deviation of effect s of each group given its other effects."""
    covariance = correlations * np.outer(sds, sds)
    others = np.arange(len(sds)) != s
    if not others.any():
        return np.zeros(len(b)), float(sds[s])
    weights = np.linalg.lstsq(covariance[np.ix_(others, others)], covariance[others, s], rcond=None)[0]
    variance = float(covariance[s, s] - covariance[s, others] @ weights)
    return b[:, others] @ weights, float(np.sqrt(max(variance, 0.0)))
