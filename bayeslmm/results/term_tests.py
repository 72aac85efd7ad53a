"""Tests of the terms of a point fit: F tests of fixed terms, likelihood ratios of random ones."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.centring import find_centring, no_centring
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.fixed_terms import INTERCEPT, FixedTerm, fixed_terms, sum_to_zero_columns, term_places
from bayeslmm.design.streamed import is_streamed
from bayeslmm.errors import OptionError, RowsError
from bayeslmm.formula.formula import COVARIANCE_BARS
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.results.coefficient_tests import DESCRIPTIONS
from bayeslmm.results.moments import fixed_root
from bayeslmm.results.noted_frame import NotedFrame, noted
from bayeslmm.testing.boundary import boundary_p, likelihood_ratio_p
from bayeslmm.testing.contrasts import contrast_test
from bayeslmm.testing.terms import type_1_contrasts, type_2_contrasts, type_3_contrasts
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit
    from bayeslmm.results.point import PointFit

BOUNDARY_NOTE = (
    "A variance of zero lies on the boundary of its range: p takes no account of that and is too large; p_boundary is "
    "of the half-half mixture of chi-squares with df - 1 and df."
)


def term_table(fit: "PointFit", type: Any, ddf: str | None) -> NotedFrame:
    """Return the F test of every fixed term; see :meth:`PointFit.anova`."""
    terms = fixed_terms(fit.design)
    return _f_tests(fit, terms, _contrasts(fit.design, terms, type), ddf)


def marginal_table(fit: "PointFit", ddf: str | None) -> NotedFrame:
    """Return the F test of every fixed term that no other contains; see :meth:`PointFit.drop1`."""
    terms = fixed_terms(fit.design)
    rows = _contrasts(fit.design, terms, 2)
    outer = [k for k, term in enumerate(terms) if not any(term.is_marginal_to(other) for other in terms)]
    return _f_tests(fit, tuple(terms[k] for k in outer), [rows[k] for k in outer], ddf)


def _contrasts(design: Design, terms: tuple[FixedTerm, ...], type: Any) -> list[Array]:
    places = [term.places for term in terms]
    if not terms:
        return []
    if isinstance(type, bool) or not isinstance(type, int | np.integer) or type not in (1, 2, 3):
        raise OptionError(f"type={type!r} is unknown; use 1 (sequential), 2 (marginal) or 3 (sum-to-zero coding).")
    if type == 1:
        return type_1_contrasts(fixed_root(design), places)
    containing = [[i for i, other in enumerate(terms) if term.is_within(other)] for term in terms]
    apart = not any(within for term, within in zip(terms, containing, strict=True) if term.name != INTERCEPT)
    if type == 2 or (is_streamed(design) and apart and not design.dropped_columns):  # types 2 and 3 are alike
        return type_2_contrasts(fixed_root(design), places, containing)
    if is_streamed(design):
        raise RowsError(
            "type=3 of terms within interactions, or beside columns left out, needs the rows of the data, of which a "
            "stream keeps none: use type=2 or type=1."
        )
    coded = sum_to_zero_columns(design)
    found = type_3_contrasts(design.X, coded.X, coded.places, coded.differences)
    if found is None:
        raise OptionError(
            "type=3 needs data in every cell of the interactions, and columns that do not depend on each other "
            f"({', '.join(design.dropped_columns) or 'the coding'} does): use type=2 or type=1."
        )
    return found


def _f_tests(fit: "PointFit", terms: tuple[FixedTerm, ...], rows: list[Array], ddf: str | None) -> NotedFrame:
    errors, method = fit._errors.find(ddf)
    tested = {
        term.name: contrast_test(L, errors)
        for term, L in zip(terms, rows, strict=True)
        if term.categories or term.numbers
    }
    frame = pd.DataFrame(
        {
            "df_num": np.array([t.df_num for t in tested.values()], dtype=int),
            "df_den": np.array([t.df_den for t in tested.values()], dtype=float),
            "F": np.array([t.F for t in tested.values()], dtype=float),
            "p": np.array([t.p for t in tested.values()], dtype=float),
        },
        index=pd.Index(list(tested), name="term", dtype=object),
    )
    how = (
        "chi-square tests (F with infinite df_den)" if method == "normal" else DESCRIPTIONS[method].replace("t", "F", 1)
    )
    return noted(frame, f"{how[0].upper()}{how[1:]}.")


def random_term_table(fit: "PointFit") -> NotedFrame:
    """Return likelihood-ratio tests of the random terms; see :meth:`PointFit.ranova`."""
    if fit.method == "map":
        raise OptionError("ranova compares likelihoods, and this is a posterior mode: fit with method='reml'.")
    if not fit.design.terms:
        raise OptionError("The model has no random term to test.")
    rows = [("(none)", fit.dof, fit.loglik, fit.aic, np.nan, 0, np.nan, np.nan)]
    for name, reduced, variances in _reductions(fit.design):
        objective, n_theta = _reduced_optimum(fit, reduced)
        dof = fit.dof - len(fit.theta) + n_theta
        statistic, df = max(objective - fit.objective, 0.0), fit.dof - dof
        mixture = boundary_p(statistic, df) if variances == 1 else np.nan
        aic = objective + 2 * dof
        rows.append((name, dof, -objective / 2, aic, statistic, df, likelihood_ratio_p(statistic, df), mixture))
    columns = ["removed", "dof", "loglik", "aic", "chisq", "df", "p", "p_boundary"]
    return noted(pd.DataFrame(rows, columns=columns).set_index("removed"), BOUNDARY_NOTE)


def _reduced_optimum(fit: "PointFit", reduced: Design) -> tuple[float, int]:
    """Return the objective of a fit's model with other random terms, and how many entries theta has."""
    if reduced.outcome is None:
        best = maximise(build_kernel(reduced), fit.method, sigma=fit.spec.sigma)
        return best.objective, len(best.theta)
    from bayeslmm.inference.optimum.generalized.maximum import maximise_design

    generalized = cast("GeneralizedPointFit", fit)
    n_quad = generalized.maximum.n_quad
    found = maximise_design(generalized.family, reduced, n_quad if reduced.terms else min(n_quad, 1))
    return -2.0 * found.loglik, len(found.theta)


