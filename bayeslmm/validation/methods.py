"""Ways to a posterior, as functions with one signature: a problem in, nearly independent draws out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance.pairs import correlation_matrices
from bayeslmm.design.design import Design
from bayeslmm.design.names import safe_name
from bayeslmm.errors import FittingError
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.nuts.explicit import compile_for_nutpie, sample_with_nutpie
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.results.diagnostics import diagnose
from bayeslmm.validation.quantities import covariance_quantities
from bayeslmm.validation.simulate import Problem

Sample = Callable[[Problem, int, int], Draws]  # (problem, number of draws, seed) -> draws of one chain

HANDED_OVER = "handed over"  # the method of draws that another way to the posterior had to make
SPARE = 2  # MCMC draws per draw wanted, in the first attempt
MOST_DOUBLINGS = 7
PATIENCE = 4  # doublings after which the non-centred hierarchy is given up
TUNE = 300
DRAWS_PER_TUNE = 4  # a chain of the explicit hierarchy that has to be long is also warmed up for longer


def importance(problem: Problem, n_draws: int, seed: int) -> Draws:
    """Sample by importance, and by NUTS where the weights are in trouble, as a user's fit does."""
    options = Options(draws=n_draws, chains=1, seed=seed)
    points = weighted_points(problem.density, options)
    if points.trouble:
        return replace(marginal_nuts(problem, n_draws, seed), method=HANDED_OVER)
    return importance_draws(problem.density, points, options)


def marginal_nuts(problem: Problem, n_draws: int, seed: int) -> Draws:
    """Sample the covariance parameters by NUTS, coefficients integrated out; thinned."""

    def run(draws: int) -> Draws:
        return sample_marginal(problem.density, Options(draws=draws, tune=TUNE, chains=1, seed=seed, target_accept=0.9))

    return thin(problem.design, run, n_draws)


@dataclass(frozen=True, slots=True)
class CompiledHierarchy:
    """The explicit hierarchy of a design: data sets are put into the compiled model one after the other."""

    compiled: Any
    names: tuple[str, ...]
    centered: bool

    @classmethod
    def build(cls, problem: Problem, centered: bool) -> "CompiledHierarchy":
        """Compile a problem's hierarchy."""
        from bayeslmm.pymc_models import build_hierarchical

        names = variable_names(problem.design)
        model = build_hierarchical(problem.design, problem.priors, centered=centered)
        return cls(compile_for_nutpie(model, names), names, centered)

    def sample(self, design: Design, n_draws: int, seed: int) -> Draws:
        """Sample the posterior of a design's response; thinned.

        The centred hierarchy's sampler learns correlations: where it is wanted, the data pin sums of coefficients and
        random effects.
        """
        compiled = self.compiled.with_data(**{"data[y]": design.y})

        def run(draws: int) -> Draws:
            tune = max(TUNE, draws // DRAWS_PER_TUNE)
            options = Options(draws=draws, tune=tune, chains=1, cores=1, seed=seed, target_accept=0.95)
            trace = sample_with_nutpie(compiled, self.names, options, low_rank=self.centered)
            return explicit_draws(trace, design)

        return thin(design, run, n_draws, MOST_DOUBLINGS if self.centered else PATIENCE)


@dataclass(slots=True)
class HierarchicalNuts:
    """NUTS on the explicit hierarchy, non-centred; where that mixes too slowly, as a user would, centred."""

    compiled: dict[bool, CompiledHierarchy] = field(default_factory=dict)
    design: Design | None = None

    def __call__(self, problem: Problem, n_draws: int, seed: int) -> Draws:
        """Sample the problem; thinned."""
        try:
            return self._sample(problem, n_draws, seed, centered=False)
        except FittingError:
            return replace(self._sample(problem, n_draws, seed, centered=True), method=HANDED_OVER)

    def _sample(self, problem: Problem, n_draws: int, seed: int, *, centered: bool) -> Draws:
        if self.design is None or self.design.X is not problem.design.X:
            self.compiled, self.design = {}, problem.design
        if centered not in self.compiled:
            self.compiled[centered] = CompiledHierarchy.build(problem, centered)
        return self.compiled[centered].sample(problem.design, n_draws, seed)


def variable_names(design: Design) -> tuple[str, ...]:
    """Return the names of the explicit model's variables that become draws."""
    names = ["beta", "sigma"]
    for term in design.terms:
        names += [f"sd_{safe_name(term.name)}", f"r_{safe_name(term.name)}"]
        if term.has_correlations:
            names.append(f"cor_{safe_name(term.name)}")
    return tuple(names)


def explicit_draws(trace: Any, design: Design) -> Draws:
    """Return a trace of the explicit model as draws."""
    values = trace.values
    return Draws(
        beta=values["beta"],
        sigma=values["sigma"],
        sd=tuple(values[f"sd_{safe_name(term.name)}"] for term in design.terms),
        cor=tuple(
            None if pairs is None else correlation_matrices(pairs, term.n_columns)
            for term in design.terms
            for pairs in [values.get(f"cor_{safe_name(term.name)}")]
        ),
        effects=tuple(values[f"r_{safe_name(term.name)}"] for term in design.terms),
        stats=trace.stats,
        method="nuts",
    )


def thin(design: Design, run: Callable[[int], Draws], n_draws: int, doublings: int = MOST_DOUBLINGS) -> Draws:
    """Run a chain until its effective size reaches the number of draws wanted, and keep evenly spaced ones.

    Parameters
    ----------
    design
        Names the parameters whose effective sizes count.
    run
        Returns a single chain of the length asked for.
    n_draws
        Draws to keep.
    doublings
        Of the chain's length, at most.

    Raises
    ------
    FittingError
        If the chain mixes too slowly.
    """
    length = SPARE * n_draws
    for _ in range(doublings + 1):
        draws = run(length)
        effective = float(np.nanmin(diagnose(covariance_quantities(design, draws).values).ess_bulk))
        if effective >= n_draws:
            return choose(draws, np.linspace(0, length - 1, n_draws).round().astype(np.intp))
        length *= 2
    raise FittingError(f"The chain has {effective:.0f} effective draws after {length // 2}; {n_draws} were wanted.")


def choose(draws: Draws, places: NDArray[np.intp]) -> Draws:
    """Return some draws of each chain."""
    return replace(
        draws,
        beta=draws.beta[:, places],
        sigma=draws.sigma[:, places],
        sd=tuple(sd[:, places] for sd in draws.sd),
        cor=tuple(None if cor is None else cor[:, places] for cor in draws.cor),
        effects=tuple(effects[:, places] for effects in draws.effects),
        stats={name: values[:, places] for name, values in draws.stats.items()},
    )
