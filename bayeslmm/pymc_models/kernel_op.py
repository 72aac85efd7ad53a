r"""The marginal likelihood as a PyTensor operation with an analytic gradient.

One call of the kernel gives value and gradient, so both are outputs of one operation and a sampler pays for one
factorisation per step. It runs in Python: compiled code (numba, hence nutpie) calls back, holding the interpreter's
lock meanwhile.
"""

from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_funcify, numba_njit

from bayeslmm.errors import FittingError
from bayeslmm.posterior.marginal_likelihood import MarginalLikelihood
from bayeslmm.types import Array


class KernelLikelihood(Op):
    """log p(y | phi, sigma) and its gradient as functions of x = (phi, log sigma).

    No exception leaves it: where the kernel fails the value is -inf and the gradient zero.

    Parameters
    ----------
    likelihood
        The model's marginal likelihood.

    Attributes
    ----------
    evaluations, failures
        How often it was evaluated in this process, and how often the kernel failed.
    first_error
        The first failure; None if there was none.
    """

    gufunc_signature = "(d)->(),(d)"

    def __init__(self, likelihood: MarginalLikelihood) -> None:
        self.likelihood = likelihood
        self.evaluations = 0
        self.failures = 0
        self.first_error: Exception | None = None

    def make_node(self, x: Any) -> Apply:
        """Apply the operation to a vector of length d."""
        x = pt.cast(pt.as_tensor_variable(x), "float64")
        return Apply(self, [x], [pt.dscalar(), pt.dvector(shape=(self.likelihood.dimension,))])

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        """Evaluate in Python."""
        value, gradient = self.evaluate(inputs[0])
        output_storage[0][0], output_storage[1][0] = np.asarray(value), gradient

    def infer_shape(self, fgraph: Any, node: Apply, shapes: Any) -> list[Any]:
        """Return the shapes of value and gradient."""
        return [(), shapes[0]]

    def L_op(self, inputs: Any, outputs: Any, output_grads: Any) -> list[Any]:
        """Return the gradient by x; there are no second derivatives."""
        if not isinstance(output_grads[1].type, DisconnectedType):
            return [grad_not_implemented(self, 0, inputs[0], "the kernel has no second derivatives; take differences")]
        return [output_grads[0] * outputs[1]]

    def evaluate(self, x: Array) -> tuple[float, Array]:
        """Return value and gradient at x, shape (d,); -inf and zero where the kernel fails."""
        self.evaluations += 1
        try:
            with np.errstate(all="ignore"):
                value, gradient = self.likelihood.value_and_gradient(x)
            if np.isfinite(value) and np.isfinite(gradient).all():
                return value, gradient
            error: Exception = FittingError("The marginal likelihood is not finite.")
        except Exception as raised:  # what escapes into compiled code cannot be caught there
            error = raised
        self.failures += 1
        self.first_error = self.first_error or error
        return -np.inf, np.zeros(self.likelihood.dimension)

    def __str__(self) -> str:
        return type(self).__name__


@numba_funcify.register(KernelLikelihood)
def compiled_kernel_likelihood(op: KernelLikelihood, **_: Any) -> Any:
    """Return a function that numba's compiled code can call: it steps back into Python."""
    pair = numba.types.Tuple((numba.types.float64, numba.types.Array(numba.types.float64, 1, "C")))

    def in_python(x: Array) -> tuple[float, Array]:
        value, gradient = op.evaluate(np.array(x))
        return float(value), np.ascontiguousarray(gradient)

    @numba_njit
    def likelihood(x):  # type: ignore[no-untyped-def]
        with numba.objmode(result=pair):
            result = in_python(x)
        return np.asarray(result[0]), result[1]

    return likelihood
