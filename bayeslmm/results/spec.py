"""What a model was asked for, apart from its data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bayeslmm.types import Missing


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The arguments of a model, as given: what is needed to build it again from its data.

    Attributes
    ----------
    formula
        The formula text.
    family, link
        Distribution of the response, and the link of its mean.
    weights, offset
        Name of a column of the design's data, which holds values given apart too; None without.
    sigma
        The residual standard deviation if it is known.
    zero
        The formula of the share of zeros.
    missing
        What happens to rows with missing values.
    priors
        None, the name of a preset, or a mapping from parameter names to priors.
    functions
        The user's own functions in the formula, by name.
    """

    formula: str
    family: str = "gaussian"
    weights: str | None = None
    offset: str | None = None
    sigma: float | None = None
    missing: Missing = "drop"
    priors: Any = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    link: str = "identity"
    zero: str | None = None
