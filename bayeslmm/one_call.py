"""A model built and fitted in one call."""

import inspect
from typing import TYPE_CHECKING, Any, overload

from bayeslmm.errors import OptionError
from bayeslmm.methods import find_method
from bayeslmm.model import Model
from bayeslmm.types import EstimatingMethod, Method, SamplingMethod

if TYPE_CHECKING:
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit


@overload
def lmm(formula: str, data: Any, method: EstimatingMethod = "reml", **options: Any) -> "PointFit": ...


@overload
def lmm(formula: str, data: Any, method: SamplingMethod, **options: Any) -> "PosteriorFit": ...


def lmm(formula: str, data: Any, method: Method = "reml", **options: Any) -> "PointFit | PosteriorFit":
    """Build a model and fit it in one call.

    Parameters
    ----------
    formula, data
        As for :class:`Model`.
    method
        "reml" (the default, as in lme4's ``lmer``), "ml" or "nuts".
    **options
        Arguments of :class:`Model` and of :meth:`Model.fit`.

    Returns
    -------
    PointFit or PosteriorFit

    Raises
    ------
    OptionError
        If an option belongs to neither.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> fit = blm.lmm("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    >>> round(float(fit.fixef()["Days"]), 2)
    10.47
    """
    for_model = [
        name for name in inspect.signature(Model.__init__).parameters if name not in ("self", "formula", "data")
    ]
    for_fit = [name for name in inspect.signature(Model.fit).parameters if name not in ("self", "method")]
    for name in options:
        if name not in (*for_model, *for_fit):
            raise OptionError(f"There is no option {name!r}; the options are {', '.join([*for_model, *for_fit])}.")
    find_method(method)
    model = Model(formula, data, **{name: options[name] for name in for_model if name in options})
    return model.fit(method, **{name: options[name] for name in for_fit if name in options})
