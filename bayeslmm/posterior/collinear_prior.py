r"""Priors of collinear coefficients: what they say of those of the independent columns, and of all given these.

On the columns that the priors are stated on (`ModelPriors.fixed_centring`), with the coefficients of the independent
columns :math:`b_k` and of the others :math:`b_o`, which the data see as

.. math:: v = b_k + H b_o,

independent normal priors with precisions :math:`W_k` (zero where flat) and :math:`W_o`, and means
:math:`m_k` and :math:`m_o`, give with :math:`Q = W_o + H^\top W_k H`

.. math::

   v &\sim N\bigl(m_k + H m_o,\ (W_k - W_k H Q^{-1} H^\top W_k)^{-1}\bigr), \\
   b_o \mid v &\sim N\bigl(m_o + Q^{-1} H^\top W_k (v - m_k - H m_o),\ Q^{-1}\bigr), \qquad b_k = v - H b_o .

The data depend on v alone, so a draw of v from its posterior is completed by a draw of the second line. Student t,
Cauchy, Laplace and logistic priors are normal given their scales w (`bayeslmm.posterior.scale_mixtures`): all this
holds given w.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from bayeslmm.design.centring import Centring
from bayeslmm.design.collinearity import Collinearity
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.real_line import Flat, Normal
from bayeslmm.types import Array

NOTHING = 1e-9  # of the terms that an entry of H is the difference of: rounding


@dataclass(frozen=True, slots=True)
class CollinearPrior:
    """The prior of v, and of all coefficients given v.

    Attributes
    ----------
    collinearity
        Which of the p columns are independent, and how the q others depend on these r.
    centring
        The centring of all columns that the priors are stated on.
    combine
        H, shape (r, q).
    mean, other_mean
        m_k, shape (r,), zero where flat, and m_o, shape (q,).
    weights, other_weights
        Diagonals of W_k and W_o.
    """

    collinearity: Collinearity
    centring: Centring
    combine: Array
    mean: Array
    other_mean: Array
    weights: Array
    other_weights: Array

    @property
    def _pull(self) -> Array:
        return self.weights[:, None] * self.combine

    @property
    def _inner(self) -> Array:
        return np.diag(self.other_weights) + self.combine.T @ self._pull

    @property
    def location(self) -> Array:
        """The mean of v, shape (r,)."""
        return np.asarray(self.mean + self.combine @ self.other_mean)

    @property
    def precision(self) -> Array:
        """The precision of v, shape (r, r)."""
        pull = self._pull
        return np.asarray(np.diag(self.weights) - pull @ cho_solve(cho_factor(self._inner), pull.T))

    @property
    def log_det(self) -> float:
        """The log-determinant of the precision over its proper directions."""
        proper = self.weights[self.weights > 0]
        own = np.sum(np.log(proper)) + np.sum(np.log(self.other_weights))
        return float(own - np.linalg.slogdet(self._inner)[1])

    @property
    def gain(self) -> Array:
        """By how much the mean of b_o moves with v, shape (q, r)."""
        return np.asarray(cho_solve(cho_factor(self._inner), self._pull.T))

    def deviations(self, places: Sequence[int]) -> tuple[Array, Array]:
        """Return how far coefficients, where their priors are stated, are from their means, given v.

        Parameters
        ----------
        places
            K of the p coefficients, none of them flat.

        Returns
        -------
        tuple
            Rows L, shape (K, r), and variances s, shape (K,), of ``L (v - location) + N(0, s)``.
        """
        mixed = np.zeros((self.collinearity.matrix.shape[1], len(self.other_mean)))
        mixed[self.collinearity.kept] = -self.combine
        mixed[self.collinearity.others] = np.eye(len(self.other_mean))
        own = np.zeros((len(mixed), len(self.mean)))
        own[self.collinearity.kept] = np.eye(len(self.mean))
        mixed, own = mixed[list(places)], own[list(places)]
        spread = cho_solve(cho_factor(self._inner), mixed.T)
        return own + mixed @ self.gain, np.sum(mixed.T * spread, axis=0)

    def complete(self, beta: Array, rng: np.random.Generator) -> Array:
        """Draw the coefficients of all columns, shape (m, p), given those of the independent ones, shape (m, r)."""
        inside = independent_centring(self.centring, self.collinearity)
        v = beta @ inside.inverse.T
        noise = rng.standard_normal((len(self.other_mean), len(v)))
        spread = solve_triangular(np.linalg.cholesky(self._inner), noise, lower=True, trans=1)
        others = self.other_mean + (v - self.location) @ self.gain.T + spread.T
        stated = np.empty((len(v), v.shape[1] + others.shape[1]))
        stated[:, self.collinearity.kept] = v - others @ self.combine.T
        stated[:, self.collinearity.others] = others
        return np.asarray(stated @ self.centring.matrix.T)

    def given_independent(self, weights: Array) -> tuple[Array, float, float]:
        """Return a function of all coefficients as one of those of the independent columns, plus noise.

        Parameters
        ----------
        weights
            a of the function a'beta, shape (p,), in the user's columns.

        Returns
        -------
        tuple
            Weights of the independent columns' coefficients, shape (r,), a constant, and the variance of normal noise,
            zero for functions that the data identify.
        """
        stated = self.centring.matrix.T @ weights
        own = stated[self.collinearity.kept]
        rest = stated[self.collinearity.others] - self.combine.T @ own
        inside = independent_centring(self.centring, self.collinearity)
        moved = own + self.gain.T @ rest
        constant = float(rest @ (self.other_mean - self.gain @ self.location))
        return inside.inverse.T @ moved, constant, float(rest @ cho_solve(cho_factor(self._inner), rest))


def independent_centring(centring: Centring, collinearity: Collinearity | None) -> Centring:
    """Return the centring of the independent columns."""
    if collinearity is None:
        return centring
    return Centring(centring.constant[collinearity.kept], centring.means[collinearity.kept])


def combination(centring: Centring, collinearity: Collinearity) -> Array:
    r"""Return H, shape (r, q): :math:`P_k^{-1} (A - c\,m_o^\top) = A + c\,(m_k^\top A - m_o^\top)`."""
    A = collinearity.dependence
    inside = independent_centring(centring, collinearity)
    moved, means = inside.means @ A, centring.means[collinearity.others]
    found = A + np.outer(inside.constant, moved - means)
    size = np.abs(A) + np.outer(np.abs(inside.constant), np.abs(inside.means) @ np.abs(A) + np.abs(means))
    return np.where(np.abs(found) > NOTHING * size, found, 0.0)


def identifies(priors: ModelPriors, *, normal: bool = False) -> bool:
    """Whether priors tell collinear coefficients apart.

    Parameters
    ----------
    priors
        Those of all columns; of the columns that likelihoods leave out they must be proper.
    normal
        Whether those of all columns concerned must be normal or flat, too.
    """
    collinearity = priors.collinearity
    if collinearity is None:
        return True
    suit = not normal or all(isinstance(priors.fixed[j], Normal | Flat) for j in undetermined(priors))
    return suit and all(priors.fixed[j].proper for j in collinearity.others)


def undetermined(priors: ModelPriors) -> list[int]:
    """Return the coefficients, of all columns, that the data tell combinations of only."""
    collinearity = priors.collinearity
    if collinearity is None:
        return []
    involved = collinearity.kept[np.any(combination(priors.fixed_centring, collinearity) != 0, axis=1)]
    return sorted([*involved.tolist(), *collinearity.others.tolist()])


def collinear_prior(priors: ModelPriors) -> CollinearPrior:
    """Return the prior of coefficients of which some are collinear; other priors than normal ones count as flat."""
    collinearity = priors.collinearity
    assert collinearity is not None
    normal = [prior if isinstance(prior, Normal) else None for prior in priors.fixed]
    means = np.array([prior.mu if prior else 0.0 for prior in normal])
    weights = np.array([prior.sigma**-2.0 if prior else 0.0 for prior in normal])
    kept, others = collinearity.kept, collinearity.others
    return CollinearPrior(
        collinearity,
        priors.fixed_centring,
        combination(priors.fixed_centring, collinearity),
        means[kept],
        means[others],
        weights[kept],
        weights[others],
    )
