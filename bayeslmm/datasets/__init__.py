"""Data sets."""

from bayeslmm.datasets.shipped import DATASET_NAMES, load_dataset

__all__ = ["DATASET_NAMES", "load_dataset"]
