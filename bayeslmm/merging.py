"""Models of rows whose sums were made elsewhere, read from files or added up."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.arguments import check_sigma
from bayeslmm.errors import OptionError, checked_path
from bayeslmm.model import Model
from bayeslmm.results.spec import ModelSpec

if TYPE_CHECKING:
    from bayeslmm.streams.deciding import Streamed


def model_of_sums(streamed: "Streamed", priors: Any, sigma: float | None) -> Model:
    """Return the model of rows whose sums are given, read from files or added up."""
    from bayeslmm.streams import decide

    check_sigma(sigma, None)
    model = Model.__new__(Model)
    model._family, model._design = None, decide(streamed)
    plan = streamed.learned.plan
    model._spec = ModelSpec(
        formula=plan.formula.text,
        family="gaussian",
        link="identity",
        weights=plan.weights_column,
        offset=plan.offset_column,
        sigma=None if sigma is None else float(sigma),
        missing=plan.missing,
        priors=dict(priors) if isinstance(priors, Mapping) else priors,
        functions=dict(plan.functions),
    )
    if priors is not None:
        _ = model.resolved_priors
    return model


def merge(
    sums: "Sequence[str | Path | Model]",
    *,
    priors: Any = None,
    sigma: float | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> Model:
    """Return the model of all rows whose sums were saved, perhaps on different machines.

    Parameters
    ----------
    sums
        Files of ``model.save_sums``, or models whose rows streamed.
    priors, sigma
        As for :class:`Model`; sums hold none.
    functions
        Functions of your own that the formula uses.

    Raises
    ------
    ModelError
        If formulas, weights, levels of fixed factors or constants of transforms differ.
    StorageError
        If a file is no file of sums, or is damaged.

    Examples
    --------
    >>> import tempfile, bayeslmm as blm
    >>> sleep = blm.load_dataset("sleepstudy").astype({"Subject": int})
    >>> halves = [sleep[sleep.Subject < 340], sleep[sleep.Subject >= 340]]
    >>> models = [blm.Model("Reaction ~ Days + (1 | Subject)", half, chunk_rows=50) for half in halves]
    >>> blm.merge(models).design.n
    180
    """
    from bayeslmm.design.streamed import StreamedDesign
    from bayeslmm.streams.merging import merge_sums
    from bayeslmm.streams.storage import read_sums

    if not isinstance(sums, list | tuple) or not sums:
        raise OptionError(f"sums={sums!r}: merge takes a list of files of sums, or of models, with at least one.")
    pieces = []
    for item in sums:
        if not isinstance(item, Model):
            pieces.append(read_sums(checked_path("sums", item), functions))
        elif isinstance(item.design, StreamedDesign):
            pieces.append(item.design.sums)
        else:
            raise OptionError("A model to be merged must have streamed: build it with chunk_rows=.")
    return model_of_sums(merge_sums(pieces), priors, sigma)
