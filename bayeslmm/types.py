"""The types that every room writes in its annotations: arrays, and words that options take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]  # numbers
Floats = NDArray[np.floating]  # numbers in double or single precision, as draws may be kept
Codes = NDArray[np.int32]  # the level of each row, counted from zero
AnyArray = NDArray[Any]  # of any kind
Index = NDArray[np.int64]  # positions

Missing = Literal["drop", "error"]  # what happens to rows with missing values
SamplingMethod = Literal["nuts", "importance", "hmc", "advi"]
EstimatingMethod = Literal["map", "reml", "ml"]
Method = Literal["nuts", "importance", "hmc", "advi", "map", "reml", "ml"]
Criterion = Literal["ml", "reml"]
Ddf = Literal["satterthwaite", "kenward-roger", "residual", "normal"]  # how degrees of freedom are found
Sampler = Literal["nutpie", "nutpie-pymc", "pymc"]
Parametrization = Literal["marginal", "noncentered", "centered"]
Precision = Literal["float64", "float32"]
Handover = Literal["nuts", "error", "keep"]  # what happens where importance weights are in trouble
Solver = Literal["auto", "exact", "iterative"]  # how the equations of crossed effects are solved
DeviceWord = Literal["cpu", "cuda", "auto"]  # where batches of dense matrices are computed


class EstimateOptions(TypedDict, total=False):
    """Options of `Model.fit` where it returns an estimate."""

    progressbar: bool | None
    strict: bool
    n_quad: int
    solver: Solver


class DrawOptions(EstimateOptions, total=False):
    """Options of `Model.fit` where it returns draws."""

    draws: int
    tune: int
    chains: int
    cores: int | None
    seed: int | None
    target_accept: float
    sampler: Sampler
    parametrization: Parametrization | None
    precision: Precision
    resume: str | Path | None
    store: Sequence[str] | Literal["summary"] | None
    quantiles: Sequence[float]
    full_rank: bool
    iterations: int
    handover: Handover
    device: DeviceWord
