"""Posteriors of a model for many responses, one by one on the same structure, each told by its numbers alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import BayeslmmError
from bayeslmm.fitting import Fittable, run_method
from bayeslmm.inference.options import MOST_CORES, Options, check_count, resolve_seed
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.results.comparison import estimates
from bayeslmm.results.many_responses import read_responses
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.spec import ModelSpec
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.design.checks import Finding
    from bayeslmm.priors.model_priors import ModelPriors

SPREAD = {"std_error": "sd", "lower": "lower", "upper": "upper"}  # the frame's words for columns of `estimates`
PIECE = 25  # responses that a worker takes at once


@dataclass(frozen=True)
class ResponseModel:
    """A model of another response: the same columns, effects and stated priors.

    Default priors follow the scale of the response, so each has its own.
    """

    design: Design
    posterior_design: Design
    spec: ModelSpec
    kernel: Kernel
    resolved_priors: "ModelPriors"
    findings: "list[Finding]"
    family: None = None

    @property
    def products_kernel(self) -> Kernel:
        """The likelihood."""
        return self.kernel


@dataclass(frozen=True)
class ResponseModels:
    """What makes the model of a response from its values.

    Attributes
    ----------
    model
        The model of the first response.
    structure
        Its cross-products of X and Z.
    priors_of
        The priors of a design.
    """

    model: Fittable
    structure: KernelStructure
    priors_of: "Callable[[Design], ModelPriors]"

    @classmethod
    def of(cls, model: Fittable, priors_of: "Callable[[Design], ModelPriors]") -> "ResponseModels":
        """Take the structure from a model."""
        design = model.design
        return cls(model, KernelStructure.of(model.kernel, design.X, design.terms, design.weights), priors_of)

    def at(self, y: Array) -> ResponseModel:
        """Return the model of a response, shape (n,)."""
        model = self.model
        whole, offset = replace(model.posterior_design, y=y), model.design.offset
        kernel = self.structure.at(y if offset is None else y - offset)
        return ResponseModel(
            replace(model.design, y=y), whole, model.spec, kernel, self.priors_of(whole), model.findings
        )


def sample_many(models: ResponseModels, Y: Any, draws: int, seed: Any, cores: int | None) -> pd.DataFrame:
    """Sample the posterior of every column of Y by importance sampling; see :meth:`Model.fit_many`.

    The draws of a response depend on the seed and its place in Y, not on the other responses or the workers.
    """
    cores = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    values, names = read_responses(models.model.design, Y)
    options = Options(draws=draws, chains=1, seed=resolve_seed(seed), store=(), handover="keep")
    starts = range(0, values.shape[1], PIECE)
    pieces = [(values[:, start : start + PIECE], start) for start in starts]
    if cores == 1:
        found = [_sample_columns(models, piece, start, options) for piece, start in pieces]
    else:
        from joblib import Parallel, delayed

        sample = delayed(_sample_columns)
        found = Parallel(n_jobs=cores)(sample(models, piece, start, options) for piece, start in pieces)
    rows = [row for block in found for row in block]
    columns = max(rows, key=len, default={}).keys()
    return pd.DataFrame(rows, index=names, columns=list(columns))


def _sample_columns(models: ResponseModels, Y: Array, start: int, options: Options) -> list[dict[str, Any]]:
    seeds = [np.random.SeedSequence([options.seed, start + k]) for k in range(Y.shape[1])]
    return [
        _sample(models, Y[:, k], replace(options, seed=int(seed.generate_state(1)[0]))) for k, seed in enumerate(seeds)
    ]


def _sample(models: ResponseModels, y: Array, options: Options) -> dict[str, Any]:
    """Return the numbers of a response's posterior by column; the status alone where it could not be sampled."""
    try:
        if np.ptp(y) == 0:
            return {"status": "failed"}
        fit = cast(PosteriorFit, run_method(models.at(y), "importance", options))
    except BayeslmmError:
        return {"status": "failed"}
    table = estimates(fit)
    row = dict(table["mean"])
    for word, column in SPREAD.items():
        row |= {f"{word}[{name}]": value for name, value in table[column].items()}
    return row | {"log_evidence": fit.info["log_evidence"], "status": fit.status.code}
