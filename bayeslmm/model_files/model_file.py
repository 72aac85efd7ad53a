"""What a model file says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bayeslmm.types import Missing

DEFAULT_METHODS: tuple[str, ...] = ("reml", "nuts")
GENERALIZED_METHODS: tuple[str, ...] = ("ml", "nuts")  # the default where the response is not normal

Level = str | int | float | bool


@dataclass(frozen=True)
class ModelFile:
    """A model file that has been read and checked, apart from the formula and the priors' texts.

    Attributes
    ----------
    path : pathlib.Path
        Where it was read.
    formula : str
        The model, in lme4's notation.
    data : str
        A shipped data set's name, or the path, relative to the model file, of a CSV or Parquet file or of a folder of
        Parquet files.
    family : str
        The distribution of the response.
    link : str or None
        The link of its mean; None for the family's first.
    methods : tuple of str
        The methods to fit, in order, each once.
    categories : mapping
        Column name to its levels in order, the base level first.
    weights : str or None
        The column of the observations' weights.
    missing : {"drop", "error"}
        What to do with rows that lack a value.
    priors : mapping or str or None
        Parameter name to the text of its prior, or the name of a preset; None for the default priors.
    nuts : mapping
        Those of ``draws``, ``tune``, ``chains`` and ``seed`` that the file sets; every method that samples takes
        those it knows.
    csv : mapping
        ``separator`` and ``decimal`` of a CSV file, those of them that the file states.
    chunk_rows : int or None
        Rows of a batch, where rows are read in batches and not kept.
    zero : str or None
        The formula of the share of zeros, ``"~ x"``.
    """

    path: Path
    formula: str
    data: str
    family: str = "gaussian"
    link: str | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    categories: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    weights: str | None = None
    missing: Missing = "drop"
    priors: Mapping[str, str] | str | None = None
    nuts: Mapping[str, int] = field(default_factory=dict)
    csv: Mapping[str, str] = field(default_factory=dict)
    chunk_rows: int | None = None
    zero: str | None = None
