"""The scale on which the means of a fit can be shown: the link's, or the response's where the way back is known."""

from typing import TYPE_CHECKING, Literal

from bayeslmm.effects.estimates import check_scale
from bayeslmm.effects.scales import Scale, scale_of_response
from bayeslmm.families import Family

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit


def scale_of_fit(fit: "Fit") -> Scale | None:
    """Return the way from the linear predictor to the mean of the response; None where it needs more than that.

    Dispersion parameters share in the mean of zero-inflated families, and functions of the user's own as responses
    have no known inverse.
    """
    family = getattr(fit, "family", None)
    if family is not None:
        return Scale(family.link.name, family.link.mean) if type(family).mean is Family.mean else None
    response = fit.design.recipe.parts.response
    return None if response.text in fit.design.functions else scale_of_response(response.tree)


def natural_scale(fit: "Fit") -> Literal["link", "response"]:
    """Return the scale means are shown on unless asked: a link is undone, a transformed response stays as it is."""
    return "response" if getattr(fit, "family", None) is not None and scale_of_fit(fit) is not None else "link"


def curved_scale(fit: "Fit", on: str) -> Scale | None:
    """Return the way to the response for what is shown on its scale; None where that is the scale of the link.

    Raises
    ------
    OptionError
        If the scale is unknown, or the response's transformation cannot be undone.
    """
    scale = scale_of_fit(fit)
    if check_scale(on, scale, fit.design.response) == "link" or scale is None or scale.name == "identity":
        return None
    return scale
