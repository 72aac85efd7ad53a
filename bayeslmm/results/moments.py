r"""Moments of a design's columns over its rows, which a stream's sums hold too.

Without weights, with :math:`\bar x` the means and :math:`C = \sum (x - \bar x)(x - \bar x)^\top`,

.. math:: X^\top X = C + n \bar x \bar x^\top .

Sums of weighted rows do not tell what unweighted rows add up to.
"""

from typing import cast

import numpy as np

from bayeslmm.criticism.variance_shares import RowMoments, row_moments
from bayeslmm.design.design import Design
from bayeslmm.design.gram import Gram
from bayeslmm.design.streamed import StreamedDesign, is_streamed, refuse_rows
from bayeslmm.likelihood.partial_sums import PartialSums
from bayeslmm.likelihood.streamed_kernel import fixed_gram, term_gram
from bayeslmm.types import Array


def moments_of(design: Design) -> RowMoments:
    """Return the moments that shares of variance are made of.

    Raises
    ------
    RowsError
        If weighted rows streamed.
    """
    if not is_streamed(design):
        return row_moments(design.X, [term.columns for term in design.terms], design.weights)
    sums = _unweighted(design)
    terms = tuple(term_gram(sums, k).raw / sums.n for k in range(len(design.terms)))
    return RowMoments(_kept(design, sums).centred / max(sums.n - 1, 1), terms)


def fixed_root(design: Design) -> Array:
    """Return the fixed columns, (n, p), or, of rows that streamed, fewer rows with the same cross-products.

    Raises
    ------
    RowsError
        If weighted rows streamed.
    """
    if not is_streamed(design):
        return design.X
    gram = _kept(design, _unweighted(design))
    scale = np.sqrt(np.maximum(np.diag(gram.centred), 0.0))
    scale[scale == 0] = 1.0
    values, vectors = np.linalg.eigh(gram.centred / np.outer(scale, scale))
    about_means = (np.sqrt(np.maximum(values, 0.0)) * vectors).T * scale
    return np.vstack([np.sqrt(gram.n) * gram.means, about_means])


def _unweighted(design: Design) -> PartialSums:
    if design.weights_column is not None:
        refuse_rows("their columns without the weights")
    return cast(PartialSums, cast(StreamedDesign, design).sums.sums)


def _kept(design: Design, sums: PartialSums) -> Gram:
    return fixed_gram(sums).take(design.recipe.kept)
