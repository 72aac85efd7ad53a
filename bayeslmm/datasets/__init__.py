"""Data sets."""

from bayeslmm.datasets.shipped import DATASET_NAMES, load_dataset
from bayeslmm.datasets.tables import ENDINGS_SAID, is_table, read_table

__all__ = ["DATASET_NAMES", "ENDINGS_SAID", "is_table", "load_dataset", "read_table"]
