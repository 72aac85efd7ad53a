r"""A polynomial through few nodes in the ball that holds a posterior.

With z the parameters in units of a normal approximation, functions that are smooth over the posterior are interpolated
by polynomials of total degree 2 or 3. Their nodes are approximate Fekete points (Sommariva and Vianello, 2009,
*Computers & Mathematics with Applications* 57): of many candidates those that the pivots of a QR factorisation choose,
which keeps interpolation stable. Those of degree 3 go on from those of degree 2, the candidates' part that these have
taken put aside. Interpolation is linear in what was found at the nodes: :math:`f(z) \approx \sum_i h_i(z) f_i` with
:math:`h(z) = v(z)^\top V^+`, v the polynomials and V their values at the nodes.

Beyond the ball everything is what it is at its nearest point.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import comb

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.types import Array

DEGREES = (2, 3)
OUTSIDE = 1e-4  # of a normal distribution's mass beyond the ball
CANDIDATES = 1024


def n_polynomials(dimension: int, degree: int) -> int:
    """Return the number of monomials up to a degree."""
    return comb(dimension + degree, degree)


@cache
def radius(dimension: int) -> float:
    """Return the radius of the ball that holds all but `OUTSIDE` of a standard normal distribution."""
    return float(np.sqrt(scipy.stats.chi2.isf(OUTSIDE, dimension)))


def polynomials(z: Array, degree: int) -> Array:
    """Return the monomials of z (m, d) in units of the radius, up to a degree, (m, K)."""
    d = z.shape[1]
    scaled = z / radius(d)
    columns = [np.ones(len(z))]
    for total in range(1, degree + 1):
        columns += [
            np.prod(scaled[:, list(places)], axis=1) for places in combinations_with_replacement(range(d), total)
        ]
    return np.column_stack(columns)


def nodes(dimension: int, degree: int, given: Array | None = None) -> Array:
    """Return nodes that make as many as there are monomials, together with those given (N, d), (K - N, d).

    Parameters
    ----------
    dimension, degree
        Of the polynomials.
    given
        Nodes of a lower degree that are kept; None for none, and the centre is among the first.
    """
    sobol = scipy.stats.qmc.Sobol(dimension, scramble=False)
    cube = 2.0 * sobol.random(CANDIDATES) - 1.0
    length = np.linalg.norm(cube, axis=1, keepdims=True)
    largest = np.abs(cube).max(axis=1, keepdims=True)
    ball = radius(dimension) * cube * np.divide(largest, length, out=np.zeros_like(length), where=length > 0)
    values, count = polynomials(ball, degree), n_polynomials(dimension, degree)
    if given is not None:
        basis = np.linalg.qr(polynomials(given, degree).T)[0]
        values, count = values - (values @ basis) @ basis.T, count - len(given)
    chosen = scipy.linalg.qr(values.T, mode="r", pivoting=True)[1][:count]
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
    degree
        Degree of the polynomials.
    """

    centre: Array
    root: Array
    inverse: Array
    degree: int

    @classmethod
    def through(cls, centre: Array, root: Array, z: Array, degree: int) -> "Surface":
        """Return the interpolation from nodes at z (N, d), of which there are at least as many as monomials."""
        return cls(centre, root, np.asarray(np.linalg.pinv(polynomials(z, degree)), dtype=float), degree)

    def place(self, phi: Array) -> tuple[Array, float]:
        """Return the weights of the nodes for phi (N,), and by how much its squared distance exceeds the ball's."""
        z = np.asarray(np.linalg.solve(self.root, phi - self.centre), dtype=float)
        square, most = float(z @ z), radius(len(z)) ** 2
        if square > most:
            z = z * np.sqrt(most / square)
        return polynomials(z[None], self.degree)[0] @ self.inverse, max(square - most, 0.0)