def _reductions(design: Design) -> list[tuple[str, Design, int]]:
    """Return name, reduced design and number of variances removed, for each effect of each random term.

    Of a correlated term with several effects the intercept stays, as in lmerTest; a term with one effect goes.
    """
    found = []
    for k, (term, recipe) in enumerate(zip(design.terms, design.recipe.effects, strict=True)):
        bar = COVARIANCE_BARS[term.covariance.name]
        names = [":".join(factor.label for factor in effect) or "1" for effect in recipe.terms]
        text = f"({' + '.join(names if '1' in names else ['0', *names])} {bar} {term.factor})"
        if len(names) == 1:
            found.append((text.replace("(0 + ", "(0 + ", 1), _with_term(design, k, None), term.n_columns))
            continue
        for name, places in zip(names, term_places(recipe), strict=True):
            if name == "1" and term.has_correlations:
                continue
            keep = np.setdiff1d(np.arange(term.n_columns), places)
            reduced = _columns_of(term, keep, design.weights)
            found.append((f"{name} in {text}", _with_term(design, k, reduced), len(places)))
    return found


def _columns_of(term: RandomTerm, keep: Any, weights: Array | None) -> RandomTerm:
    columns = np.ascontiguousarray(term.columns[:, keep])
    centring = find_centring(columns, weights) if term.covariance.moves_with_origin else no_centring(len(keep))
    effects = tuple(term.effects[place] for place in keep)
    return replace(term, effects=effects, columns=columns, centring=centring)


def _with_term(design: Design, k: int, term: RandomTerm | None) -> Design:
    return replace(design, terms=(*design.terms[:k], *([] if term is None else [term]), *design.terms[k + 1 :]))
