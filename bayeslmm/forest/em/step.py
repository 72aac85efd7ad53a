r"""One step of the EM algorithm for variance components, given f(X).

With :math:`r = y - f(X)`, at the old :math:`(\sigma^2, D_1, \dots, D_K)`,

.. math::

   b &= E(b \mid r), \qquad e = r - X\beta - Zb, \qquad C = \mathrm{var}(b \mid r), \\
   \sigma^2 &\leftarrow \tfrac1n\bigl(e^\top W e + \mathrm{tr}(W Z C Z^\top)\bigr), \qquad
   D_k \leftarrow \tfrac{1}{J_k}\sum_j \bigl(b_j b_j^\top + C_{jj}\bigr) .

Nothing of the size rows × groups is formed: with the kernel's :math:`\Omega`, :math:`\mathrm{tr}(WZCZ^\top) =
\sigma^2(q - \mathrm{tr}\,\Omega^{-1})` for any number of nested or crossed terms. Source: Hajjem, Bellavance
and Larocque (2014), Journal of Statistical Computation and Simulation 84, 1313-1328, for one factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.likelihood import Kernel, TermShape
from bayeslmm.likelihood.conditional import effect_modes, fixed_modes
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.marginal import evaluate
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Components:
    """Variance components, linear coefficients and random effects.

    Attributes
    ----------
    sigma2
        Residual variance.
    covariances
        D of each term on the user's columns, shape (S, S).
    beta
        Linear coefficients, shape (p,).
    effects
        b, one array (J, S) per term.
    """

    sigma2: float
    covariances: tuple[Array, ...]
    beta: Array
    effects: tuple[Array, ...]

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        return float(np.sqrt(self.sigma2))


def start(shapes: Sequence[TermShape], p: int) -> Components:
    """Return sigma² = 1, D = I, beta = 0, b = 0."""
    return Components(
        sigma2=1.0,
        covariances=tuple(np.eye(shape.n_columns) for shape in shapes),
        beta=np.zeros(p),
        effects=tuple(np.zeros((shape.n_levels, shape.n_columns)) for shape in shapes),
    )


def relative_factors(components: Components, shapes: Sequence[TermShape]) -> list[Array]:
    """Return the user's lambda of each term, ``D = sigma² lambda lambda.T``, singular D included."""
    factors = []
    for D, shape in zip(components.covariances, shapes, strict=True):
        values, vectors = np.linalg.eigh(D)
        root = vectors * np.sqrt(np.clip(values, 0.0, None) / components.sigma2)
        factors.append(shape.structure.factor_of_root(root))
    return factors


def em_step(rows: KernelStructure, residual: Array, old: Components) -> Components:
    """Take one EM step.

    Parameters
    ----------
    rows
        Groups, linear columns and weights.
    residual
        y - f(X), shape (n,).
    old
        The components before the step.

    Returns
    -------
    Components with b and beta at the old variances, and new variances.
    """
    kernel = rows.at(residual)
    lambdas = kernel.kernel_factors(relative_factors(old, kernel.shapes))
    factor = factorise(kernel.products, lambdas)
    inner = fixed_modes(factor)
    transforms = [m.matrix @ f for m, f in zip(kernel.maps, lambdas, strict=True)]
    effects = tuple(u @ t.T for u, t in zip(effect_modes(factor, inner), transforms, strict=True))
    beta = kernel.fixed.matrix @ inner + kernel.fixed.centring.constant * kernel.y_mean
    blocks = inverse_blocks(factor).blocks
    known = sum(s.n_effects - np.trace(c, axis1=1, axis2=2).sum() for s, c in zip(kernel.shapes, blocks, strict=True))
    error = residual - rows.linear(beta) - rows.random(effects)
    sigma2 = (weighted_square(error, rows.weights) + old.sigma2 * known) / rows.n
    covariances = tuple(
        _covariance(b, old.sigma2 * (t @ c.sum(axis=0) @ t.T), shape)
        for b, c, t, shape in zip(effects, blocks, transforms, kernel.shapes, strict=True)
    )
    return Components(float(sigma2), covariances, beta, effects)


def _covariance(b: Array, conditional: Array, shape: TermShape) -> Array:
    return shape.structure.project((b.T @ b + conditional) / shape.n_levels)


def weighted_square(error: Array, weights: Array | None) -> float:
    """Return the (weighted) sum of squares."""
    return float(error @ error if weights is None else (weights * error) @ error)


def generalised_log_likelihood(rows: KernelStructure, residual: Array, components: Components) -> float:
    r"""Return MERF's "GLL".

    .. math:: \sum e^\top W e/\sigma^2 + n\log\sigma^2 - \sum\log w
              + \sum_k\sum_j (b_j^\top D_k^{-1} b_j + \log|D_k|),

    minus twice a joint log density of y and b without its constant. It has no lower bound as D
    goes to zero, so that a smaller value is no sign of a better fit; it is for comparison with other
    implementations only.
    """
    error = residual - rows.linear(components.beta) - rows.random(components.effects)
    total = weighted_square(error, rows.weights) / components.sigma2 + rows.n * np.log(components.sigma2)
    if rows.weights is not None:
        total -= float(np.sum(np.log(rows.weights)))
    for D, b in zip(components.covariances, components.effects, strict=True):
        sign, log_det = np.linalg.slogdet(D)
        if sign <= 0:
            return -np.inf
        total += float(np.sum(b * np.linalg.solve(D, b.T).T)) + len(b) * float(log_det)
    return float(total)


def marginal_log_likelihood(kernel: Kernel, components: Components) -> float:
    """Return log p(y | f, beta profiled, D, sigma²), b integrated out; the kernel holds y - f(X)."""
    lambdas = kernel.kernel_factors(relative_factors(components, kernel.shapes))
    return -0.5 * evaluate(kernel.products, lambdas, "ml", components.sigma).value
