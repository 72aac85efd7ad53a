r"""NUTS on the kernel's own density: the covariance parameters alone, nothing to compile.

nutpie samples z with :math:`x = \hat x + R z`, where :math:`\hat x` and :math:`R R^\top` are the mode and the
covariance of the Laplace approximation of (phi, log sigma): in z the posterior is close to a standard normal, so
trajectories are short. Coefficients are drawn afterwards, exactly, for the retained draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import FittingError, explanation
from bayeslmm.inference.draws import SUMMARY, Draws
from bayeslmm.inference.importance.proposals import cholesky_factor
from bayeslmm.inference.laplace import Laplace, find_laplace
from bayeslmm.inference.nuts.chain import JITTER, Chain
from bayeslmm.inference.nuts.sampler_statistics import read_statistics
from bayeslmm.inference.options import Options
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.likelihood.threads import in_threads, worker_threads
from bayeslmm.posterior.conditional_draws import all_coefficients, covariance_parameters, draw_coefficients
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.effect_summaries import Component, summarise_effects
from bayeslmm.posterior.effect_summary import EffectSummary
from bayeslmm.types import Array

PATIENCE = 0.2  # seconds after which a chain looks whether it is to stop
MOST_SUMMARISED = 1000  # draws, evenly spaced, over which random effects are averaged where no draws are kept


class Density(Protocol):
    """A log density of x, shape (d,)."""

    @property
    def dimension(self) -> int:
        """Its number of coordinates d."""

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return the log density, up to a constant, and its gradient."""


@dataclass(slots=True)
class WhitenedDensity:
    """The log density in standardised coordinates, safe for a sampler written in another language.

    Where the density has more coordinates than the Laplace approximation, the others come last and are taken as they
    are.

    An exception must not cross into the sampler: where the kernel fails the density is -inf with a zero gradient, the
    failure is counted, and the first error is kept.

    Attributes
    ----------
    density
        The model.
    laplace
        Where the coordinates come from.
    stop
        Once set, every point is impossible, so that a trajectory ends and the sampler can be stopped.
    failures, successes
        Evaluations that raised, and that did not.
    first_error, failed_at
        The first kernel error and its x.
    """

    density: Density
    laplace: Laplace
    stop: Event = field(default_factory=Event)
    failures: int = 0
    successes: int = 0
    first_error: Exception | None = None
    failed_at: Array | None = None
    root: Array = field(init=False)

    def __post_init__(self) -> None:
        self.root = cholesky_factor(self.laplace.covariance)

    def point(self, z: Array) -> Array:
        """Return x = (phi, log sigma) for z, shape (..., d)."""
        k = len(self.root)
        first = self.laplace.mode + z[..., :k] @ self.root.T
        return first if z.shape[-1] == k else np.concatenate([first, z[..., k:]], axis=-1)

    def _by_z(self, gradient: Array) -> Array:
        k = len(self.root)
        first = gradient[:k] @ self.root
        return first if len(gradient) == k else np.concatenate([first, gradient[k:]])

    def __call__(self, z: Array, **_: Any) -> tuple[float, Array]:
        """Return the log density and its gradient by z."""
        if self.stop.is_set():
            return -np.inf, np.zeros_like(z)
        x = self.point(z)
        try:
            with np.errstate(all="ignore"):
                value, gradient = self.density.value_and_gradient(x)
                by_z = self._by_z(gradient)
        except Exception as error:  # an escaping exception would poison the sampler
            self._fail(error, x)
            return -np.inf, np.zeros_like(z)
        if not (np.isfinite(value) and np.isfinite(by_z).all()):
            self._fail(FittingError("The log posterior is not finite."), x)
            return -np.inf, np.zeros_like(z)
        self.successes += 1
        return value, by_z

    def _fail(self, error: Exception, x: Array) -> None:
        self.failures += 1
        if self.first_error is None:
            self.first_error, self.failed_at = error, x


class Store(Protocol):
    """Where finished chains are kept."""

    def load(self, k: int) -> Chain | None:
        """Return chain k if it was finished."""

    def save(self, k: int, chain: Chain) -> None:
        """Keep a finished chain."""


def sample_chain(density: Density, laplace: Laplace, options: Options, seed: int, stop: Event | None = None) -> Chain:
    """Run one chain.

    Parameters
    ----------
    density, laplace, options
        The model, its coordinates, and how to sample.
    seed
        The chain's own.
    stop
        Set by another thread, it ends the chain within moments.

    Raises
    ------
    FittingError
        If the kernel failed at every point, with its first error.
    KeyboardInterrupt
        If the sampler was interrupted, or `stop` was set.
    """
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    whitened = WhitenedDensity(density, laplace, Event() if stop is None else stop)
    d = density.dimension

    def start(start_seed: int) -> Array:
        """Return a point near the mode."""
        return JITTER * np.random.default_rng(start_seed).standard_normal(d)

    def make_expand(*_: Any) -> Callable[..., dict[str, Array]]:
        """Return the function that names a point, as nutpie wants it."""
        return lambda z, **__: {"z": z}

    compiled = from_pyfunc(
        d, lambda: whitened, make_expand, [np.dtype("float64")], [(d,)], ["z"], make_initial_point_fn=start
    )
    try:
        sampler = nutpie.sample(
            compiled,
            draws=options.draws,
            tune=options.tune,
            chains=1,
            cores=1,
            seed=seed,
            target_accept=options.target_accept,
            save_warmup=False,
            progress_bar=False,
            blocking=False,
        )
        trace = _wait(sampler, whitened.stop)
    except RuntimeError as error:
        raise _sampler_error(whitened, error) from error
    z = trace.posterior["z"].to_numpy()[0]
    if len(z) < options.draws or not np.isfinite(z).all():
        raise KeyboardInterrupt
    if whitened.successes == 0:
        raise _sampler_error(whitened, None)
    stats = {name: values[0] for name, values in read_statistics(trace.sample_stats).items()}
    return Chain(whitened.point(z), stats, whitened.failures, whitened.failures + whitened.successes)


