"""The types that every room writes in its annotations: arrays, and words that options take."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]  # numbers
Codes = NDArray[np.int32]  # the level of each row, counted from zero

Missing = Literal["drop", "error"]  # what happens to rows with missing values
Method = Literal["nuts", "importance", "advi", "map", "reml", "ml"]
Criterion = Literal["ml", "reml"]
Sampler = Literal["nutpie", "nutpie-pymc", "pymc"]
Parametrization = Literal["marginal", "noncentered", "centered"]
Precision = Literal["float64", "float32"]
