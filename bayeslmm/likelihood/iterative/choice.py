"""Which solver a model's equations are given to."""

from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.layout import LARGEST_DENSE
from bayeslmm.types import Solver


def is_iterative(kernel: Kernel, solver: Solver) -> bool:
    """Whether a model's equations are solved by conjugate gradients.

    Without crossed effects there is nothing left to solve after elimination, so every solver is exact.

    Parameters
    ----------
    kernel
        The likelihood.
    solver
        "exact", "iterative", or "auto" for iterative where the trailing matrix is large and its factor not sparse.
    """
    products = kernel.products
    crossed = products.n_trailing
    large = crossed > LARGEST_DENSE and products.sparse is None
    return crossed > 0 and (solver == "iterative" or (solver == "auto" and large))
