r"""Covariance parameters that the data cannot distinguish from one another.

The marginal covariance of the response is linear in the entries of the random terms' covariance matrices,

.. math:: V = \sigma^2 W^{-1} + \sum_m \omega_m A_m, \qquad A_m = Z_k (I \otimes E_m) Z_k^\top,

one :math:`E_m` for each free entry of :math:`\Sigma_k`. Where the matrices :math:`A_m` and :math:`W^{-1}` are linearly
dependent, different parameters give the same V, and no amount of data of this design tells them apart: h = g in
``(1 | g) + (1 | h)``, a constant c in ``(c | g)``, a column that occurs twice.

The matrices have n rows and columns and are never formed. :math:`A_m v` for a few random vectors v, stacked, costs O(n)
a parameter and is linearly dependent where the matrices are; where they are not, it is independent with probability
one if v has enough entries, which a few vectors provide. The products are formed some rows at a time, from sums by
level, and only the triangular factor of the table they make is kept. Columns are centred where the structure allows
it, so that a calendar year is not taken for a constant, and directions without information are carried back to the
user's columns,
:math:`\Sigma = T\tilde\Sigma T^\top`, before parameters are named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.design import RandomTerm
from bayeslmm.design.names import SIGMA, correlation_name, sd_name
from bayeslmm.types import Array

VECTORS = 3
MANY = 100  # rows per parameter beyond which one vector has entries enough
LARGEST = 20_000_000  # numbers in the table; larger designs are not looked at
CHUNK_ROWS = 262_144  # rows of it that are held at once
DEPENDENT = 1e-8  # of the largest singular value, matrices scaled to norm one: rounding leaves 1e-15, near twins 1e-6
SHARE = 0.05  # of the largest change in a direction without information, beyond which a parameter is named
CONSTANT = 1e-12  # of a column's root mean square: what is left of a constant by centring

FULL_RANK = 1e-4  # least share of a column of a level, scaled, that is its own, for rank without doubt

Entry = tuple[RandomTerm, int, int]


def has_telling_level(term: RandomTerm) -> bool:
    r"""Whether a single term's largest level tells all its covariance parameters and sigma apart by itself.

    Where :math:`Z_j` has full column rank and more rows than columns, :math:`Z_j E Z_j^\top = 0` for no
    :math:`E \ne 0`, and :math:`Z_j E Z_j^\top` has a smaller rank than :math:`W_j^{-1}`. No other level can undo
    that. Where the largest level does not show it, others may.

    Parameters
    ----------
    term
        The only random term.
    """
    members = np.flatnonzero(term.codes == np.bincount(term.codes).argmax())
    if len(members) <= term.n_columns:
        return False
    rows = term.centring.apply(term.columns[members])
    norms = np.sqrt(np.einsum("is,is->s", rows, rows))
    if not norms.all():
        return False
    rows = rows / norms
    return bool(np.linalg.eigvalsh(rows.T @ rows)[0] > FULL_RANK)


def confounded(terms: Sequence[RandomTerm], weights: Array | None, n: int, sigma_known: bool) -> tuple[str, ...]:
    """Return the names of covariance parameters that the data cannot distinguish, ``sd_Subject[Days]``.

    Parameters
    ----------
    terms
        The random terms.
    weights
        Shape (n,) or None.
    n
        Number of rows.
    sigma_known
        Whether the residual variance is given, and so distinguishable.
    """
    entries = [(t, r, s) for t in terms for s in range(t.n_columns) for r in range(s, t.n_columns) if _free(t, r, s)]
    count = 1 if n > MANY * len(entries) else VECTORS
    if not entries or (len(entries) + 1) * n * count > LARGEST:
        return ()
    scaled = {term.name: _Scaled.of(term) for term in terms}
    R = _triangle(entries, scaled, None if sigma_known else np.ones(n) if weights is None else weights, (n, count))
    norms = np.linalg.norm(R, axis=0)
    empty = norms == 0
    _, values, directions = np.linalg.svd(R[:, ~empty] / norms[~empty])
    flat = directions[values <= DEPENDENT * values[0]] if values.size else np.empty((0, 0))
    nothing = np.eye(len(norms))[empty]
    apart = np.zeros((len(flat), len(norms)))
    if len(flat):
        apart[:, ~empty] = flat / norms[~empty] * np.max(norms)
    found: dict[str, None] = {}
    for direction in (*nothing, *apart):
        shares = _named_shares(direction, entries, {name: found.divisor for name, found in scaled.items()})
        largest = max(shares.values())
        found.update({name: None for name, share in shares.items() if share > SHARE * largest})
    order = [*(_name(*entry) for entry in entries), SIGMA]
    return tuple(name for name in order if name in found)


def _named_shares(direction: Array, entries: Sequence[Entry], sizes: dict[str, Array]) -> dict[str, float]:
    """Return how much each parameter moves along a direction, on the user's columns in units of their size."""
    changes = {term.name: np.zeros((term.n_columns, term.n_columns)) for term, _, _ in entries}
    for (term, r, s), value in zip(entries, direction, strict=False):
        changes[term.name][r, s] += value
        changes[term.name][s, r] += value
    shares = {}
    for term in {term.name: term for term, _, _ in entries}.values():
        back = term.centring.matrix / sizes[term.name]
        size = np.sqrt(np.mean(term.columns**2, axis=0))
        size[size == 0] = 1.0
        changes[term.name] = np.abs(back @ changes[term.name] @ back.T) * np.outer(size, size)
    for term, r, s in entries:
        shares[_name(term, r, s)] = float(changes[term.name][r, s])
    if len(direction) > len(entries):
        shares[SIGMA] = float(abs(direction[-1]))
    return shares


