"""Datasets as NetCDF files hold them."""

from typing import TYPE_CHECKING

from bayeslmm.design.names import safe_name

if TYPE_CHECKING:
    import xarray


def storable(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """Return a dataset whose names hold no slash, which NetCDF reads as a path."""
    names = {str(name): safe_name(str(name)) for name in [*dataset.variables, *dataset.dims]}
    return dataset.rename({old: new for old, new in names.items() if old != new})
