r"""Predictions and their intervals, from arrays.

The linear predictor of a row is :math:`\eta = x^\top\beta + \sum_k z_k^\top b_{k, g_k} + \text{offset}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from bayeslmm.design.design import Design, NewRows, RandomTerm
from bayeslmm.design.row_labels import RowLabels
from bayeslmm.errors import DataError, OptionError, check_level, counted, is_word, warn_user
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.accumulate import add_effects
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.prediction_error import error_variance, predictor_rows
from bayeslmm.types import Array, Codes

Kind = Literal["conditional", "marginal"]
Target = Literal["mean", "response"]
PredictKind = Literal["mean", "response", "link", "conditional", "marginal", "population"]
RandomPart = Literal["all", "none", "marginal"]
Uncertainty = Literal["conditional", "full"]
NewLevels = Literal["population", "sample", "error"]
Included = tuple[bool, ...] | None
Estimable = Literal["error", "nan", "ignore"]
ALIASES = {"population": "marginal"}  # other words for a kind
# Other words for what is predicted: a new response with the effects of its groups, or of groups drawn anew.
KINDS: dict[str, tuple[Target, RandomPart]] = {
    "conditional": ("response", "all"),
    "marginal": ("response", "marginal"),
    "population": ("response", "marginal"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What to predict, checked.

    Attributes
    ----------
    rows
        The rows to predict.
    weights
        Their weights, shape (m,): the residual variance of a row is sigma² / weight.
    kind
        "conditional" on the groups' own effects, or "marginal", over the population of groups.
    new_levels
        What the effects of a level unknown to the fit are.
    interval
        Probability covered, or None.
    target
        What the limits are for: the "mean", or a new "response".
    included
        Whether the effects of each term are in; those of the others are zero. None means all.
    """

    rows: NewRows
    weights: Array
    kind: Kind
    new_levels: NewLevels
    interval: float | None
    target: Target = "response"
    included: Included = None

    @property
    def terms(self) -> tuple[RandomTerm, ...]:
        """The terms of the rows, those whose effects are left out with columns of zeros."""
        if self.included is None:
            return self.rows.terms
        pairs = zip(self.rows.terms, self.included, strict=True)
        return tuple(t if kept else replace(t, columns=np.zeros_like(t.columns)) for t, kept in pairs)


def check_options(
    kind: str, new_levels: str, interval: float | None, estimable: str | None = None
) -> tuple[Kind, NewLevels]:
    """Check the options of a prediction; return the kind and what new levels get.

    Raises
    ------
    OptionError
        If an option is not among the valid ones.
    """
    kind = ALIASES[kind] if is_word(kind, ALIASES) else kind
    for name, value, valid in (("kind", kind, Kind), ("new_levels", new_levels, NewLevels)):
        if not is_word(value, get_args(valid)):
            raise OptionError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, get_args(valid)))}.")
    if estimable is not None and not is_word(estimable, get_args(Estimable)):
        raise OptionError(
            f"estimable={estimable!r} is unknown; use one of {', '.join(map(repr, get_args(Estimable)))}."
        )
    if interval is not None:
        check_level(interval, "interval")
    return kind, new_levels  # type: ignore[return-value]


def make_request(
    rows: NewRows,
    weights: Array | None,
    kind: Kind,
    new_levels: NewLevels,
    interval: float | None,
    target: Target = "response",
    included: Included = None,
) -> Request:
    """Return what to predict.

    Raises
    ------
    DataError
        If a level is unknown to the fit and ``new_levels="error"``.
    """
    if kind == "conditional" and new_levels == "error":
        _refuse_new_levels(rows, included)
    ones = np.ones(len(rows.index)) if weights is None else weights
    return Request(rows, ones, kind, new_levels, interval, target, included)


def what_to_predict(
    kind: str, random: str | Sequence[str], names: Sequence[str]
) -> tuple[Target, RandomPart, Included]:
    """Check the words of a prediction from a normal response.

    Parameters
    ----------
    kind
        "mean" or "response", or another word for one of them with its random part.
    random
        "all", "none", "marginal", or names of terms.
    names
        The terms of the model.

    Returns
    -------
    target, random, included
        What the limits are for; whose effects are in; and with names, for each term, whether it is named.

    Raises
    ------
    OptionError
        If a word or a name is unknown.
    """
    if is_word(kind, KINDS):
        kind, random = KINDS[kind]
    if is_word(kind, ("link",)):  # the identity
        kind = "mean"
    if not is_word(kind, get_args(Target)):
        raise OptionError(f"kind={kind!r} is unknown; use one of {', '.join(map(repr, (*get_args(Target), *KINDS)))}.")
    listed = ", ".join(map(repr, names)) if names else "none"
    if isinstance(random, str):
        if not is_word(random, get_args(RandomPart)):
            hint = f" For that term alone use random=[{random!r}]." if random in names else ""
            raise OptionError(
                f"random={random!r} is unknown; use 'all', 'none', 'marginal' or a list of terms ({listed}).{hint}"
            )
        return kind, random, None  # type: ignore[return-value]
    if not isinstance(random, Sequence):
        raise OptionError(f"random={random!r} is unknown; use 'all', 'none', 'marginal' or a list of terms ({listed}).")
    chosen = list(random)
    for name in chosen:
        if not is_word(name, names):
            raise OptionError(f"random= names {name!r}, which is no random term; the terms are {listed}.")
    return kind, "all", tuple(name in chosen for name in names)  # type: ignore[return-value]


