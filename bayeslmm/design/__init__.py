"""Formula and data as arrays: response, fixed columns, random terms as codes and columns."""

from bayeslmm.design.build import build_design, check_functions
from bayeslmm.design.centring import Centring
from bayeslmm.design.checks import Finding, generalized_identifiability, identifiability
from bayeslmm.design.design import Design, NewRows, RandomTerm
from bayeslmm.design.new_data import new_rows
from bayeslmm.design.table import dotted_names

__all__ = [
    "Centring",
    "Design",
    "Finding",
    "NewRows",
    "RandomTerm",
    "build_design",
    "check_functions",
    "dotted_names",
    "generalized_identifiability",
    "identifiability",
    "new_rows",
]
