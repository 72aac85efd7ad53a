r"""Bayesian additive regression trees inside our sweep, by stochtree's low-level sampler.

.. math:: f(x) = s \sum_{t=1}^{m} g_t(x), \qquad \text{leaf values} \sim N(0, 1/m),

so that f has prior standard deviation s anywhere: that of the response. The trees' prior
is that of Chipman, George and McCulloch (2010), BART: Bayesian additive regression trees, Annals of Applied
Statistics 4, 266-298: a node at depth d splits with probability :math:`.95 (1 + d)^{-2}`. stochtree's own
draw of sigma is not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import DataError, MissingDependencyError
from bayeslmm.forest.learners import non_numeric
from bayeslmm.types import Array

NUMERIC, BINARY = 0, 1  # stochtree's codes of feature types
CONSTANT_LEAF = 0  # stochtree's code of a leaf model with one value
SPLIT_BASE, SPLIT_POWER = 0.95, 2.0
RARELY = 0.1  # how often, against other columns, trees split on columns that have trees of their own


def import_stochtree() -> Any:
    """Return stochtree.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import stochtree
    except ImportError as error:
        raise MissingDependencyError("learner='bart' needs stochtree: pip install 'bayeslmm[trees]'.") from error
    return stochtree


@dataclass(frozen=True, slots=True)
class FeatureCoding:
    """How the columns the trees see are written as numbers.

    Attributes
    ----------
    names
        The columns.
    categories
        The values of each column that is no number, in the order of their codes; None for numbers.
    """

    names: tuple[Any, ...]
    categories: tuple[tuple[Any, ...] | None, ...]

    @classmethod
    def learn(cls, features: Any) -> "FeatureCoding":
        """Look at the columns of a fit."""
        if not isinstance(features, pd.DataFrame):
            return cls.of_positions(range(features.shape[1]))
        texts = set(non_numeric(features))
        found = [
            tuple(pd.Categorical(features[name]).categories.tolist()) if name in texts else None
            for name in features.columns
        ]
        return cls(tuple(features.columns), tuple(found))

    @classmethod
    def of_positions(cls, positions: Sequence[int]) -> "FeatureCoding":
        """Return the coding of some columns of an array of numbers."""
        return cls(tuple(positions), (None,) * len(positions))

    @property
    def sources(self) -> NDArray[np.intp]:
        """Column each encoded column comes from, shape (p,): a category has one indicator per value."""
        return np.repeat(np.arange(len(self.names)), [1 if c is None else len(c) for c in self.categories])

    @property
    def types(self) -> NDArray[np.intp]:
        """The feature types stochtree is told, shape (p,)."""
        return np.array([NUMERIC if self.categories[k] is None else BINARY for k in self.sources])

    def encode(self, features: Any) -> Array:
        """Return the columns as numbers, shape (m, p); an unknown category has all its indicators zero.

        Raises
        ------
        DataError
            If a value is missing.
        """
        if not isinstance(features, pd.DataFrame):
            values = np.array(features[:, list(self.names)], dtype=float)
        else:
            columns = [
                features[name].to_numpy(dtype=float, na_value=np.nan)[:, None]
                if known is None
                else _indicators(features[name], known)
                for name, known in zip(self.names, self.categories, strict=True)
            ]
            values = np.concatenate(columns, axis=1)
        bad = ~np.isfinite(values).all(axis=0)
        if bad.any():
            name = self.names[self.sources[int(np.argmax(bad))]]
            raise DataError(f"Column {name!r} has missing or infinite values, which BART does not take: impute them.")
        return np.ascontiguousarray(values)


def _indicators(column: pd.Series, known: Sequence[Any]) -> Array:
    codes = pd.Index(known).get_indexer(np.asarray(column, dtype=object))
    indicators = (codes[:, None] == np.arange(len(known))).astype(float)
    indicators[column.isna().to_numpy()] = np.nan
    return indicators


