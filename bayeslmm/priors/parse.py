"""Priors from text such as ``"Normal(0, 10)"`` and from objects that look like ``bambi.Prior``."""

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayeslmm.errors import PriorError, suggest
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.positive import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma
from bayeslmm.priors.prior import Distribution
from bayeslmm.priors.real_line import Cauchy, Flat, Laplace, Logistic, Normal, StudentT, Uniform

FAMILIES: dict[str, type[Distribution]] = {
    family.__name__: family
    for family in (
        Normal, StudentT, Cauchy, Laplace, Logistic, Uniform, HalfNormal, HalfStudentT, HalfCauchy, Exponential,
        Gamma, InverseGamma, LKJ, Flat,
    )
}  # fmt: skip

LONGEST_TEXT = 200  # characters; more than any prior needs, far less than would trouble the parser


def as_prior(value: Any, where: str) -> Distribution:
    """Return the prior that `value` states.

    Parameters
    ----------
    value
        A prior object, text such as ``"Normal(0, 10)"``, or an object with ``name`` and ``args`` as
        ``bambi.Prior`` has.
    where
        The parameter it is for, named in errors.

    Raises
    ------
    PriorError
        When the value is none of these, the family is unknown or its parameters are impossible.
    """
    try:
        if isinstance(value, Distribution):
            return value
        if isinstance(value, str):
            return parse_prior(value)
        if isinstance(getattr(value, "name", None), str) and isinstance(getattr(value, "args", None), Mapping):
            return _from_attributes(value.name, value.args)
    except PriorError as error:
        raise PriorError(f"Prior of {where!r}: {error}") from error
    raise PriorError(
        f"Prior of {where!r}: got {value!r} of type {type(value).__name__}; "
        f'give a prior object, text such as "Normal(0, 10)", or a bambi.Prior.'
    )


def parse_prior(text: str) -> Distribution:
    """Return the prior written as a call with numbers, ``"Normal(0, 10)"`` or ``"Normal(mu=0, sigma=10)"``.

    The text is parsed, never evaluated: a family's name, numbers and parameter names are all that passes.

    Raises
    ------
    PriorError
        When the text is anything else.
    """
    if len(text) > LONGEST_TEXT:
        raise PriorError(f"The text of a prior has at most {LONGEST_TEXT} characters, this one has {len(text)}.")
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PriorError(f'{text!r} is not a prior; write it as "Normal(0, 10)".') from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise PriorError(f'{text!r} is not a prior; write it as "Normal(0, 10)".')
    if any(keyword.arg is None for keyword in call.keywords):
        raise PriorError(f'{text!r} is not a prior; write it as "Normal(0, 10)".')
    names = [str(keyword.arg) for keyword in call.keywords]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise PriorError(f"{text!r} gives {', '.join(repeated)} more than once: state each parameter one time.")
    values = [_number(node, text) for node in call.args]
    named = {str(keyword.arg): _number(keyword.value, text) for keyword in call.keywords}
    return _build(call.func.id, values, named)


def _number(node: ast.expr, text: str) -> float:
    sign = 1.0
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -sign if isinstance(node.op, ast.USub) else sign
        node = node.operand
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        raise PriorError(f"{text!r}: parameters of a prior are plain numbers, found {ast.unparse(node)!r}.")
    try:
        return sign * float(node.value)  # type: ignore[arg-type]
    except OverflowError as error:
        raise PriorError(f"{text!r}: a parameter is too large.") from error


def _build(name: str, values: list[float], named: Mapping[str, Any]) -> Distribution:
    family = FAMILIES.get(name)
    if family is None:
        raise PriorError(f"Unknown prior {name!r}{_did_you_mean(name)}; known are {', '.join(FAMILIES)}.")
    allowed = family.parameter_names()
    takes = f"{name} takes ({', '.join(allowed)})" if allowed else f"{name} takes no parameters"
    if unknown := [key for key in named if key not in allowed]:
        raise PriorError(f"{takes}; there is no {', '.join(map(repr, unknown))}.")
    if len(values) > len(allowed):
        raise PriorError(f"{takes}; {len(values)} {'value was' if len(values) == 1 else 'values were'} given.")
    if twice := [key for key in allowed[: len(values)] if key in named]:
        raise PriorError(f"{takes}; {', '.join(twice)} was given both by position and by name: state it one time.")
    given = {**dict(zip(allowed, values, strict=False)), **named}
    if absent := [key for key in family.required_parameters() if key not in given]:
        raise PriorError(f"{takes}; {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.")
    return family(**given)


def _did_you_mean(name: str) -> str:
    close = suggest(name, FAMILIES)
    return f" (did you mean {close[0]}?)" if close else ""


def _from_attributes(name: str, args: Mapping[str, Any]) -> Distribution:
    inner = args.get("sigma")
    if name == "Normal" and isinstance(getattr(inner, "name", None), str) and hasattr(inner, "args"):
        # bambi states the prior of an sd as the sigma of a Normal for the effects themselves
        if np.any(np.asarray(args.get("mu", 0.0), float) != 0):
            raise PriorError("Random effects have mean zero; leave mu of the outer Normal at 0.")
        return _from_attributes(inner.name, inner.args)  # type: ignore[union-attr]
    if name == "HalfFlat":
        return Flat()
    return _build(name, [], {key: _scalar(value, f"{name}: {key}") for key, value in args.items()})


def _scalar(value: Any, what: str) -> float:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise PriorError(f"{what} must be a number, got {value!r}.") from error
    if array.size != 1:
        raise PriorError(f"{what} must be one number, got {array.size}; name the effects one by one.")
    return float(array.reshape(()))
