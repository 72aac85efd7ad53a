"""What weighted points of a generalized model are worth for its parameters."""

import numpy as np

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.inference.importance.sizes import parameter_sizes, tail_sizes
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.types import Array


def worst_size(density: GeneralizedDensity, x: Array, weights: Array) -> float:
    """Return the independent draws that points x (m, d) are worth for the worst parameter, its tails included.

    Weights (m,) sum to one; infinity where there are no parameters.
    """
    values = point_parameters(density, x)
    if not values.shape[1]:
        return np.inf
    return float(min(parameter_sizes(values, weights).min(), tail_sizes(values, weights).min()))


def point_parameters(density: GeneralizedDensity, x: Array) -> Array:
    """Return standard deviations, correlations and, on their working scales, dispersions at points x, (m, K)."""
    parts = [density.working(x).reshape(len(x), -1)]
    for factor, shape in zip(density.user_factors(density.term_points(x)), density.shapes, strict=True):
        sds, correlations = sds_and_correlations(factor)
        parts += [sds, pair_values(correlations)] if shape.has_correlations else [sds]
    return np.nan_to_num(np.hstack(parts))
