"""Likelihood-ratio tests between fits of the same rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.design.streamed import StreamedDesign
from bayeslmm.errors import OptionError
from bayeslmm.likelihood.streamed_kernel import response_gram
from bayeslmm.results.noted_frame import NotedFrame, noted
from bayeslmm.results.point import PointFit
from bayeslmm.results.refitting import by_criterion
from bayeslmm.testing.boundary import likelihood_ratio_p

SAME_NUMBER = 1e-12  # relative: the same response, computed twice
SAME_SUMS = 1e-9  # of the standard deviation: the same response, summed in batches of other sizes
REFITTED = (
    "The fits by REML were refitted by ML, since restricted likelihoods of different fixed parts cannot be compared."
)
AT_BOUNDARY = (
    "Where a variance is tested, zero lies on the boundary of its range and p is too large; ranova has the mixture."
)


def anova(*fits: PointFit, names: Sequence[str] | None = None) -> NotedFrame:
    """Compare fits of the same rows by their likelihoods.

    Parameters
    ----------
    *fits
        Two fits or more by ML or REML, each nested in the next larger one for the tests to mean anything. Where the
        fixed parts of REML fits differ, or methods are mixed, all are refitted by ML, and a note says so.
    names
        What to call them; their formulas by default.

    Returns
    -------
    DataFrame
        A row per fit, the smallest first: dof (number of parameters), aic, bic, loglik, deviance; chisq, df and p test
        it against the row above. ``attrs["notes"]`` are printed below.

    Raises
    ------
    OptionError
        If there are fewer than two fits, something else than a fit by ML or REML is among them, or they are of
        different rows or responses.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> sleep = blm.load_dataset("sleepstudy")
    >>> small = blm.lmm("Reaction ~ Days + (1 | Subject)", sleep, method="ml")
    >>> large = blm.lmm("Reaction ~ Days + (Days | Subject)", sleep, method="ml")
    >>> table = blm.anova(small, large)
    >>> round(float(table["chisq"].iloc[-1]), 1)
    42.1
    """
    if len(fits) < 2:
        raise OptionError("anova needs two fits or more, such as anova(small, large); for one, use fit.anova().")
    for fit in fits:
        if not isinstance(fit, PointFit) or fit.method == "map":
            kind = fit.method if isinstance(fit, PointFit) else type(fit).__name__
            raise OptionError(f"anova compares fits by 'ml' or 'reml'; {kind} is none: use compare for estimates.")
    _check_same_data(fits)
    labels = _labels(fits, names)
    notes = []
    used: list[PointFit] = list(fits)
    if any(fit.method == "reml" for fit in fits) and not _comparable(fits):
        used = [by_criterion(fit, "ml") for fit in fits]
        notes.append(REFITTED)
    if len({len(fit.theta) for fit in used}) > 1:
        notes.append(AT_BOUNDARY)
    order = np.argsort([fit.dof for fit in used], kind="stable")
    return noted(_table([used[k] for k in order], [labels[k] for k in order]), *notes)


def _table(fits: Sequence[PointFit], labels: Sequence[str]) -> pd.DataFrame:
    rows = []
    for k, fit in enumerate(fits):
        statistic = df = p = np.nan
        if k:
            statistic, df = fits[k - 1].objective - fit.objective, fit.dof - fits[k - 1].dof
            p = likelihood_ratio_p(statistic, int(df))
        rows.append((fit.dof, fit.aic, fit.bic, fit.loglik, fit.objective, statistic, df, p))
    columns = ["dof", "aic", "bic", "loglik", "deviance", "chisq", "df", "p"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(list(labels), name="fit"))


def _labels(fits: Sequence[PointFit], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [fit.formula for fit in fits]
    if len(names) != len(fits) or len(set(names)) != len(names):
        raise OptionError(f"names={list(names)!r} must be {len(fits)} different texts, one for each fit.")
    return list(names)


def _check_same_data(fits: Sequence[PointFit]) -> None:
    first = fits[0].design
    for fit in fits[1:]:
        design = fit.design
        if isinstance(first, StreamedDesign) or isinstance(design, StreamedDesign):
            _check_same_stream(first, design)
            continue
        if design.n != first.n or not design.index.equals(first.index):
            raise OptionError(
                f"The fits use different rows ({first.n} and {design.n}), so their likelihoods cannot be compared: fit "
                "both to the rows without missing values in any of the columns."
            )
        if not np.allclose(design.y, first.y, rtol=SAME_NUMBER, atol=0.0):
            raise OptionError(
                f"The fits have different responses ({first.response} and {design.response}), so their likelihoods "
                "cannot be compared."
            )


def _check_same_stream(first: Design, design: Design) -> None:
    """Compare what sums tell of rows: their number, the response's range, mean and squares, and levels."""
    if not isinstance(first, StreamedDesign) or not isinstance(design, StreamedDesign):
        raise OptionError(
            "Some of the fits have their rows and others only sums of rows that streamed: fit all of them to the same "
            "data frame, or all to the same stream."
        )
    here, there = first.sums.sums, design.sums.sums
    other = {term.factor: term.levels for term in design.terms}
    changed = [t.factor for t in first.terms if t.factor in other and not t.levels.equals(other[t.factor])]
    if first.n != design.n or changed:
        levels = f", with other levels of {changed[0]}" if changed else ""
        raise OptionError(
            f"The fits use different rows ({first.n} and {design.n}{levels}), so their likelihoods cannot be compared: "
            "fit both to the rows without missing values in any of the columns."
        )
    ends = [np.array([sums.low[0][-2], sums.high[0][-2]]) for sums in (here, there)]
    same = np.array_equal(ends[0], ends[1])
    if (first.weights_column, first.offset_column) == (design.weights_column, design.offset_column):
        mine, theirs = response_gram(here), response_gram(there)
        same = same and bool(abs(mine.means[0] - theirs.means[0]) <= SAME_SUMS * mine.sds[0])
        same = same and bool(np.isclose(mine.sds[0], theirs.sds[0], rtol=SAME_SUMS, atol=0.0))
    if not same:
        raise OptionError(
            f"The fits have different responses ({first.response} and {design.response}), so their likelihoods cannot "
            "be compared."
        )


def _same_columns(first: Design, design: Design) -> bool:
    if isinstance(first, StreamedDesign) and isinstance(design, StreamedDesign):
        mine, theirs = first.summaries.fixed, design.summaries.fixed
        return first.fixed_names == design.fixed_names and all(
            np.allclose(getattr(mine, name), getattr(theirs, name)) for name in ("mean", "sd", "low", "high")
        )
    return design.X.shape == first.X.shape and np.allclose(design.X, first.X)


def _comparable(fits: Sequence[PointFit]) -> bool:
    """Whether all are by REML and have the same fixed columns."""
    return all(fit.method == "reml" and _same_columns(fits[0].design, fit.design) for fit in fits)
