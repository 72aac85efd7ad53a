r"""Coefficients given the covariance parameters without a factor: modes, variances and draws.

On the scale of b, :math:`\operatorname{var}(b \mid \beta) = \sigma^2\Lambda\Omega^{-1}\Lambda^\top`. Its blocks are
:math:`\Lambda_2S^{-1}\Lambda_2^\top` for trailing terms and :math:`M + MA_{12}\Lambda_2S^{-1}\Lambda_2^\top A_{21}M`
for the leading one. With :math:`S^{-1} = N + ee^\top` as in `common_part`, the second part is exact and the diagonal
blocks of N are estimated level by level by Rademacher probes about :math:`P^{-1} - ww^\top`. Draws are exact up to the
tolerance of their solves: beta from its marginal distribution, the trailing effects by a root of :math:`S^{-1}`, the
leading ones level by level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bayeslmm.likelihood.iterative.common_part import CommonPart
from bayeslmm.likelihood.iterative.conjugate_gradients import conjugate_gradients, inverse_root
from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.evaluation import Solved, rademacher, term_scores
from bayeslmm.likelihood.kernel import Conditional, Kernel
from bayeslmm.types import Array, Codes

PROBES_OF_VARIANCES = 64
PROBES_AT_ONCE = 16
TOLERANCE = 1e-4  # of solves whose errors are squared, or drowned by a probe's
EXACT_DRAWS = 1e-5
KNOWN_SHARE = 0.99  # largest share of a variance that a correction may take away
ROWS_AT_ONCE = 32


def conditional_modes(kernel: Kernel, theta: ArrayLike, solved: Solved, sigma: float) -> Conditional:
    """Return coefficients and random effects on the user's columns; the variances of effects are left empty.

    Parameters
    ----------
    kernel
        The likelihood.
    theta
        The user's relative covariance factors.
    solved
        The equations solved at theta.
    sigma
        Residual standard deviation.
    """
    lambdas = kernel.lambdas(theta)
    columns = kernel.fixed.matrix
    effects = effects_by_term(solved.eliminated.paired, *solved.of_response(solved.lead, solved.trailing))
    spherical = [term_scores(solved, k)[1] @ factor for k, factor in enumerate(lambdas)]
    return Conditional(
        beta=columns @ solved.beta + kernel.fixed.centring.constant * kernel.y_mean,
        beta_cov=sigma**2 * columns @ np.linalg.solve(solved.precision, columns.T),
        sigma=sigma,
        u=kernel.user_spherical(spherical, theta),
        b=tuple(b @ m.matrix.T for b, m in zip(effects, kernel.maps, strict=True)),
        b_cov=(),
    )


def effects_by_term(paired: PairedProducts, lead: Array, trailing: Array) -> list[Array]:
    """Return effects of the leading term (J_0, S_0, ...) and stacked ones (q_T, ...) per term, formula order."""
    shapes = paired.products.layout.shapes
    found: list[Array] = [lead] * len(shapes)
    for pairs in paired.pairs:
        shape = shapes[pairs.term]
        found[pairs.term] = trailing[pairs.rows].reshape(shape.n_levels, shape.n_columns, *trailing.shape[1:])
    return found


def effect_variances(kernel: Kernel, solved: Solved, sigma: float, *, estimated: bool) -> list[Array]:
    """Return estimates of the covariances of b, (J, S, S) per term on the user's columns.

    Parameters
    ----------
    kernel, solved, sigma
        The likelihood, the equations solved at its parameters, and the residual standard deviation.
    estimated
        Whether the error of beta counts, too: the covariance of ``b^ - b``.
    """
    eliminated = solved.eliminated
    paired = eliminated.paired
    lead, trailing = _probed_variances(solved)
    blocks: list[Array] = [lead] * len(kernel.shapes)
    for pairs, block in zip(paired.pairs, trailing, strict=True):
        blocks[pairs.term] = block
    if estimated and kernel.p:
        by_x = effects_by_term(paired, solved.lead[:, :, :-1], solved.trailing[:, :-1])
        inverse = np.linalg.inv(solved.precision)
        blocks = [block + x @ inverse @ x.transpose(0, 2, 1) for block, x in zip(blocks, by_x, strict=True)]
    return [sigma**2 * (m.matrix @ block @ m.matrix.T) for m, block in zip(kernel.maps, blocks, strict=True)]


def _probed_variances(solved: Solved) -> tuple[Array, list[Array]]:
    eliminated = solved.eliminated
    paired = eliminated.paired
    common = CommonPart(eliminated)
    tolerance = np.full(common.coupling.shape[1], TOLERANCE**2)
    exact = common.exact_part(conjugate_gradients(common, eliminated.precondition, common.coupling, tolerance).x)
    inverse = eliminated.inverse_preconditioner()
    roots = [eliminated.lambdas[pairs.term] for pairs in paired.pairs]
    known = [root @ block @ root.T for root, block in zip(roots, inverse, strict=True)]
    middle = eliminated.middle
    lead_known = middle @ eliminated.lead_diagonal(known) @ middle
    lead_sum = np.zeros_like(middle)
    sums = [np.zeros_like(block) for block in known]
    for first in range(0, PROBES_OF_VARIANCES, PROBES_AT_ONCE):
        signs = rademacher(paired.products.n_trailing, PROBES_AT_ONCE, first)
        right = common.without_sums(eliminated.colour(signs))
        found = conjugate_gradients(common, eliminated.precondition, right, np.full(PROBES_AT_ONCE, TOLERANCE)).x
        near = common.project_effects(eliminated.whiten_transposed(signs))
        rest, near = eliminated.scale(found - near), eliminated.scale(near)
        for total, pairs in zip(sums, paired.pairs, strict=True):
            total += np.einsum("jsm,jtm->jst", paired.levels_of(rest, pairs), paired.levels_of(near, pairs))
        met = middle @ paired.lead_from(np.hstack([rest, near]))
        lead_sum += np.einsum("jsm,jtm->jst", met[:, :, :PROBES_AT_ONCE], met[:, :, PROBES_AT_ONCE:])
    left, right = map(eliminated.scale, common.difference(exact))
    met, same = (middle @ paired.lead_from(v) for v in (left, right))
    lead = middle + _positive(lead_known + met @ same.transpose(0, 2, 1), lead_sum / PROBES_OF_VARIANCES)
    trailing = []
    for pairs, block, total in zip(paired.pairs, known, sums, strict=True):
        block = block + paired.levels_of(left, pairs) @ paired.levels_of(right, pairs).transpose(0, 2, 1)
        trailing.append(_positive(block, total / PROBES_OF_VARIANCES))
    return lead, trailing


def _positive(known: Array, rest: Array) -> Array:
    """Return the sum, or the known part alone where a correction would leave a variance next to nothing."""
    rest = (rest + rest.transpose(0, 2, 1)) / 2
    before = np.diagonal(known, axis1=1, axis2=2)
    lowest = np.min(np.diagonal(rest, axis1=1, axis2=2) + KNOWN_SHARE * before, axis=1)
    return np.where((lowest < 0.0)[:, None, None], known, known + rest)


@dataclass(frozen=True, slots=True)
class RowsOfKernel:
    """Rows to predict in the kernel's columns.

    Attributes
    ----------
    codes, columns
        Level of each row (m,), -1 for none, and columns (m, S), per term.
    fixed
        Shape (m, p).
    """

    codes: tuple[Codes, ...]
    columns: tuple[Array, ...]
    fixed: Array


def rows_of_kernel(kernel: Kernel, codes: Sequence[Codes], columns: Sequence[Array], X: Array) -> RowsOfKernel:
    """Return rows of the user's columns as the kernel sees them."""
    turned = tuple(z @ m.matrix for z, m in zip(columns, kernel.maps, strict=True))
    return RowsOfKernel(tuple(codes), turned, X @ kernel.fixed.matrix if kernel.p else np.zeros((len(X), 0)))


