"""Designs put together by hand, so that tests of priors and models do not depend on the formula language."""

import numpy as np
import pandas as pd

from bayeslmm.covariance import DIAGONAL, FULL
from bayeslmm.datasets import load_dataset
from bayeslmm.design.centring import find_centring, no_centring
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.formula.formula import Formula
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws


def make_term(labels, columns, effects, *, name="g", correlated=True, weights=None):
    columns = np.ascontiguousarray(np.column_stack(columns), dtype=float)
    codes, levels = pd.factorize(np.asarray(labels), sort=True)
    return RandomTerm(
        name=name,
        factor=name,
        effects=tuple(effects),
        codes=codes.astype(np.int32),
        columns=columns,
        levels=pd.Index(levels),
        covariance=FULL if correlated else DIAGONAL,
        centring=find_centring(columns, weights) if correlated else no_centring(columns.shape[1]),
    )


def make_design(y, columns, names, terms=(), *, weights=None, offset=None):
    y = np.asarray(y, float)
    X = np.column_stack([np.empty((len(y), 0)), *columns]).astype(float)
    return Design(
        formula=Formula(text="handmade", response="y", fixed="", bars=()),
        response="y",
        y=y,
        fixed_columns=X,
        fixed_names=tuple(names),
        terms=tuple(terms),
        weights=weights,
        offset=offset,
        index=pd.RangeIndex(len(y)),
        n_dropped={},
        dropped_columns=(),
        centring=find_centring(X, weights),
        data=pd.DataFrame({"y": y}),
    )


def sleepstudy_design(*, correlated=True, shift=0.0):
    """Reaction ~ Days + (Days | Subject), with Days moved by `shift`."""
    data = load_dataset("sleepstudy")
    one, days = np.ones(len(data)), data["Days"].to_numpy(float) + shift
    term = make_term(
        data["Subject"].to_numpy(), [one, days], ["Intercept", "Days"], name="Subject", correlated=correlated
    )
    return make_design(data["Reaction"], [one, days], ["Intercept", "Days"], [term])


def exact_draws(density, options):
    """Draws by importance sampling, whatever their weights."""
    return importance_draws(density, weighted_points(density, options), options)