def check_uncertainty(uncertainty: str, method: str) -> None:
    """Refuse a word for the uncertainty of limits that is unknown, or not for a posterior mode.

    Raises
    ------
    OptionError
        If it is.
    """
    if not is_word(uncertainty, get_args(Uncertainty)):
        raise OptionError(f"uncertainty={uncertainty!r} is unknown; use 'conditional' or 'full'.")
    if uncertainty == "full" and method == "map":
        raise OptionError(
            "uncertainty='full' is for fits by 'ml' or 'reml'; where there are priors, predict from a posterior, as of "
            "method='importance'."
        )


def inestimable(
    rows: NewRows, dropped: Sequence[str], estimable: Estimable | None, interval: bool
) -> NDArray[np.bool_]:
    """Return which rows are predicted as NaN because the data of the fit do not identify their mean.

    Parameters
    ----------
    rows
        The rows.
    dropped
        Columns the fit left out as collinear.
    estimable
        What happens to such rows: "error", "nan", "ignore", or None to warn.
    interval
        Whether limits are asked for, which such rows never have.

    Raises
    ------
    DataError
        If there are such rows and ``estimable="error"``.
    """
    bad = ~rows.estimable
    if not bad.any() or estimable == "ignore":
        return np.zeros(len(bad), dtype=bool)
    row = plain(rows.index[int(np.argmax(bad))])
    what = (
        f"The mean of {counted(int(bad.sum()), 'row')}, first of row {row!r}, is not estimable: the fit left out "
        f"{', '.join(map(repr, dropped))} as collinear, and these rows are not collinear in the same way (such as a "
        "cell without data)."
    )
    if estimable == "error":
        raise DataError(f"{what} Leave these rows out, simplify the fixed part, or use estimable='nan'.")
    if estimable is None:
        said = "They are predicted as NaN." if interval else "Their predictions depend on which column was left out."
        warn_user(f"{what} {said} Say estimable='nan', 'error' or 'ignore' to choose.")
    return bad if estimable == "nan" or interval else np.zeros(len(bad), dtype=bool)


def _refuse_new_levels(rows: NewRows, included: Included) -> None:
    for k, (term, labels) in enumerate(zip(rows.terms, rows.new_labels, strict=True)):
        if included is not None and not included[k]:
            continue
        unknown = np.flatnonzero(term.codes < 0)
        if unknown.size:
            first = unknown[0]
            row, label = plain(rows.index[first]), plain(labels[first])
            raise DataError(
                f"Row {row!r} has the level {label!r} of {term.factor!r}, which is "
                f"not in the data of the fit ({unknown.size} such rows); "
                'use new_levels="sample" (a new group, with its own variance) or "population" (the population mean).'
            )


def plain(label: object) -> object:
    """Return a label as Python prints it: 999, not np.int64(999)."""
    return label.item() if isinstance(label, np.generic) else label


def training_rows(design: Design) -> NewRows:
    """Return the rows a design was built from as rows to predict."""
    offset = np.zeros(design.n) if design.offset is None else design.offset
    labels = tuple(RowLabels([(term.codes, term.levels)]) for term in design.terms)
    places = np.arange(design.n)
    estimable = np.ones(design.n, dtype=bool)
    return NewRows(design.X, design.terms, labels, offset, design.index, places, design.index, estimable)


def linear_predictor(request: Request, beta: Array, effects: Sequence[Array]) -> Array:
    """Return the linear predictor of every row at one value of the coefficients.

    Parameters
    ----------
    request
        The rows.
    beta
        Shape (p,).
    effects
        b, one array per term, shape (J, S).
    """
    rows = request.rows
    mean = rows.X @ beta + rows.offset
    if request.kind == "marginal":
        return mean
    for k, (term, b) in enumerate(zip(rows.terms, effects, strict=True)):
        if request.included is not None and not request.included[k]:
            continue
        add_effects(term.codes, np.ascontiguousarray(term.columns), np.ascontiguousarray(b), mean)
    return mean


