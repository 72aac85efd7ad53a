"""The objective alone, by conjugate gradients and probes."""

from numpy.typing import ArrayLike

from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.evaluation import evaluate_iteratively, rademacher
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import check_criterion
from bayeslmm.likelihood.threads import limits_threads


@limits_threads
def probed_objective(kernel: Kernel, theta: ArrayLike, method: str, n_probes: int, sigma: float | None = None) -> float:
    """Return minus twice the (restricted) log-likelihood at theta, its determinant by `n_probes` probes.

    Parameters
    ----------
    kernel
        The data, with crossed factors.
    theta
        The user's relative covariance factors.
    method
        "ml" or "reml".
    n_probes
        Number of probes.
    sigma
        Residual standard deviation, if it is known.
    """
    signs = rademacher(kernel.products.n_trailing, n_probes)
    paired, lambdas = PairedProducts.of(kernel.products), kernel.lambdas(theta)
    found = evaluate_iteratively(paired, lambdas, check_criterion(method), sigma, signs, derivatives=False)
    return found.value + kernel.shift(method)
