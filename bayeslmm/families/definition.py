r"""What a response distribution must supply.

The rows of the response are independent given the linear predictor :math:`\eta`,

.. math:: y_i \sim f(\cdot \mid \eta_i, \phi), \qquad
          \ell_i = \log f(y_i \mid \eta_i, \phi), \quad
          \ell_i^{(k)} = \partial^k \ell_i/\partial\eta_i^k,

with dispersion parameters :math:`\phi` that have no bounds on the *working* scale (logarithms, logits). A family is one
file with two compiled loops over the rows, one for :math:`\ell` and its three derivatives, one for the derivatives by
:math:`\phi`; nothing else in the package asks which family a model has.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from bayeslmm.errors import OptionError
from bayeslmm.families.links import LINK_SCALES, LINKS, Link
from bayeslmm.families.response import Request, Response
from bayeslmm.types import Array

Transform = Literal["log", "logit", "ordered", "none"]
Kernel = Callable[[Array, Array, Array, Array, Array], None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A dispersion parameter.

    Attributes
    ----------
    name
        What it is called in tables and priors.
    transform
        Its working scale: "log" or "logit" of it, the value itself ("none"), or, for thresholds in ascending order, the
        first and the logarithms of the differences ("ordered").
    prior
        Default prior, as text.
    reason
        Where the prior comes from.
    in_response_units
        Whether the prior's scale is to be multiplied by the scale of the response.
    size
        Number of values.
    holds_level
        Whether its values take the place of an intercept, all of them rising with the linear predictor; its first
        working value then is that by which they rise. Its prior is stated at the column means.
    """

    name: str
    transform: Transform
    prior: str
    reason: str
    in_response_units: bool = False
    size: int = 1
    holds_level: bool = False


