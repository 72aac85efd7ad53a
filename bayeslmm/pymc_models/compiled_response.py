"""A family's own compiled loops as a distribution of PyMC: what a family without a counterpart there is taken by.

They run in Python: compiled code (numba, hence nutpie) calls back, holding the interpreter's lock meanwhile.
"""

from typing import Any

import numba
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_funcify, numba_njit

from bayeslmm.families import Family, Response
from bayeslmm.types import Array


class RowDensities(Op):
    """Log densities of the rows, less what depends on the response alone, and their derivatives.

    Inputs are the linear predictor (n,) and the dispersion parameters on their working scale (m,); outputs the log
    densities (n,), their derivatives by the predictor (n,) and by the dispersion parameters (m, n).

    Parameters
    ----------
    family, response
        The distribution and what it read.
    """

    def __init__(self, family: Family, response: Response) -> None:
        self.family, self.response = family, response

    def make_node(self, eta: Any, working: Any) -> Apply:
        """Apply the operation to a vector of length n and one of length m."""
        inputs = [pt.cast(pt.as_tensor_variable(value), "float64") for value in (eta, working)]
        return Apply(self, inputs, [pt.dvector(), pt.dvector(), pt.dmatrix()])

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        """Evaluate in Python."""
        for place, values in zip(output_storage, self.evaluate(*inputs), strict=True):
            place[0] = values

    def infer_shape(self, fgraph: Any, node: Apply, shapes: Any) -> list[Any]:
        """Return the shapes of the outputs."""
        n, m = shapes[0][0], shapes[1][0]
        return [(n,), (n,), (m, n)]

    def L_op(self, inputs: Any, outputs: Any, output_grads: Any) -> list[Any]:
        """Return the gradients by predictor and dispersion parameters; there are no second derivatives."""
        if not all(isinstance(gradient.type, DisconnectedType) for gradient in output_grads[1:]):
            return [grad_not_implemented(self, k, value, "take differences") for k, value in enumerate(inputs)]
        return [output_grads[0] * outputs[1], pt.dot(outputs[2], output_grads[0])]

    def evaluate(self, eta: Array, working: Array) -> tuple[Array, Array, Array]:
        """Return the three outputs."""
        eta, working = np.array(eta, dtype=float), np.array(working, dtype=float)
        with np.errstate(all="ignore"):
            rows = self.family.derivatives(self.response, eta, working)
            slopes = self.family.by_dispersion(self.response, eta, working)[:, 0]
        return rows[0].copy(), rows[1].copy(), np.ascontiguousarray(slopes)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.family.name})"


@numba_funcify.register(RowDensities)
def compiled_row_densities(op: RowDensities, **_: Any) -> Any:
    """Return a function that numba's compiled code can call: it steps back into Python."""
    vector, matrix = numba.types.Array(numba.types.float64, 1, "C"), numba.types.Array(numba.types.float64, 2, "C")
    triple = numba.types.Tuple((vector, vector, matrix))

    def in_python(eta: Array, working: Array) -> tuple[Array, Array, Array]:
        return op.evaluate(eta, working)

    @numba_njit
    def densities(eta, working):  # type: ignore[no-untyped-def]
        with numba.objmode(result=triple):
            result = in_python(eta, working)
        values, by_eta, by_working = result
        return values, by_eta, by_working

    return densities


def compiled_response(name: str, family: Family, response: Response, eta: Any, working: Any) -> Any:
    """Add the response to the model on the context stack, its density and draws those of the family.

    Parameters
    ----------
    name
        Name of the variable.
    family, response
        The distribution and what it read; the values are those of `Response.y`.
    eta
        Linear predictor, (n,).
    working
        Dispersion parameters on their working scale, (m,).
    """
    known = response.base if response.weights is None else response.base * response.weights

    def log_density(value: Any, eta: Any, working: Any) -> Any:
        return RowDensities(family, response)(eta, working)[0] + known

    def random(eta: Array, working: Array, rng: Any = None, size: Any = None) -> Array:
        rng = rng or np.random.default_rng()
        batch = () if size is None else tuple(np.atleast_1d(size))
        drawn = [family.simulate(response, eta, working, rng) for _ in range(int(np.prod(batch, dtype=int)))]
        return np.reshape(drawn, (*batch, len(known)))

    return pm.CustomDist(
        name,
        eta,
        working,
        logp=log_density,
        random=random,
        signature="(n),(m)->(n)",
        observed=response.y,
    )
