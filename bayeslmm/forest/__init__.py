"""Mixed-effects forests: a learner for the population mean beside random effects of groups."""

from bayeslmm.forest.data.group_information import GroupConstantWarning
from bayeslmm.forest.estimator import MixedEffectsForest
from bayeslmm.forest.mixed import mixed_forest
from bayeslmm.forest.store.folder import load_forest

__all__ = ["GroupConstantWarning", "MixedEffectsForest", "load_forest", "mixed_forest"]