class Family(ABC):
    """A response distribution with one of its links.

    Parameters
    ----------
    link
        Name of the link; None for the family's first.

    Attributes
    ----------
    name
        What the family is called.
    links
        Names of its links, the default first.
    log_concave
        Whether the log density is concave in the linear predictor for every response.
    takes_constant
        Whether the fixed columns may span a constant; not where thresholds stand for it.
    standard_rows
        Whether the loops' phi are the working values, but for thresholds ("ordered"), which come as they are, and
        coefficients of `zero_columns`, of which each row's combination comes last. Families that override neither
        `kernel_parameters` nor `rows_of` need not say so.
    """

    name: ClassVar[str]
    links: ClassVar[tuple[str, ...]]
    log_concave: ClassVar[bool] = True
    takes_constant: ClassVar[bool] = True
    standard_rows: ClassVar[bool] = False

    def __init__(self, link: str | None = None) -> None:
        self._link = LINKS[check_link(type(self).name, type(self).links, link)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(link={self._link.name!r})"

    @property
    def link(self) -> Link:
        """The link function."""
        return self._link

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The dispersion parameters."""
        return ()

    @property
    def has_zero_part(self) -> bool:
        """Whether the last dispersion parameter is a share of zeros, which columns of its own may describe."""
        return bool(self.parameters) and self.parameters[-1].name == "zero"

    @property
    def zero_columns(self) -> Array | None:
        """Columns of the logit of the share of zeros, (n, r), where it has some."""
        return None

    @property
    def n_dispersion(self) -> int:
        """Number of dispersion parameters m."""
        return sum(parameter.size for parameter in self.parameters)

    @property
    def prior_turn(self) -> Array | None:
        """Matrix by which working values become those that priors speak of, (m, m), of determinant one; None for I."""
        return None

    @property
    def dispersion_scales(self) -> Array:
        """How far the working values are likely to vary, up to a common factor, (m,)."""
        return np.ones(self.n_dispersion)

    # -- the density ------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def kernel(self) -> Kernel:
        """Compiled loop ``(y, size, eta, phi, out)``; phi (m, n), out (4, n): log f less its base, three derivatives.

        A linear predictor outside the family's domain gives -inf and finite derivatives.
        """

    @property
    def score_kernel(self) -> Kernel:
        """Compiled loop as `kernel` whose out[2:] may be anything: what samplers call, who need no curvature."""
        return self.kernel

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """Compiled loop ``(y, size, eta, phi, out)``; out (m, 3, n): by phi of log f and its first two derivatives."""
        return None

    @abstractmethod
    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return positive weights for Newton steps where the log density is not concave, (n,): Fisher's where known."""

    def kernel_parameters(self, working: Array) -> Array:
        """Return phi as the compiled loops take it for working values, both (m,) or (m, n)."""
        return working

    def kernel_jacobian(self, working: Array) -> Array | None:
        """Return d phi/d working, (m, m), or None where phi is on the working scale."""
        return None

    # -- data -------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Return the response for the values of the formula's left side, (n,) or, for two columns, (n, 2).

        Raises
        ------
        DataError
            If a value lies outside the family's support.
        """

    def for_response(self, response: Response) -> "Family":
        """Return the family with as many parameters as a response asks for; most have a number of their own."""
        return self

    @abstractmethod
    def start(self, response: Response) -> Array:
        """Return working values of the dispersion parameters to start from, (m,)."""

    @abstractmethod
    def start_predictor(self, response: Response) -> Array:
        """Return a rough linear predictor for each row's response alone, (n,): the start of iterations."""

    # -- means and draws --------------------------------------------------------------------------------------

    def trials(self, response: Response) -> Array:
        """Return the trials of each row, (n,): ones where there are none."""
        return response.size

    def mean(self, eta: Array, working: Array) -> Array:
        """Return the mean of a row (of a single trial) at linear predictors, (n,)."""
        return self.link.mean(eta)

    @abstractmethod
    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the variance of each row's response, (n,); of the count where there are trials."""

    @abstractmethod
    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y) of each row, (2, n): equal where the response is continuous."""

    @abstractmethod
    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw a response for each row, (n,), in the form of `Response.y`."""

    # -- scales for priors ------------------------------------------------------------------------------------

    def predictor_location(self, response: Response) -> float:
        """Return the link of the mean of the response: where a default prior of the intercept lies."""
        mean = float(np.average(response.y, weights=response.weights))
        if self.link.name == "log":
            mean = max(mean, 0.5 / len(response.y))
        return float(self.link.predictor(np.array(mean)))

    @property
    def link_has_scale(self) -> bool:
        """Whether the linear predictor has a scale of its own, and not one of the response's units."""
        return self.link.name in LINK_SCALES

    def predictor_scale(self, response: Response) -> float:
        """Return the scale of the linear predictor that default priors are in units of.

        A constant of the link, or, where the response has units of its own, its standard deviation on the link's scale.
        """
        if self.link_has_scale:
            return LINK_SCALES[self.link.name]
        sd = float(np.std(response.y)) or 1.0
        return sd if self.link.name == "identity" else sd / float(np.mean(response.y)) ** 2

    # -- derived ----------------------------------------------------------------------------------------------

    def rows_of(self, working: Array, n: int) -> Array:
        """Return phi for each row, (m, n), read-only; from values for all rows (m,) or for each (m, n)."""
        phi = np.asarray(self.kernel_parameters(np.asarray(working, dtype=float)))
        return np.broadcast_to(phi[:, None] if phi.ndim == 1 else phi, (len(phi), n))

    def derivatives(self, response: Response, eta: Array, working: Array) -> Array:
        """Return log f less its base, and its three derivatives in the linear predictor, (4, n), times the weights."""
        out = np.empty((4, len(eta)))
        self.kernel(response.y, response.size, eta, self.rows_of(working, len(eta)), out)
        if response.weights is not None:
            out *= response.weights
        return out

    def by_dispersion(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the derivatives by the working values of log f and its first two derivatives, (m, 3, n)."""
        out = np.zeros((self.n_dispersion, 3, len(eta)))
        if self.dispersion_kernel is None:
            return out
        self.dispersion_kernel(response.y, response.size, eta, self.rows_of(working, len(eta)), out)
        jacobian = self.kernel_jacobian(working)
        if jacobian is not None:
            out = np.einsum("ab,acn->bcn", jacobian, out)
        if response.weights is not None:
            out *= response.weights
        return out

    def log_density(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the log density of each row with all its constants, (n,), times the weights."""
        base = response.base if response.weights is None else response.base * response.weights
        return self.derivatives(response, eta, working)[0] + base

    def places(self) -> list[tuple[Parameter, slice]]:
        """Return the dispersion parameters with their places among the m values."""
        found, start = [], 0
        for parameter in self.parameters:
            found.append((parameter, slice(start, start + parameter.size)))
            start += parameter.size
        return found

    def by_name(self, values: Array) -> dict[str, Array]:
        """Return values of the dispersion parameters (..., m) by name, (...), or (..., size) where one has several."""
        return {
            parameter.name: values[..., here.start] if parameter.size == 1 else values[..., here]
            for parameter, here in self.places()
        }

    def natural(self, working: Array) -> dict[str, float | Array]:
        """Return the dispersion parameters by name for working values (m,)."""
        found: dict[str, float | Array] = {}
        for parameter, here in self.places():
            natural = to_natural(np.asarray(working[here], dtype=float), parameter.transform)
            found[parameter.name] = natural if parameter.transform == "ordered" else float(natural[0])
        return found

    def with_level(self, working: Array, level: Array | float) -> Array:
        """Return the working values (..., m) for a linear predictor that is higher by `level` (...) in every row."""
        moved = np.array(working, dtype=float)
        for parameter, here in self.places():
            if parameter.holds_level:
                moved[..., here.start] += level
        return moved

    def working(self, values: Sequence[float] | Array) -> Array:
        """Return working values for natural ones, both in the parameters' order, (m,)."""
        natural = np.asarray(values, dtype=float)
        pieces = [to_working(natural[here], parameter.transform) for parameter, here in self.places()]
        return np.concatenate([np.zeros(0), *pieces])


def to_natural(working: Array, transform: Transform) -> Array:
    """Return natural values of a parameter's working ones."""
    if transform == "log":
        return np.exp(working)
    if transform == "logit":
        return LINKS["logit"].mean(working)
    if transform == "none":
        return np.array(working, dtype=float)
    return np.cumsum(np.concatenate([working[:1], np.exp(working[1:])]))


def to_working(natural: Array, transform: Transform) -> Array:
    """Return working values of a parameter's natural ones."""
    if transform == "log":
        return np.log(natural)
    if transform == "logit":
        return LINKS["logit"].predictor(natural)
    if transform == "none":
        return np.array(natural, dtype=float)
    return np.concatenate([natural[:1], np.log(np.diff(natural))])


def check_link(name: str, links: Sequence[str], link: str | None) -> str:
    """Return the link asked for, or the first where none is.

    Raises
    ------
    OptionError
        If the family does not have it.
    """
    if link is None:
        return links[0]
    if link not in links:
        raise OptionError(f"The family {name!r} has no link {link!r}; its links are {', '.join(map(repr, links))}.")
    return link
