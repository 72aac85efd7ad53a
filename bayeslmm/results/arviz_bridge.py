"""The only module that calls arviz, so that a change of its interface is met in one place."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray
    from arviz import InferenceData


def inference_data(groups: Mapping[str, "xarray.Dataset"]) -> "InferenceData":
    """Return datasets as one InferenceData, a group each."""
    from arviz import InferenceData

    return InferenceData(**groups)


def add_group(idata: "InferenceData", name: str, dataset: "xarray.Dataset") -> None:
    """Put a group into an InferenceData, in place of one of the same name."""
    if name in idata.groups():
        delattr(idata, name)
    idata.add_groups({name: dataset})
