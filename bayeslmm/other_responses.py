"""Posteriors of a model for many responses, one by one on the same structure, each told by its numbers alone."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import BayeslmmError
from bayeslmm.fitting import Fittable, run_method
from bayeslmm.inference.options import MOST_CORES, Options, check_count, resolve_seed
from bayeslmm.inference.workers import in_workers
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.resolving import priors_of
from bayeslmm.results.comparison import estimates
from bayeslmm.results.many_family_responses import read_family_responses
from bayeslmm.results.many_responses import read_responses
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.spec import ModelSpec

if TYPE_CHECKING:
    from bayeslmm.design.checks import Finding
    from bayeslmm.families import Family
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
    family: "Family | None"
    resolved_priors: "ModelPriors"
    findings: "list[Finding]"
    normal_kernel: Kernel | None = None

    @property
    def kernel(self) -> Kernel:
        """The likelihood of normal responses."""
        return cast(Kernel, self.normal_kernel)

    @property
    def products_kernel(self) -> Kernel:
        """The likelihood of normal responses."""
        return self.kernel


@dataclass(frozen=True)
class ResponseModels:
    """What makes the model of a response from its values.

    Attributes
    ----------
    model
        The model of the first response.
    structure
        The cross-products of X and Z, of normal responses.
    """

    model: Fittable
    structure: KernelStructure | None

    @classmethod
    def of(cls, model: Fittable) -> "ResponseModels":
        """Take the structure from a model."""
        if model.family is not None:
            return cls(model, None)
        design = model.design
        return cls(model, KernelStructure.of(model.kernel, design.X, design.terms, design.weights))

    def read(self, Y: Any) -> tuple[list[Any], pd.Index]:
        """Return the responses, each as `at` takes it, and their names."""
        if self.model.family is None:
            values, names = read_responses(self.model.design, Y)
            return list(values.T), names
        return read_family_responses(self.model.design, self.model.family, Y)

    def at(self, response: Any) -> ResponseModel:
        """Return the model of a response: numbers (n,), or as the family read them."""
        model, offset = self.model, self.model.design.offset
        if self.structure is None:
            own: dict[str, Any] = {"y": response.y, "outcome": response}
            kernel = None
        else:
            own = {"y": response}
            kernel = self.structure.at(response if offset is None else response - offset)
        whole = replace(model.posterior_design, **own)
        design, priors = replace(model.design, **own), priors_of(whole, model.spec, model.family)
        return ResponseModel(design, whole, model.spec, model.family, priors, model.findings, kernel)


def sample_many(models: ResponseModels, Y: Any, draws: int, seed: Any, cores: int | None) -> pd.DataFrame:
    """Sample the posterior of every column of Y by importance sampling; see :meth:`Model.fit_many`.

    The draws of a response depend on the seed and its place in Y, not on the other responses or the workers.
    """
    cores = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    responses, names = models.read(Y)
    options = Options(draws=draws, chains=1, seed=resolve_seed(seed), store=(), handover="keep")
    pieces = [(responses[start : start + PIECE], start) for start in range(0, len(responses), PIECE)]
    rows = [row for block in in_workers(partial(_sample_columns, models, options), pieces, cores) for row in block]
    columns = max(rows, key=len, default={}).keys()
    return pd.DataFrame(rows, index=names, columns=list(columns))


def _sample_columns(models: ResponseModels, options: Options, piece: tuple[list[Any], int]) -> list[dict[str, Any]]:
    """Sample some responses, the first of which has this place in Y."""
    responses, start = piece
    seeds = [np.random.SeedSequence([options.seed, start + k]).generate_state(1)[0] for k in range(len(responses))]
    return [
        _sample(models, response, replace(options, seed=int(seed)))
        for response, seed in zip(responses, seeds, strict=True)
    ]


def _sample(models: ResponseModels, response: Any, options: Options) -> dict[str, Any]:
    """Return the numbers of a response's posterior by column; the status alone where it could not be sampled."""
    try:
        if models.structure is not None and np.ptp(response) == 0:
            return {"status": "failed"}
        fit = cast(PosteriorFit, run_method(models.at(response), "importance", options))
    except BayeslmmError:
        return {"status": "failed"}
    table = estimates(fit)
    row = dict(table["mean"])
    for word, column in SPREAD.items():
        row |= {f"{word}[{name}]": value for name, value in table[column].items()}
    return row | {"log_evidence": fit.info["log_evidence"], "status": fit.status.code}