@dataclass(frozen=True, slots=True)
class TreePlan:
    """What a sum of trees is like before it has seen a response.

    Attributes
    ----------
    coding
        The columns it splits on.
    scale
        s, the prior standard deviation of the sum anywhere.
    n_trees
        m.
    smallest_leaf
        Least number of rows in a leaf.
    rare
        Names of columns that trees split on `RARELY` as often as on others.
    """

    coding: FeatureCoding
    scale: float
    n_trees: int
    smallest_leaf: int
    rare: tuple[Any, ...] = ()

    @property
    def split_weights(self) -> Array:
        """Prior probability of each encoded column to be split on, shape (p,): equal for all columns but rare ones."""
        by_column = np.array([RARELY if name in self.rare else 1.0 for name in self.coding.names])
        sources = self.coding.sources
        weights = by_column[sources] / np.bincount(sources)[sources]
        return weights / weights.sum()


class TreeSampler:
    """The trees of one chain, and the residual they are fitted to.

    Parameters
    ----------
    values
        Encoded features, shape (n, p).
    plan
        Number and prior of the trees.
    target
        What f is fitted to at the start, y less the other parts, shape (n,).
    weights
        Row weights, shape (n,), or None.
    seed
        Seed of the trees.
    """

    def __init__(self, values: Array, plan: TreePlan, target: Array, weights: Array | None, seed: int) -> None:
        st = import_stochtree()
        n, p = values.shape
        self.scale = plan.scale
        self.dataset = st.Dataset()
        self.dataset.add_covariates(values)
        if weights is not None:
            self.dataset.add_variance_weights(np.ascontiguousarray(1.0 / weights))
        self.residual = st.Residual(np.ascontiguousarray(target / plan.scale))
        self.rng = st.RNG(seed)
        self.globals = st.GlobalModelConfig(global_error_variance=1.0)
        self.config = st.ForestModelConfig(
            num_trees=plan.n_trees,
            num_features=p,
            num_observations=n,
            feature_types=plan.coding.types,
            variable_weights=plan.split_weights,
            leaf_dimension=1,
            alpha=SPLIT_BASE,
            beta=SPLIT_POWER,
            min_samples_leaf=plan.smallest_leaf,
            leaf_model_type=CONSTANT_LEAF,
            leaf_model_scale=1.0 / plan.n_trees,
        )
        self.active = st.Forest(plan.n_trees, 1, True, False)
        self.kept = KeptForests(empty_container(plan.n_trees), plan.n_trees)
        self.sampler = st.ForestSampler(self.dataset, self.globals, self.config)
        self.sampler.prepare_for_sampler(self.dataset, self.residual, self.active, CONSTANT_LEAF, np.zeros(1))

    def sweep(self, sigma: float, *, keep: bool) -> Array:
        """Update every tree once given sigma, and return f at the rows, shape (n,)."""
        self.globals.update_global_error_variance((sigma / self.scale) ** 2)
        self.sampler.sample_one_iteration(
            self.kept.container,
            self.active,
            self.dataset,
            self.residual,
            self.rng,
            self.globals,
            self.config,
            keep,
            False,  # stochtree's greedy sweeps start nearer the data, in trees that then hardly move
        )
        return self.scale * np.asarray(self.sampler.get_cached_forest_predictions(), dtype=float)

    def subtract(self, change: Array) -> None:
        """Take a change of the other parts of the mean out of the residual, shape (n,)."""
        self.residual.subtract_vector(np.ascontiguousarray(change / self.scale))

    def see(self, residual: Array) -> None:
        """Put what the trees and everything else leave in place of the residual, shape (n,)."""
        self.residual.update_data(np.ascontiguousarray(residual / self.scale))