def _wait(sampler: Any, stop: Event) -> Any:
    """Return nutpie's trace once it is there; end the sampler when waiting is interrupted or `stop` is set."""
    try:
        while True:
            try:
                return sampler.wait(timeout=PATIENCE)
            except TimeoutError:
                if stop.is_set():
                    raise KeyboardInterrupt from None
    except BaseException:
        stop.set()
        sampler.cancel()
        raise


def _sampler_error(whitened: WhitenedDensity, error: Exception | None) -> FittingError:
    if whitened.first_error is not None:
        place = np.array2string(np.asarray(whitened.failed_at), precision=3)
        return FittingError(
            f"The kernel failed {whitened.failures} times, first at (phi, log sigma) = {place}: "
            f"{explanation(whitened.first_error)}"
        )
    return FittingError(f"The sampler stopped: {error}")


def chain_seeds(seed: int, chains: int) -> list[int]:
    """Return one seed per chain; chain k's depends on (seed, k) only."""
    return [int(s.generate_state(1, np.uint64)[0] >> 1) for s in np.random.SeedSequence(seed).spawn(chains)]


def sample_marginal(
    density: CovarianceDensity,
    options: Options,
    *,
    report: Callable[[int], None] | None = None,
    store: Store | None = None,
) -> Draws:
    """Sample the covariance parameters with NUTS and draw the coefficients.

    Parameters
    ----------
    density
        The model.
    options
        Draws, chains and seed: chain k depends on (seed, k) only, so cores and order make no difference. Chains run at
        once only where the kernel's work outweighs Python's.
    report
        Called with the number of chains done.
    store
        Where finished chains are kept; those it has are not run again.
    """
    laplace = find_laplace(density)
    seeds = chain_seeds(options.seed, options.chains)
    stop = Event()

    def run(k: int) -> Chain:
        kept = store.load(k) if store is not None else None
        if kept is not None:
            return kept
        chain = sample_chain(density, laplace, options, seeds[k], stop)
        if store is not None:
            store.save(k, chain)
        return chain

    workers = min(options.chains, worker_threads(density.kernel.order, options.cores))
    return marginal_draws(density, in_threads(run, range(options.chains), workers, report, stop), options)


def sample_known(density: CovarianceDensity, options: Options) -> Draws:
    """Draw the coefficients of a model without covariance parameters: no random term, sigma known."""
    empty = [Chain(np.zeros((options.draws, 0)), {}, 0) for _ in range(options.chains)]
    return marginal_draws(density, empty, options)


def marginal_draws(density: CovarianceDensity, chains: list[Chain], options: Options) -> Draws:
    """Draw the coefficients for every retained draw, from generators seeded by (seed, chain, draw)."""
    n_chains, n_draws = len(chains), len(chains[0].x)
    kernel, n_phi = density.kernel, density.n_phi
    keep = options.keep([term.name for term in density.priors.terms])
    beta = np.empty((n_chains, n_draws, kernel.p))
    effects: tuple[NDArray[np.floating], ...] = tuple(
        np.empty((n_chains, n_draws, s.n_levels if kept else 0, s.n_columns), dtype=options.dtype)
        for s, kept in zip(kernel.shapes, keep, strict=True)
    )
    x = np.array([chain.x for chain in chains])
    sigma = np.exp(x[..., n_phi]) if density.sigma is None else np.full((n_chains, n_draws), density.sigma)

    def draw(place: tuple[int, int]) -> None:
        c, i = place
        posterior = fixed_posterior(density.factor(x[c, i, :n_phi]), density.fixed_prior_at(x[c, i, :n_phi]))
        rng = np.random.default_rng([options.seed, c, i])
        drawn = draw_coefficients(density, posterior, sigma[c, i : i + 1], rng, keep)
        beta[c, i] = drawn.beta[0]
        for target, values in zip(effects, drawn.effects, strict=True):
            target[c, i] = values[0]

    places = [(c, i) for c in range(n_chains) for i in range(n_draws)]
    in_threads(draw, places, worker_threads(kernel.order, options.cores))
    phi = x[..., :n_phi].reshape(n_chains * n_draws, n_phi)
    sds, correlations = covariance_parameters(density, phi, sigma.ravel())

    summaries: tuple[EffectSummary, ...] = ()
    if options.store == SUMMARY:
        chosen = np.unique(np.linspace(0, sigma.size - 1, min(sigma.size, MOST_SUMMARISED)).astype(int))
        parts = [Component(phi[i], sigma.ravel()[[i]], np.ones(1)) for i in chosen]
        summaries = summarise_effects(density, parts, options.quantiles)

    def cut(values: Array) -> Array:
        return values.reshape(n_chains, n_draws, *values.shape[1:])

    return Draws(
        beta=cut(all_coefficients(density, beta.reshape(n_chains * n_draws, kernel.p), phi, options.seed)),
        sigma=sigma,
        sd=tuple(cut(sd) for sd in sds),
        cor=tuple(None if c is None else cut(c) for c in correlations),
        effects=effects,
        stats={name: np.array([chain.stats[name] for chain in chains]) for name in chains[0].stats},
        method="nuts",
        info={
            "kernel_failures": sum(chain.failures for chain in chains),
            "kernel_evaluations": sum(chain.evaluations for chain in chains),
            "seed": options.seed,
        },
        summaries=summaries,
    )
