r"""Leverages of rows in large crossed factors, without a factor.

With :math:`z = (z_1, z_2)` the columns of a row times the root of its weight, of the leading term and the others, and
M and S those of `eliminated`, the leverage in the random effects is

.. math:: h = z_1^\top M z_1 + v^\top S^{-1} v, \qquad v = \Lambda_2^\top(z_2 - A_{21}Mz_1),

where :math:`v^\top q` for a vector q of the trailing effects is what the row makes of the effects
:math:`-MA_{12}\Lambda_2q` and :math:`\Lambda_2q`. With :math:`S^{-1} = N + ee^\top` and w as in `common_part`, B the
diagonal blocks of :math:`\Lambda_2P^{-1}\Lambda_2^\top` and probes r,

.. math:: v^\top S^{-1} v = v^\top(P^{-1} - ww^\top + ee^\top)v + E\,(v^\top x)(v^\top n), \qquad
          v^\top P^{-1}v = z_2^\top B z_2 - 2 z_2^\top B A_{21}Mz_1 + z_1^\top M(A_{12}BA_{21})Mz_1,

n the projected :math:`L^{-\top}r` and x = NLr - n. All but the mean over probes is exact, and costs one pass over the
rows; the probes' spread tells its error row by row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from bayeslmm.likelihood.columns import ColumnMaps
from bayeslmm.likelihood.iterative.coefficients import effects_by_term
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.likelihood.iterative.evaluation import SolvedSystem
from bayeslmm.likelihood.iterative.passes import Levels
from bayeslmm.likelihood.left_out import DataRows
from bayeslmm.types import Array, Codes, Index

AT_ONCE = 16_384  # rows whose values of every probe are held at once
KNOWN_SHARE = 0.99  # largest share of what is known of the trailing effects' part that probes may take away


@dataclass(frozen=True, slots=True)
class PairedRows:
    """Rows of the fit as passes over them need them, in the kernel's columns.

    Attributes
    ----------
    codes
        Level of each row (n,), one per term; 0 where it has none.
    columns
        Its columns times the root of its weight, (n, S), one per term; zero where it has no level.
    places
        Where the pair of its leading and its trailing level is among the pairs of each trailing term, (n,).
    """

    codes: tuple[Codes, ...]
    columns: tuple[Array, ...]
    places: tuple[Index, ...]

    @classmethod
    def of(cls, paired: PairedProducts, maps: ColumnMaps, data: DataRows) -> "PairedRows":
        """Arrange rows of the user's columns."""
        columns, codes = [], []
        for k, own in enumerate(data.codes):
            known = own >= 0
            codes.append(np.where(known, own, 0))
            turned_columns = data.columns[k] @ maps.maps[k].matrix
            columns.append(np.ascontiguousarray(turned_columns * (data.root_weights * known)[:, None]))
        lead = codes[paired.lead]
        places = [place_pairs(pairs.starts, pairs.levels, lead, codes[pairs.term]) for pairs in paired.pairs]
        return cls(tuple(codes), tuple(columns), tuple(places))

    def __len__(self) -> int:
        return len(self.codes[0])

    def batches(self) -> Iterator[tuple[slice, "PairedRows"]]:
        """Yield some rows at a time, and where they are."""
        for first in range(0, len(self), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            codes, columns = tuple(c[some] for c in self.codes), tuple(z[some] for z in self.columns)
            yield some, PairedRows(codes, columns, tuple(place[some] for place in self.places))

    def values(self, effects: Sequence[Array]) -> Array:
        """Return what the rows make of effects (J, S, m) per term, (n, m)."""
        out = np.zeros((len(self), effects[0].shape[2]))
        for codes, columns, of_term in zip(self.codes, self.columns, effects, strict=True):
            add_values(codes, columns, of_term, out)
        return out


@numba.njit(cache=True, nogil=True)
def place_pairs(starts: Index, levels: Levels, lead: Codes, trailing: Codes) -> Index:
    """Return where the pair of each row's leading and trailing level is; 0 where there is none."""
    out = np.zeros(lead.shape[0], dtype=np.int64)
    for i in range(lead.shape[0]):
        low, high = starts[lead[i]], starts[lead[i] + 1]
        while low < high:  # the pairs of a leading level are sorted by trailing level
            middle = (low + high) // 2
            if levels[middle] < trailing[i]:
                low = middle + 1
            else:
                high = middle
        if low < starts[lead[i] + 1]:
            out[i] = low
    return out


@numba.njit(cache=True, nogil=True)
def add_values(codes: Codes, columns: Array, effects: Array, out: Array) -> None:
    """``out[i] += columns[i] @ effects[codes[i]]``; effects (J, S, m), out (n, m)."""
    for i in range(codes.shape[0]):
        for s in range(columns.shape[1]):
            value, row = columns[i, s], effects[codes[i], s]
            for k in range(out.shape[1]):
                out[i, k] += value * row[k]


@dataclass(frozen=True, slots=True)
class Leverages:
    """Leverages of rows in the random effects.

    Attributes
    ----------
    value, error
        The leverage and its Monte Carlo standard error, (n,).
    """

    value: Array
    error: Array


class RowProbes:
    """Probes of the rows' leverages at one point.

    Parameters
    ----------
    system
        The equations solved there for the probes, among others.
    signs
        The probes, (q_T, m).
    rows
        The rows.
    """

    def __init__(self, system: SolvedSystem, signs: Array, rows: PairedRows) -> None:
        self.rows, self.n_probes = rows, signs.shape[1]
        common = system.common
        self.eliminated: Eliminated = common.eliminated
        near = common.project_effects(self.eliminated.whiten_transposed(signs))
        rest = system.solution.x[:, : self.n_probes] - near
        self._probed = self._effects(np.hstack([rest, near]))
        self._exact = self._effects(np.hstack(common.difference(system.exact)))

    def _effects(self, whitened: Array) -> list[Array]:
        """Return per term the effects that whitened trailing vectors (q_T, m) stand for."""
        eliminated = self.eliminated
        trailing = eliminated.scale(whitened)
        return effects_by_term(
            eliminated.paired, -(eliminated.middle @ eliminated.paired.lead_from(trailing)), trailing
        )

    @cached_property
    def leverages(self) -> Leverages:
        """The leverages."""
        known_at = self._known_part()
        value, error, m = np.empty(len(self.rows)), np.empty(len(self.rows)), self.n_probes
        for some, rows in self.rows.batches():
            lead, known = known_at(rows)
            left, right = np.split(rows.values(self._exact), 2, axis=1)
            known = known + np.einsum("is,is->i", left, right)
            products = self._products(rows)
            rest = products.mean(axis=1)
            rest = np.where(rest < -KNOWN_SHARE * known, 0.0, rest)
            value[some] = lead + known + rest
            error[some] = products.std(axis=1, ddof=1) / np.sqrt(m)
        return Leverages(value, error)

    def moved(self, weights: Array) -> Array:
        """Return by how much each probe moves a weighted sum (n,) of the leverages, (m,)."""
        sums = np.zeros(self.n_probes)
        for some, rows in self.rows.batches():
            sums += weights[some] @ self._products(rows)
        return np.asarray((sums - sums.mean()) / np.sqrt(self.n_probes * (self.n_probes - 1)))

    def _products(self, rows: PairedRows) -> Array:
        """Return each probe's estimate of what is not known exactly, (n, m)."""
        rest, near = np.split(rows.values(self._probed), 2, axis=1)
        return np.asarray(rest * near)

    def _known_part(self) -> Callable[[PairedRows], tuple[Array, Array]]:
        """Return the function of rows to ``z_1'Mz_1`` and ``v'P^-1v``, (n,) each."""
        eliminated = self.eliminated
        paired, middle = eliminated.paired, eliminated.middle
        blocks = [
            eliminated.lambdas[pairs.term] @ block @ eliminated.lambdas[pairs.term].T
            for pairs, block in zip(paired.pairs, eliminated.inverse_preconditioner(), strict=True)
        ]
        met = eliminated.lead_diagonal(blocks)

        def known(rows: PairedRows) -> tuple[Array, Array]:
            z, codes = rows.columns[paired.lead], rows.codes[paired.lead]
            pulled = np.einsum("ist,it->is", middle[codes], z)
            part = np.einsum("is,ist,it->i", pulled, met[codes], pulled)
            for pairs, block, places in zip(paired.pairs, blocks, rows.places, strict=True):
                own = rows.columns[pairs.term]
                turned_own = np.einsum("ist,it->is", block[rows.codes[pairs.term]], own)
                reached = own - 2.0 * np.einsum("ist,is->it", pairs.blocks[places], pulled)
                part += np.einsum("is,is->i", turned_own, reached)
            return np.einsum("is,is->i", z, pulled), part

        return known
