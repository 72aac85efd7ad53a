"""Posterior draws of models with many covariance parameters by Hamiltonian Monte Carlo."""

import time
from collections.abc import Callable
from dataclasses import replace

from bayeslmm.inference.draws import Draws
from bayeslmm.inference.hamiltonian.chains import WARM_UP, run_chain
from bayeslmm.inference.hamiltonian.scores import scored_density
from bayeslmm.inference.hamiltonian.whitening import whiten
from bayeslmm.inference.laplace import Laplace, find_laplace
from bayeslmm.inference.nuts.chain import Chain
from bayeslmm.inference.nuts.marginal import WhitenedDensity, chain_seeds, marginal_draws, sample_known
from bayeslmm.inference.options import Options
from bayeslmm.inference.progress import progress_bar
from bayeslmm.likelihood.threads import blas_threads, in_threads, worker_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity

MANY = 30  # covariance parameters, from which on weights of importance sampling are too uneven


def has_many(density: CovarianceDensity) -> bool:
    """Whether a density has so many covariance parameters that it is sampled here, and a gradient."""
    return density.n_phi > MANY and not isinstance(density, IterativeDensity)


def sample_hmc(density: CovarianceDensity, options: Options) -> Draws:
    """Find the mode and sample from there; see `sample_hamiltonian`.

    Parameters
    ----------
    density
        The model.
    options
        Draws, chains, cores, target_accept and seed.

    Returns
    -------
    Draws
        `info` holds the seconds, too.

    Raises
    ------
    FittingError
        If the density cannot be evaluated near its mode.
    """
    started = time.perf_counter()
    if density.dimension == 0:
        found = replace(sample_known(density, options), method="hmc")
    else:
        with progress_bar(options.chains, "chains", options.progressbar) as report:
            found = sample_hamiltonian(density, find_laplace(density), options, report=report)
    return replace(found, info={**found.info, "seconds": time.perf_counter() - started})


def sample_hamiltonian(
    density: CovarianceDensity, laplace: Laplace, options: Options, *, report: Callable[[int], None] | None = None
) -> Draws:
    """Sample the covariance parameters by Hamiltonian Monte Carlo and draw the coefficients.

    Parameters
    ----------
    density
        The model.
    laplace
        The mode of (phi, log sigma) and the curvature there.
    options
        Draws, chains, target_accept and seed: chain k depends on (seed, k) only.
    report
        Called with the number of chains done.

    Raises
    ------
    FittingError
        If the density cannot be evaluated near its mode.
    """
    scored = scored_density(density, laplace)
    with blas_threads(0):  # with more threads LAPACK rounds in another way
        whitened = whiten(scored, laplace)
    seeds = chain_seeds(options.seed, options.chains)

    def run(k: int) -> Chain:
        own = WhitenedDensity(scored, whitened.laplace)
        chain = run_chain(own, options.draws, options.target_accept, seeds[k])
        return replace(chain, x=scored.parameters(chain.x))

    workers = min(options.chains, worker_threads(density.kernel.order, options.cores))
    found = marginal_draws(density, in_threads(run, range(options.chains), workers, report), options)
    facts = {"sampler": "hmc", "parametrization": "marginal", "tune": WARM_UP, "target_accept": options.target_accept}
    return replace(found, method="hmc", info={**found.info, **facts})