def prediction_variance(solved: Solved, rows: RowsOfKernel) -> Array:
    r"""Return the variance of each predictor's error over sigma², (m,).

    :math:`z^\top\Lambda\Omega^{-1}\Lambda^\top z + d^\top(X^\top V_0^{-1}X)^{-1}d` with :math:`d = x -
    X^\top V_0^{-1}Z\Lambda\Lambda^\top z`, one solve a row.
    """
    m = len(rows.fixed)
    out = np.empty(m)
    for first in range(0, m, ROWS_AT_ONCE):
        some = slice(first, min(first + ROWS_AT_ONCE, m))
        out[some] = _variance_of_some(
            solved,
            RowsOfKernel(tuple(c[some] for c in rows.codes), tuple(z[some] for z in rows.columns), rows.fixed[some]),
        )
    return out


def _variance_of_some(solved: Solved, rows: RowsOfKernel) -> Array:
    eliminated = solved.eliminated
    paired = eliminated.paired
    m = len(rows.fixed)
    lead = np.zeros((*solved.lead.shape[:2], m))
    trailing = np.zeros((len(solved.trailing), m))
    places = effects_by_term(paired, lead, trailing)
    by_x = effects_by_term(paired, solved.lead[:, :, :-1], solved.trailing[:, :-1])
    fixed = rows.fixed.copy()
    for place, x, codes, columns in zip(places, by_x, rows.codes, rows.columns, strict=True):
        known = np.flatnonzero(codes >= 0)
        place[codes[known], :, known] = columns[known]
        fixed[known] -= np.einsum("ms,msp->mp", columns[known], x[codes[known]])
    right = eliminated.reduce(lead, trailing)
    found = conjugate_gradients(eliminated, eliminated.precondition, right, np.full(m, TOLERANCE)).x
    variance = np.einsum("ij,ij->j", right, found)
    codes, columns = rows.codes[paired.lead], rows.columns[paired.lead]
    own = np.einsum("ms,mst,mt->m", columns, eliminated.middle[codes], columns)
    variance += np.where(codes >= 0, own, 0.0)
    if fixed.shape[1]:
        variance += np.einsum("mp,pm->m", fixed, np.linalg.solve(solved.precision, fixed.T))
    return variance


def draw_effects(solved: Solved, beta: Array, sigma: Array, rng: np.random.Generator) -> list[Array]:
    """Draw random effects on the scale of b given beta (p, m) and sigma (m,), one (J, S, m) per term.

    They are those of the kernel's columns.
    """
    eliminated = solved.eliminated
    paired = eliminated.paired
    m = len(sigma)
    weights = np.vstack([-beta, np.ones((1, m))])
    coloured = eliminated.colour(rng.standard_normal((len(solved.trailing), m)))
    noise = eliminated.scale(inverse_root(eliminated, eliminated.precondition, coloured, EXACT_DRAWS))
    trailing = solved.trailing @ weights + sigma * noise
    # given the trailing effects, the leading ones are independent level by level
    lead = eliminated.lead_effects(paired.products.nest_xy[0] @ weights, trailing)
    lead += sigma * (_symmetric_root(eliminated.middle) @ rng.standard_normal(lead.shape))
    return effects_by_term(paired, lead, trailing)


def _symmetric_root(blocks: Array) -> Array:
    values, vectors = np.linalg.eigh(blocks)
    return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
