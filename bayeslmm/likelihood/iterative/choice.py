"""Which solver a model's equations are given to."""

from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.types import Solver

LARGEST_DENSE = 3000  # crossed effects in the trailing matrix up to which its factor costs little


def is_iterative(kernel: Kernel, solver: Solver) -> bool:
    """Whether a model's equations are solved by conjugate gradients.

    Without crossed effects there is nothing left to solve after elimination, so every solver is exact.

    Parameters
    ----------
    kernel
        The likelihood.
    solver
        "exact", "iterative", or "auto" for iterative where the trailing matrix is large.
    """
    crossed = kernel.products.n_trailing
    return crossed > 0 and (solver == "iterative" or (solver == "auto" and crossed > LARGEST_DENSE))