@dataclass(frozen=True, slots=True)
class KeptForests:
    """The forests one chain has kept of one sum of trees.

    They stay stochtree's own object within a process. They become JSON, which takes half as long as drawing them,
    only where they leave it: pickled for another process, or saved.

    Attributes
    ----------
    container
        stochtree's container.
    n_trees
        Trees of each forest.
    """

    container: Any
    n_trees: int

    @classmethod
    def from_json(cls, text: str, n_trees: int) -> "KeptForests":
        """Read what :meth:`to_json` wrote."""
        container = empty_container(n_trees)
        container.load_from_json_string(text)
        return cls(container, n_trees)

    def to_json(self) -> str:
        """Return the forests as stochtree's JSON."""
        return str(self.container.dump_json_string())

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptForests.from_json, (self.to_json(), self.n_trees)

    def __deepcopy__(self, memo: Any) -> "KeptForests":
        return self  # nothing changes kept forests

    def predict(self, dataset: Any) -> Array:
        """Return every forest at the rows of one of stochtree's data sets, unscaled, shape (draws, m)."""
        return np.asarray(self.container.predict(dataset), dtype=float).T

    def predict_one(self, dataset: Any, draw: int) -> Array:
        """Return one draw's forest at those rows, unscaled, shape (m,)."""
        return np.asarray(self.container.predict_raw_single_forest(dataset, draw), dtype=float)[:, 0]

    @property
    def n_draws(self) -> int:
        """Number of forests."""
        return int(self.container.num_samples())

    def split_counts(self, p: int) -> Array:
        """Return how many splits use each of the p encoded columns."""
        return np.asarray(self.container.get_overall_split_counts(p), dtype=float)


def empty_container(n_trees: int) -> Any:
    """Return stochtree's container of forests with one value per leaf."""
    return import_stochtree().ForestContainer(n_trees, 1, True, False)


@dataclass(frozen=True, slots=True)
class TreePart:
    """Kept forests of one sum of trees.

    Attributes
    ----------
    plan
        Its columns and scale.
    chains
        What each chain has kept.
    """

    plan: TreePlan
    chains: tuple[KeptForests, ...]

    def predict(self, features: Any) -> Array:
        """Return the sum of trees at some rows for every draw, shape (draws in all chains, m)."""
        dataset = self._dataset(features)
        return self.plan.scale * np.concatenate([kept.predict(dataset) for kept in self.chains])

    def predict_mean(self, features: Any, draws: NDArray[np.intp]) -> Array:
        """Return the mean of the sum of trees over some of the draws of all chains, shape (m,)."""
        dataset = self._dataset(features)
        places = [(kept, k) for kept in self.chains for k in range(kept.n_draws)]
        total = sum(places[d][0].predict_one(dataset, places[d][1]) for d in draws)
        return self.plan.scale * total / len(draws)

    def _dataset(self, features: Any) -> Any:
        dataset = import_stochtree().Dataset()
        dataset.add_covariates(self.plan.coding.encode(features))
        return dataset

    def split_counts(self) -> pd.Series:
        """Return how many splits use each column."""
        coding = self.plan.coding
        sources = coding.sources
        counts = sum(kept.split_counts(len(sources)) for kept in self.chains)
        return pd.Series(np.bincount(sources, weights=counts, minlength=len(coding.names)), index=list(coding.names))


@dataclass(frozen=True, slots=True)
class TreeDraws:
    """Kept forests of all chains: one version of f per draw.

    Attributes
    ----------
    parts
        The sums of trees whose sum is f, the one that sees all columns first.
    n_draws
        Draws in all chains.
    """

    parts: tuple[TreePart, ...]
    n_draws: int

    @property
    def index(self) -> NDArray[np.intp]:
        """Version of f of each draw."""
        return np.arange(self.n_draws)

    def predict(self, features: Any) -> Array:
        """Return f at some rows for every draw, shape (draws in all chains, m)."""
        return np.sum([part.predict(features) for part in self.parts], axis=0)

    def mean_of_some(self, features: Any, most: int) -> Array:
        """Return the mean of f over at most so many draws, evenly spaced over the chains, shape (m,)."""
        draws = np.linspace(0, self.n_draws - 1, min(most, self.n_draws)).round().astype(np.intp)
        return np.sum([part.predict_mean(features, draws) for part in self.parts], axis=0)

    def split_shares(self) -> pd.Series:
        """Return the share of all splits that use each column."""
        counts = self.parts[0].split_counts()
        for part in self.parts[1:]:
            counts = counts.add(part.split_counts(), fill_value=0.0)
        return (counts / counts.sum()).reindex(self.parts[0].plan.coding.names)
