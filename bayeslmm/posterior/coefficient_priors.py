"""Normal priors of the fixed coefficients, from the columns they are stated for to those of a kernel."""

import numpy as np

from bayeslmm.likelihood.columns import ColumnMap
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.posterior.collinear_prior import collinear_prior, independent_centring
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.real_line import Flat, Normal
from bayeslmm.types import Array


def not_normal(priors: ModelPriors) -> list[str]:
    """Return the coefficients whose priors cannot be integrated out, with those priors."""
    return [
        f"{name} ({prior})"
        for name, prior in zip(priors.fixed_names, priors.fixed, strict=True)
        if not isinstance(prior, Normal | Flat)
    ]


def cannot_integrate(priors: ModelPriors) -> str:
    """Say why the coefficients cannot be integrated out; empty if they can."""
    others = not_normal(priors)
    if not others:
        return ""
    return (
        f"The priors of {', '.join(others)} cannot be integrated out here: use Normal or Flat, or method='nuts' with "
        "parametrization='noncentered', which samples the explicit model."
    )


def kernel_prior(kernel: Kernel, priors: ModelPriors) -> NormalPrior:
    """Return the prior of the fixed coefficients in the kernel's columns."""
    return normal_prior(kernel.fixed, priors, kernel.y_mean)


def normal_prior(fixed: ColumnMap, priors: ModelPriors, y_mean: float = 0.0) -> NormalPrior:
    """Return the prior of coefficients in a kernel's columns, which `fixed` makes of the user's.

    The prior is diagonal in ``beta_prior``, ``beta_user = P beta_prior``, and the kernel has
    ``beta_user = T beta + c mean(y)``. Of collinear columns the kernel has the independent ones.
    """
    p = len(fixed.scale)
    if p == 0:
        return NormalPrior(np.zeros((0, 0)), np.zeros(0), 0.0, 0)
    inverse = independent_centring(priors.fixed_centring, priors.collinearity).inverse
    turn = inverse @ fixed.matrix
    shift = inverse @ fixed.centring.constant * y_mean
    location, precision, log_det = stated_prior(priors)
    proper = np.diag(precision) > 0
    n_proper = int(proper.sum())
    if n_proper:
        log_det += 2.0 * float(np.linalg.slogdet(turn)[1])
    mean = np.asarray(np.linalg.solve(turn, np.where(proper, location, shift) - shift), dtype=float)
    return NormalPrior(turn.T @ precision @ turn, mean, log_det, n_proper)


def stated_prior(priors: ModelPriors) -> tuple[Array, Array, float]:
    """Return mean (r,), precision (r, r) and log-determinant of what the priors say of independent columns."""
    if priors.collinearity is not None:
        joint = collinear_prior(priors)
        return joint.location, joint.precision, joint.log_det
    normal = [prior if isinstance(prior, Normal) else None for prior in priors.fixed]
    means = np.array([prior.mu if prior else 0.0 for prior in normal])
    weights = np.array([prior.sigma**-2.0 if prior else 0.0 for prior in normal])
    return means, np.diag(weights), float(np.sum(np.log(weights[weights > 0])))
