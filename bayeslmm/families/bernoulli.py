"""Yes or no: the Bernoulli distribution, a binomial of one trial."""

from typing import Any, ClassVar

from bayeslmm.families.binomial import Binomial
from bayeslmm.families.response import Request, Response
from bayeslmm.families.trials import read_binary


class Bernoulli(Binomial):
    """One of two categories; the second one's probability is modelled.

    Parameters
    ----------
    link
        "logit" (default), "probit" or "cloglog".
    """

    name: ClassVar[str] = "bernoulli"

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read true/false, 0/1 or two categories."""
        return read_binary(values, request)
