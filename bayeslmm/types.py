"""The array types that every room writes in its annotations."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]  # numbers
Codes = NDArray[np.int32]  # the level of each row, counted from zero
