"""What a mixed-model formula says, before any data are seen."""

from dataclasses import dataclass

# The covariance structure that each bar of a random term stands for.
BAR_COVARIANCES = {"|": "full", "||": "diagonal"}
COVARIANCE_BARS = {covariance: bar for bar, covariance in BAR_COVARIANCES.items()}


@dataclass(frozen=True, slots=True)
class Bar:
    """One random-effects term ``(effects | factors)``.

    Attributes
    ----------
    effects
        The left side with its intercept spelled out, in formulaic's syntax: ``"1 + Days"``, ``"0 + Days"``.
    factors
        The grouping columns: ``("litter",)``, or ``("litter", "sex")`` for ``litter:sex``.
    covariance
        Name of the structure of the effects' covariance: "full" for ``|``, "diagonal" for ``||``.
    """

    effects: str
    factors: tuple[str, ...]
    covariance: str

    @property
    def factor(self) -> str:
        """The grouping factor's name, ``"litter:sex"``."""
        return ":".join(self.factors)


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed mixed-model formula.

    Attributes
    ----------
    text
        The formula as the user wrote it.
    response
        The left side, an expression such as ``"Reaction"`` or ``"log(y)"``.
    fixed
        The fixed part in formulaic's syntax, the intercept spelled out (``"1 + Days"``, ``"0 + C(g)"``),
        without bars, offsets or ``bart(...)``.
    bars
        The random terms in the order written, nested factors expanded.
    offsets
        The expressions inside ``offset(...)``.
    learner
        The columns inside ``bart(...)``, for a mixed-effects forest.
    """

    text: str
    response: str
    fixed: str
    bars: tuple[Bar, ...]
    offsets: tuple[str, ...] = ()
    learner: tuple[str, ...] = ()