def _free(term: RandomTerm, r: int, s: int) -> bool:
    return r == s or term.has_correlations


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A term's columns centred and of root mean square one, zero where nothing is left.

    Attributes
    ----------
    term
        The random term.
    divisor, kept
        What divides the columns, and whether something is left of them, shape (S,).
    """

    term: RandomTerm
    divisor: Array
    kept: NDArray[np.bool_]

    @classmethod
    def of(cls, term: RandomTerm) -> "_Scaled":
        """Return the columns of a term."""
        squares = np.zeros((2, term.n_columns))
        for rows in _chunks(len(term.codes)):
            columns = term.columns[rows]
            squares += [np.einsum("is,is->s", x, x) for x in (columns, term.centring.apply(columns))]
        size, left = np.sqrt(squares)
        kept = left > CONSTANT * size
        return cls(term, np.where(kept, left / np.sqrt(max(1, len(term.codes))), 1.0), kept)

    def columns(self, rows: slice) -> Array:
        """Return them in some rows, shape (m, S)."""
        return np.asarray(self.term.centring.apply(self.term.columns[rows]) * self.kept / self.divisor)

    def sums(self, count: int) -> Array:
        """Return the sums of their products with the random vectors by level, shape (J, S, vectors)."""
        term = self.term
        found = np.zeros((term.n_levels, term.n_columns, count))
        for rows, v in _random_vectors(len(term.codes), count):
            for s, column in enumerate(self.columns(rows).T):
                for c, vector in enumerate(v.T):
                    found[:, s, c] += np.bincount(term.codes[rows], column * vector, term.n_levels)
        return found


def _chunks(n: int) -> Iterator[slice]:
    for first in range(0, n, CHUNK_ROWS):
        yield slice(first, min(n, first + CHUNK_ROWS))


def _random_vectors(n: int, count: int) -> Iterator[tuple[slice, Array]]:
    """Yield rows and the entries of the random vectors there, (m, vectors), the same every time."""
    rng = np.random.default_rng(0)
    for rows in _chunks(n):
        yield rows, rng.normal(size=(rows.stop - rows.start, count))


def _triangle(
    entries: Sequence[Entry], scaled: Mapping[str, _Scaled], weights: Array | None, shape: tuple[int, int]
) -> Array:
    """Return the triangular factor of the table of all A v, one column for each entry.

    Parameters
    ----------
    entries
        The entries of the terms' covariances.
    scaled
        The columns of the terms, by name.
    weights
        For a last column of the residual variance; None where it is known.
    shape
        Number of rows and of random vectors.
    """
    sums = {name: columns.sums(shape[1]) for name, columns in scaled.items()}
    R = np.zeros((0, len(entries) + (weights is not None)))
    for rows, v in _random_vectors(*shape):
        columns = {name: found.columns(rows) for name, found in scaled.items()}
        back = {name: sums[name][found.term.codes[rows]] for name, found in scaled.items()}
        images = [_image(columns[t.name][:, [r, s]], back[t.name][:, [r, s]], r == s) for t, r, s in entries]
        if weights is not None:
            images.append(v / weights[rows, None])
        table = np.column_stack([image.ravel() for image in images])
        R = np.asarray(np.linalg.qr(np.concatenate([R, table]), mode="r"))
    return R


def _image(pair: Array, sums: Array, same: bool) -> Array:
    """Return rows of A v for an entry of a term's covariance, (m, vectors).

    Parameters
    ----------
    pair
        Its two columns, shape (m, 2).
    sums
        Sums of the columns' products with v over the level of each row, shape (m, 2, vectors).
    same
        Whether the two are one.
    """
    left, right = pair[:, :1], pair[:, 1:]
    return 2.0 * left * sums[:, 0] if same else left * sums[:, 1] + right * sums[:, 0]


def _name(term: RandomTerm, r: int, s: int) -> str:
    if r == s:
        return sd_name(term.name, term.effects[r])
    return correlation_name(term.name, term.effects[s], term.effects[r])
