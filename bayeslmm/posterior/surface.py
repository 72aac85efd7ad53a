r"""A polynomial through few nodes in the ball that holds a posterior.

With z the parameters in units of a normal approximation, functions that are smooth over the posterior are interpolated
by polynomials of total degree 3. Their nodes are approximate Fekete points (Sommariva and Vianello, 2009, *Computers &
Mathematics with Applications* 57): of many candidates those that the pivots of a QR factorisation choose, which keeps
interpolation stable. Interpolation is linear in what was found at the nodes:
:math:`f(z) \approx \sum_i h_i(z) f_i` with :math:`h(z) = v(z)^\top V^+`, v the polynomials and V their values at the
nodes.

Beyond the ball everything is what it is at its nearest point.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import comb

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.types import Array

DEGREE = 3
OUTSIDE = 1e-4  # of a normal distribution's mass beyond the ball
CANDIDATES = 1024


def n_polynomials(dimension: int) -> int:
    """Return the number of monomials up to `DEGREE`."""
    return comb(dimension + DEGREE, DEGREE)


@cache
def radius(dimension: int) -> float:
    """Return the radius of the ball that holds all but `OUTSIDE` of a standard normal distribution."""
    return float(np.sqrt(scipy.stats.chi2.isf(OUTSIDE, dimension)))


def polynomials(z: Array) -> Array:
    """Return the monomials of z (m, d) in units of the radius, up to `DEGREE`, (m, K)."""
    d = z.shape[1]
    scaled = z / radius(d)
    columns = [np.ones(len(z))]
    for degree in range(1, DEGREE + 1):
        columns += [
            np.prod(scaled[:, list(places)], axis=1) for places in combinations_with_replacement(range(d), degree)
        ]
    return np.column_stack(columns)


def nodes(dimension: int) -> Array:
    """Return as many nodes as there are monomials, the centre among them, (K, d)."""
    sobol = scipy.stats.qmc.Sobol(dimension, scramble=False)
    cube = 2.0 * sobol.random(CANDIDATES) - 1.0
    length = np.linalg.norm(cube, axis=1, keepdims=True)
    largest = np.abs(cube).max(axis=1, keepdims=True)
    ball = radius(dimension) * cube * np.divide(largest, length, out=np.zeros_like(length), where=length > 0)
    chosen = scipy.linalg.qr(polynomials(ball).T, mode="r", pivoting=True)[1][: n_polynomials(dimension)]
    return np.asarray(ball[chosen])


@dataclass(frozen=True, slots=True)
class Surface:
    """Interpolation from nodes.

    Attributes
    ----------
    centre, root
        z = root⁻¹(φ − centre), (d,) and (d, d).
    inverse
        Pseudo-inverse of the polynomials at the nodes, (K, N).
    """

    centre: Array
    root: Array
    inverse: Array

    @classmethod
    def through(cls, centre: Array, root: Array, z: Array) -> "Surface":
        """Return the interpolation from nodes at z (N, d), of which there are at least as many as monomials."""
        return cls(centre, root, np.asarray(np.linalg.pinv(polynomials(z)), dtype=float))

    def place(self, phi: Array) -> tuple[Array, float]:
        """Return the weights of the nodes for phi (N,), and by how much its squared distance exceeds the ball's."""
        z = np.asarray(np.linalg.solve(self.root, phi - self.centre), dtype=float)
        square, most = float(z @ z), radius(len(z)) ** 2
        if square > most:
            z = z * np.sqrt(most / square)
        return polynomials(z[None])[0] @ self.inverse, max(square - most, 0.0)
