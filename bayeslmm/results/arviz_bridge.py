"""The only module that calls arviz, so that a change of its interface is met in one place."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray
    from arviz import ELPDData, InferenceData
    from pandas import DataFrame


def inference_data(groups: Mapping[str, "xarray.Dataset"]) -> "InferenceData":
    """Return datasets as one InferenceData, a group each."""
    from arviz import InferenceData

    return InferenceData(**groups)


def add_group(idata: "InferenceData", name: str, dataset: "xarray.Dataset") -> None:
    """Put a group into an InferenceData, in place of one of the same name."""
    if name in idata.groups():
        delattr(idata, name)
    idata.add_groups({name: dataset})


def elpd_data(facts: Mapping[str, Any], pointwise: Mapping[str, "xarray.DataArray"]) -> "ELPDData":
    """Return leave-one-out results in arviz's container, whose print takes its first entries in this order.

    Parameters
    ----------
    facts
        elpd_loo, se, p_loo, n_samples, n_data_points, warning, scale, good_k, and whatever else there is to keep.
    pointwise
        loo_i and pareto_k, and further values of each unit.
    """
    from arviz import ELPDData

    first = ("elpd_loo", "se", "p_loo", "n_samples", "n_data_points", "warning")
    last = ("scale", "good_k")
    entries = {name: facts[name] for name in first} | {name: pointwise[name] for name in ("loo_i", "pareto_k")}
    entries |= {name: facts[name] for name in last}
    entries |= {name: value for name, value in (*pointwise.items(), *facts.items()) if name not in entries}
    return ELPDData(data=list(entries.values()), index=list(entries))


def compare_elpd(results: Mapping[str, "ELPDData"], method: str) -> "DataFrame":
    """Return arviz's comparison of leave-one-out results, best first."""
    from arviz import compare

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The inplace keyword")  # of pandas, about arviz's own code
        return compare(dict(results), ic="loo", method=method, scale="log")
