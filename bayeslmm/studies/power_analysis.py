"""Power and precision of a design by simulation: more groups, or more rows in each, than the data have."""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import DataError, FittingError, OptionError, check_level, counted, is_word
from bayeslmm.inference.options import MOST_CORES, check_count, resolve_seed
from bayeslmm.inference.progress import progress_bar
from bayeslmm.intervals.bootstrap import one_by_one, replicates
from bayeslmm.intervals.refits import Estimate, Refitter
from bayeslmm.likelihood.layout import nesting
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.results.generalized import GeneralizedPointFit
from bayeslmm.results.point import PointFit
from bayeslmm.results.profiles import chosen
from bayeslmm.studies.generalized_study import SEPARATED, GeneralizedStudy
from bayeslmm.types import Array, Index

DF_FITS = 5  # simulated data sets whose degrees of freedom are found; the test uses their median
LARGE_DF = 1e6  # beyond which t is normal


def power(
    fit: PointFit,
    parameter: str,
    *,
    n: int = 1000,
    groups: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    along: str | None = None,
    effect: float | None = None,
    level: float = 0.95,
    seed: int | None = None,
    cores: int | None = None,
    progressbar: bool | None = None,
) -> pd.DataFrame:
    """Simulate the power of a test, and the width of an interval, for one coefficient in designs like that of a fit.

    Every design repeats the groups of the data, one after the other, until it has as many as asked for, and each of
    their rows as often as asked for. Responses are simulated from the fit's parameters with new random effects, the
    model is fitted to each, and the coefficient tested by t with Satterthwaite's degrees of freedom, their median over
    a few of the data sets; by z where the response has a family other than the normal.

    Parameters
    ----------
    fit
        A fit by "reml" or "ml" to pilot data, or to data simulated by hand.
    parameter
        The name of a coefficient.
    n
        Simulated data sets per design.
    groups
        Numbers of groups; None for as many as there are.
    rows
        How many times each row of a group occurs; None for once.
    along
        The grouping factor that gets more levels; None for the outermost, or the first where factors cross. Levels of
        factors nested in it are new with it; those of factors crossed with it stay.
    effect
        The coefficient to simulate with, on the scale of the link; None for the estimate. An estimate that was tested
        because it was large is too optimistic: state the smallest effect worth finding.
    level
        One less the level of the test, and the probability of the interval.
    seed
        Makes the result reproducible, for any number of cores.
    cores
        Worker processes, through joblib; None means this process.
    progressbar
        Show progress; None shows it in a terminal.

    Returns
    -------
    DataFrame
        A row per design. groups, rows (all rows of the design), power with its 95% limits for so many simulations,
        width, the mean width of the interval, df, bias, coverage of the interval, failed and singular, the numbers of
        fits that ended so; those that failed are left out. For families other than the normal separated, too, the
        number of data sets in which the coefficient has no finite estimate: they do not count as significant, and are
        left out of width, bias and coverage.

    Raises
    ------
    OptionError
        If the fit is of another kind, a parameter or factor is unknown, or numbers are not possible.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> fit = blm.lmm("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    >>> found = blm.power(fit, "Days", groups=[10, 20], effect=5.0, n=100, seed=1)
    >>> bool(found["power"].is_monotonic_increasing)
    True
    """
    check_level(level)
    if not isinstance(fit, PointFit) or fit.method == "map":
        raise OptionError("power() simulates from fits by method='reml' or 'ml'.")
    if not fit.status.ok:
        raise OptionError(f"The fit is no optimum, so nothing can be simulated from it. {fit.status.message}")
    if not isinstance(parameter, str):
        raise OptionError(f"parameter={parameter!r} is not the name of a coefficient.")
    place = list(fit.design.fixed_names).index(chosen(parameter, list(fit.design.fixed_names))[0])
    term = _along(fit.design, along)
    simulations = check_count("n", n, 10)
    workers = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    counts = [fit.design.terms[term].n_levels] if groups is None else _counts("groups", groups, 2)
    times = [1] if rows is None else _counts("rows", rows, 1)
    check_effect(effect)
    designs = list(itertools.product(counts, times))
    seeds = np.random.SeedSequence(resolve_seed(seed)).spawn(len(designs))
    shown = sys.stderr.isatty() if progressbar is None else progressbar
    found = []
    with progress_bar(len(designs) * simulations, "fits", shown) as report:
        for k, ((count, multiple), child) in enumerate(zip(designs, seeds, strict=True)):
            study = _study(fit, term, count, multiple, place, effect)

            def tell(done: int, before: int = k * simulations) -> None:
                if report is not None:
                    report(before + done)

            results = replicates(partial(one_by_one, study.one), simulations, _entropy(child), workers, tell)
            df = study.degrees_of_freedom(fit, np.random.default_rng(child))
            found.append({"groups": count, **_summary(results, study, df, level)})
    return pd.DataFrame(found)


