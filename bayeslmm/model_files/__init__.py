"""Model files: a formula, its data and the methods to fit, written down in TOML.

::

    formula = "Reaction ~ 1 + Days + (1 + Days | Subject)"
    data = "sleepstudy"             # a shipped data set, or a CSV or Parquet file beside this one, or a folder
    chunk_rows = 100_000            # read rows in batches of so many and keep none; a folder is read so in any case
    family = "poisson"              # of the response; left out, normal
    link = "log"                    # left out, the family's first
    methods = ["reml", "nuts"]      # the default; with a family ["ml", "nuts"]
    missing = "drop"                # or "error"
    weights = "w"                   # a column

    [categories]                    # a column's levels in order; the first is the base
    treatment = ["Control", "High", "Low"]

    [priors]
    Intercept = "Normal(250, 100)"

    [csv]                           # how a CSV file is written, where not with commas and points
    separator = ";"
    decimal = ","

    [nuts]                          # draws, chains and seed are those of "importance", "hmc" and "advi", too
    draws = 1000
    tune = 1000
    chains = 4
    seed = 1
"""

from bayeslmm.model_files.checks import check_csv, check_methods, check_rows
from bayeslmm.model_files.data import read_data
from bayeslmm.model_files.model_file import DEFAULT_METHODS, GENERALIZED_METHODS, ModelFile
from bayeslmm.model_files.reading import read_model_file

__all__ = [
    "DEFAULT_METHODS",
    "GENERALIZED_METHODS",
    "ModelFile",
    "check_csv",
    "check_methods",
    "check_rows",
    "read_data",
    "read_model_file",
]