def point_interval(
    request: Request, kernel: Kernel, factors: Sequence[Array], sigma: float, mean: Array, R_X: Array | None = None
) -> tuple[Array, Array]:
    r"""Return the limits between which the mean, or a new observation, of each row lies with probability `interval`.

    Normal limits around the prediction with variance

    .. math:: \operatorname{var}(\hat\eta - \eta) + z^\top\Sigma z\,[\text{group not in the fit}] + \sigma^2
    / w,

    without the last part for a mean, and without the second for the mean over a population of groups.

    the first from Henderson's mixed-model equations at the estimated covariance parameters, so that the
    error of the coefficients and of the random effects, and their covariance, are both in.

    Parameters
    ----------
    request
        The rows.
    kernel
        The likelihood of the fit.
    factors
        Relative covariance factors λ on the user's columns, shape (S, S) each.
    sigma
        Residual standard deviation.
    mean
        The predictions, shape (m,).
    R_X
        Lower Cholesky factor of the precision of the kernel's coefficients times sigma², where they have priors.
    """
    return normal_limits(request, _estimation_variance(request, kernel, factors, R_X), factors, sigma, mean)


def normal_limits(
    request: Request, estimation: Array, factors: Sequence[Array], sigma: float, mean: Array
) -> tuple[Array, Array]:
    """Return the limits for the variance over sigma², (m,), of each predictor's error."""
    assert request.interval is not None
    half = ndtri(0.5 + request.interval / 2) * sigma * np.sqrt(added_variance(request, estimation, factors))
    return mean - half, mean + half


def relative_variance(request: Request, kernel: Kernel, factors: Sequence[Array], R_X: Array | None = None) -> Array:
    """Return the variance of each prediction's error over sigma², as in `point_interval`, shape (m,)."""
    return added_variance(request, _estimation_variance(request, kernel, factors, R_X), factors)


def added_variance(request: Request, estimation: Array, factors: Sequence[Array]) -> Array:
    """Return the variance over sigma² of a prediction's error, (m,), from that of its predictor."""
    variance = estimation + 1.0 / request.weights if request.target == "response" else estimation
    return variance + new_group_variance(request, [factor @ factor.T for factor in factors])


def new_group_variance(request: Request, covariances: Sequence[Array]) -> Array:
    """Return zᵀΣz of the terms whose groups are not in the fit, shape (m,)."""
    total = np.zeros(len(request.rows.index))
    for term, covariance in zip(request.terms, covariances, strict=True):
        if request.kind == "marginal" and request.target == "mean":
            continue
        if request.kind == "marginal":
            new = np.ones(len(total), dtype=bool)
        elif request.new_levels == "sample":
            new = term.codes < 0
        else:
            continue
        total += new * np.einsum("ms,st,mt->m", term.columns, covariance, term.columns)
    return total


def _estimation_variance(request: Request, kernel: Kernel, factors: Sequence[Array], R_X: Array | None) -> Array:
    """Return the variance of the predictor's error over sigma², shape (m,)."""
    rows = request.rows
    factor = factorise(kernel.products, kernel.kernel_factors(factors))
    wanted = predictor_rows(kernel, factor, known_codes(request), [t.columns for t in request.terms], rows.X)
    return error_variance(factor, wanted, R_X)


def known_codes(request: Request) -> list[Codes]:
    """Return the level of each row whose estimated effects count, (m,) per term, -1 for none."""
    terms = request.terms
    included = request.included or (request.kind == "conditional",) * len(terms)
    return [t.codes if kept else np.full_like(t.codes, -1) for t, kept in zip(terms, included, strict=True)]


def without_groups(rows: NewRows, terms: Sequence[RandomTerm]) -> NewRows:
    """Return rows evaluated without random terms with terms of no known level, whose columns are zero."""
    m = len(rows.index)
    nothing = tuple(replace(t, codes=np.full(m, -1, dtype=np.int32), columns=np.zeros((m, t.n_columns))) for t in terms)
    return replace(rows, terms=nothing, new_labels=tuple(RowLabels.of_numbers(m) for _ in terms))


def by_row(
    rows: NewRows, name: str, mean: Array, limits: tuple[Array, Array] | None, unknown: NDArray[np.bool_] | None = None
) -> pd.Series | pd.DataFrame:
    """Return predictions by row label: a Series, or a frame with prediction, lower and upper.

    Parameters
    ----------
    rows
        The rows predicted; rows of the data that are none of them, for missing values, are NaN.
    name
        Name of the response.
    mean, limits
        Predictions, shape (m,), and their limits.
    unknown
        Rows to be NaN all the same, shape (m,).
    """

    def spread(values: Array) -> Array:
        known = values if unknown is None else np.where(unknown, np.nan, values)
        if len(rows.labels) == len(known):
            return known
        out = np.full(len(rows.labels), np.nan)
        out[rows.places] = known
        return out

    if limits is None:
        return pd.Series(spread(mean), index=rows.labels, name=name)
    columns = {"prediction": spread(mean), "lower": spread(limits[0]), "upper": spread(limits[1])}
    return pd.DataFrame(columns, index=rows.labels)