def _counts(name: str, values: Any, least: int) -> list[int]:
    """Return whole numbers from a list of them."""
    if not isinstance(values, list | tuple | range | np.ndarray) or np.ndim(values) != 1 or not len(values):
        raise OptionError(f"{name}={values!r} is not possible; give a list of whole numbers of at least {least}.")
    return [check_count(name, value, least) for value in values]


def check_effect(effect: Any) -> None:
    """Refuse an effect that is no finite number.

    Raises
    ------
    OptionError
        With an example.
    """
    number = isinstance(effect, Real) and not isinstance(effect, bool) and np.isfinite(float(effect))
    if effect is not None and not number:
        raise OptionError(f"effect={effect!r} is not possible; give a number, such as 0.5.")


def _entropy(seed: np.random.SeedSequence) -> list[int]:
    return [int(word) for word in seed.generate_state(4)]


def _along(design: Design, name: str | None) -> int:
    """Return the place of the first term of a factor, of the one with the fewest levels where none is named."""
    if not design.terms:
        raise OptionError("The model has no grouping factor to have more levels of.")
    factors = [term.factor for term in design.terms]
    if name is None:
        return int(np.argmin([term.n_levels for term in design.terms])) if _is_nested(design) else 0
    if not is_word(name, factors):
        raise OptionError(f"along={name!r} is no grouping factor; the factors are {', '.join(map(repr, factors))}.")
    return factors.index(name)


def _is_nested(design: Design) -> bool:
    outer = min(design.terms, key=lambda term: term.n_levels)
    return all(nesting(term.codes, outer.codes, term.n_levels) is not None for term in design.terms)


def extended(design: Design, along: int, count: int, multiple: int) -> Design:
    """Return a design with `count` levels of a term's factor, those of the data in turn, each row `multiple` times.

    Its response and data frame are those of the old one and mean nothing.

    Raises
    ------
    DataError
        If the design then does not identify all coefficients.
    """
    rows, drawn = extended_rows(design, along, count, multiple)
    codes = design.terms[along].codes
    terms = tuple(_extended_term(term, codes, rows, drawn) for term in design.terms)
    X = np.ascontiguousarray(design.X[rows])
    if X.shape[1] and np.linalg.matrix_rank(X) < X.shape[1]:
        raise DataError(
            f"With {counted(count, 'group')} the design does not identify all coefficients: ask for more groups."
        )
    return replace(
        design,
        y=design.y[rows],
        fixed_columns=X,
        terms=terms,
        weights=None if design.weights is None else design.weights[rows],
        offset=None if design.offset is None else design.offset[rows],
        outcome=None if design.outcome is None else design.outcome.at_rows(rows),
        index=pd.RangeIndex(len(rows)),
        places=np.arange(len(rows)),
    )


def extended_rows(design: Design, along: int, count: int, multiple: int) -> tuple[Index, Index]:
    """Return the rows of the design that those of `extended` are, and the new level of the term's factor of each."""
    codes = design.terms[along].codes
    n_levels = int(codes.max()) + 1
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(n_levels + 1))
    pieces = [np.tile(order[starts[k] : starts[k + 1]], multiple) for k in np.arange(count) % n_levels]
    return np.concatenate(pieces), np.repeat(np.arange(count), [len(piece) for piece in pieces])


def _extended_term(term: RandomTerm, along: Any, rows: Any, drawn: Any) -> RandomTerm:
    """Return a term on other rows; levels within one group are new with the group, others stay what they are."""
    if nesting(term.codes, along, term.n_levels) is not None:
        labels = drawn.astype(np.int64) * term.n_levels + term.codes[rows]
    else:
        labels = term.codes[rows].astype(np.int64)
    known, codes = np.unique(labels, return_inverse=True)
    columns = np.ascontiguousarray(term.columns[rows])
    return replace(term, codes=codes.astype(np.int32), columns=columns, levels=pd.RangeIndex(len(known)))


def _study(
    fit: PointFit, along: int, count: int, multiple: int, place: int, effect: float | None
) -> "_Study | GeneralizedStudy":
    """Return one design, and what its responses are simulated from."""
    design = extended(fit.design, along, count, multiple)
    if isinstance(fit, GeneralizedPointFit):
        rows, _ = extended_rows(fit.design, along, count, multiple)
        return GeneralizedStudy.of(fit, design, rows, place, effect)
    return _Study.of(fit, design, place, effect)


