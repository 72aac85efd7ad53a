"""What is kept of the random effects of a term in place of draws of them."""

from dataclasses import dataclass

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class EffectSummary:
    """What is known of the J levels of a term.

    Attributes
    ----------
    mean, sd
        Shape (J, S).
    probabilities
        Shape (Q,), increasing.
    quantiles
        Shape (Q, J, S).
    """

    mean: Array
    sd: Array
    probabilities: Array
    quantiles: Array
