"""What the status of a maximum of a generalized likelihood says."""

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.inference.optimum.generalized.at_infinity import diverging_zero_columns, parameters_at_limits
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum


def is_endless(found: GeneralizedMaximum) -> bool:
    """Whether coefficients, of the mean or of the share of zeros, run to infinity."""
    return bool(found.diverging or _endless_zeros(found))


def maximum_message(design: Design, found: GeneralizedMaximum, notes: tuple[str, ...]) -> str:
    """Return how the search ended, what has no finite estimate, and what else there is to note."""
    said = {
        "converged": f"Converged: the scaled gradient is {found.gradient_norm:.1e}.",
        "boundary": (
            "Converged on the boundary: the covariance of a random term is singular (a variance of zero or a "
            "correlation of one), so the data support fewer random effects than the formula has."
        ),
        "failed": (
            f"The search stopped with a scaled gradient of {found.gradient_norm:.1e}: do not trust these estimates. "
            "Simplify the random effects or rescale the columns."
        ),
    }[found.status]
    limits = _limits(found)
    if not found.diverging:
        return " ".join([said, *limits, *notes])
    return " ".join([_no_maximum(design, found), *([] if found.status == "converged" else [said]), *limits, *notes])


def _endless_zeros(found: GeneralizedMaximum) -> list[str]:
    """Return the names of the coefficients of the share of zeros that run to infinity."""
    places = diverging_zero_columns(found.objective.problem, found.solution.evaluation)
    named = [parameter.name for parameter in found.family.parameters if parameter.name.startswith("zero[")]
    return [named[j] for j in places] if named else []


def _limits(found: GeneralizedMaximum) -> list[str]:
    """Say which parameters beside the coefficients of the mean run to a limit."""
    parameters, solution, said = found.family.parameters, found.solution, []
    endless = _endless_zeros(found)
    if endless:
        said.append(
            f"The likelihood has no maximum in {', '.join(endless)}: the columns of zero= separate the zeros "
            "completely, and these estimates mean nothing. Leave some out, join levels, or state a prior and sample "
            "the posterior."
        )
    if found.diverging:  # the mean runs to a limit, where dispersions mean nothing
        return said
    for j in parameters_at_limits(found.objective, solution.parameters, solution.evaluation):
        rising = solution.parameters.free[j] > 0
        limit = "infinity" if parameters[j].transform == "log" and rising else f"{int(rising)}"
        said.append(
            f"The estimate of {parameters[j].name} is {limit}: these data do not ask for it, and the family "
            "without it fits them as well."
        )
    return said


def _no_maximum(design: Design, found: GeneralizedMaximum) -> str:
    """Say which coefficients run to infinity, and why."""
    names = [design.fixed_names[j] for j in found.diverging]
    one = len(names) == 1
    response = found.objective.problem.response
    levels = np.unique(response.y / response.size if len(response.size) else response.y)
    if len(levels) == 1:
        why = "all responses are the same"
    else:
        why = "the column separates" if one else "the columns separate"
        why += " the responses completely"
    theirs = "its coefficient and standard error mean" if one else "their coefficients and standard errors mean"
    remedy = (
        "" if len(levels) == 1 else ("Leave it out, join levels, or " if one else "Leave some out, join levels, or ")
    )
    ask = f"{remedy}state a prior and sample the posterior."
    return (
        f"The likelihood has no maximum in {', '.join(names)}: {why}, and {theirs} nothing. {ask[0].upper()}{ask[1:]}"
    )