@dataclass(frozen=True)
class _Study:
    """One design, and the parameters that its responses are simulated from."""

    design: Design
    structure: KernelStructure
    refitter: Refitter
    beta: Array
    factors: tuple[Array, ...]
    sigma: float
    place: int

    @classmethod
    def of(cls, fit: PointFit, design: Design, place: int, effect: float | None) -> "_Study":
        beta = np.array(fit.modes.beta, dtype=float)
        if effect is not None:
            beta[place] = effect
        structure = KernelStructure.build(design.X, design.terms, design.weights, [t.name for t in design.terms])
        factors = tuple(fit.sigma * factor for factor in fit._factors)
        study = cls(design, structure, None, beta, factors, fit.sigma, place)  # type: ignore[arg-type]
        kernel = structure.at(study.simulate(np.random.default_rng(0)))
        refitter = Refitter(kernel, kernel.kernel_factors(fit._factors), fit.method, fit.spec.sigma)  # type: ignore[arg-type]
        return replace(study, refitter=refitter)

    def simulate(self, rng: np.random.Generator) -> Array:
        """Return a response of new groups, (n,)."""
        design = self.design
        effects = [
            rng.standard_normal((t.n_levels, t.n_columns)) @ f.T
            for t, f in zip(design.terms, self.factors, strict=True)
        ]
        noise = self.sigma * rng.standard_normal(design.n)
        if design.weights is not None:
            noise /= np.sqrt(design.weights)
        return self.structure.linear(self.beta) + self.structure.random(effects) + noise

    def one(self, rng: np.random.Generator) -> tuple[float, float, str]:
        """Return the coefficient's estimate, its standard error, and how the fit ended."""
        kernel = self.structure.at(self.simulate(rng))
        found: Estimate = self.refitter.fit(kernel)
        if found.code == "failed":
            raise FittingError("The fit failed.")
        root = kernel.fixed.matrix @ solve_triangular(found.R_X, np.eye(kernel.p), lower=True, trans=1)
        return float(found.beta[self.place]), float(found.sigma * np.linalg.norm(root[self.place])), found.code

    def degrees_of_freedom(self, fit: PointFit, rng: np.random.Generator) -> float:
        """Return the median of Satterthwaite's degrees of freedom over a few simulated data sets."""
        name, found = fit.design.fixed_names[self.place], []
        for _ in range(DF_FITS):
            kernel = self.structure.at(self.simulate(rng))
            estimate = self.refitter.fit(kernel)
            theta = kernel.theta(estimate.lambdas)
            modes = kernel.conditional(theta, fit.method, fit.spec.sigma)
            optimum = replace(fit.optimum, theta=theta, objective=estimate.objective)
            again = PointFit(self.design, fit.spec, fit.method, optimum, modes, model_kernel=kernel)
            table = again.coef_table(ddf="satterthwaite")
            found.append(float(table.loc[name, "df"]) if "df" in table else np.inf)
        return float(np.median(found))


def _summary(results: list[Any], study: "_Study | GeneralizedStudy", df: float, level: float) -> dict[str, Any]:
    done = [result for result in results if result is not None]
    finite = [result for result in done if result[2] != SEPARATED]
    if not finite:
        raise FittingError("No simulated data set of a design could be fitted: simplify the random effects.")
    estimates, errors = np.array([item[:2] for item in finite]).T
    truth = study.beta[study.place]
    t = np.abs(estimates) / errors
    if df < LARGE_DF:
        p, quantile = 2.0 * stdtr(df, -t), float(stdtrit(df, 0.5 + level / 2.0))
    else:
        p, quantile = 2.0 * ndtr(-t), float(ndtri(0.5 + level / 2.0))
    hits = int(np.sum(p < 1.0 - level))
    lower, upper = _wilson(hits, len(done))
    half = quantile * errors
    separated = {"separated": len(done) - len(finite)} if isinstance(study, GeneralizedStudy) else {}
    return {
        "rows": study.design.n,
        "power": hits / len(done),
        "power_lower": lower,
        "power_upper": upper,
        "width": float(np.mean(2.0 * half)),
        "df": df,
        "bias": float(np.mean(estimates) - truth),
        "coverage": float(np.mean(np.abs(estimates - truth) <= half)),
        "failed": len(results) - len(done),
        "singular": sum(item[2] == "boundary" for item in done),
        **separated,
    }


def _wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share."""
    z = float(ndtri(0.975))
    centre = (hits + z**2 / 2) / (count + z**2)
    half = z * np.sqrt(hits * (count - hits) / count + z**2 / 4) / (count + z**2)
    return max(centre - half, 0.0), min(centre + half, 1.0)
