"""The tables that travel with the package.

Origins in full: ``data/ORIGINS.md`` beside this file.

- ``dyestuff``: Davies and Goldsmith (1972). Yields of five preparations from each of six batches.
- ``sleepstudy``: Belenky et al. (2003). Reaction times of 18 subjects over ten days of little sleep.
- ``ratpup``: Pinheiro and Bates (2000); West, Welch and Gałecki (2007). Weights of pups in 27 litters.
- ``insteval``: student evaluations at ETH Zurich, from lme4 (Bates et al. 2015). 73,421 ratings.
"""

from pathlib import Path

import pandas as pd

from bayeslmm.errors import OptionError

_FOLDER = Path(__file__).parent / "data"

# Columns that are categories: the levels in order, or None for the values found, ascending.
_CATEGORIES: dict[str, dict[str, list[str] | None]] = {
    "dyestuff": {"Batch": None},
    "insteval": dict.fromkeys(("s", "d", "studage", "lectage", "service", "dept")),
    "ratpup": {"sex": ["Male", "Female"], "treatment": ["Control", "High", "Low"]},
    "sleepstudy": {"Subject": None},
}
_FLOATS = {"insteval": ("y",)}

DATASET_NAMES: tuple[str, ...] = tuple(sorted(_CATEGORIES))


def load_dataset(name: str) -> pd.DataFrame:
    """Return a shipped data set as a new data frame.

    Parameters
    ----------
    name : {"dyestuff", "insteval", "ratpup", "sleepstudy"}
        Which one.

        - ``dyestuff``: 30 rows; ``Batch`` (category A to F), ``Yield`` in grams of standard colour.
        - ``insteval``: 73,421 rows; ``s`` (student), ``d`` (instructor), ``studage``, ``lectage``,
          ``service``, ``dept``, all categories with integer labels ascending; ``y``, the rating (1 to 5).
        - ``ratpup``: 322 rows; ``pup_id``, ``weight`` in g, ``sex`` (category Male, Female), ``litter``
          (integer), ``litsize``, ``treatment`` (category Control, High, Low).
        - ``sleepstudy``: 180 rows; ``Reaction`` in ms, ``Days``, ``Subject`` (category with integer labels).

    Returns
    -------
    pandas.DataFrame
        A copy of the caller's own: changing it changes nothing else. No category is ordered.

    Raises
    ------
    OptionError
        If no data set has this name.

    Notes
    -----
    Sources: Davies and Goldsmith (1972); Belenky et al. (2003); Pinheiro and Bates (2000) and West, Welch and
    Gałecki (2007); Bates et al. (2015). Full references in ``bayeslmm/datasets/data/ORIGINS.md``.
    """
    if not isinstance(name, str) or name not in _CATEGORIES:
        raise OptionError(f"There is no data set {name!r}; the shipped ones are {', '.join(DATASET_NAMES)}.")
    frame = pd.read_csv(_FOLDER / f"{name}.csv.gz")
    for column, levels in _CATEGORIES[name].items():
        frame[column] = pd.Categorical(frame[column], categories=levels)
    for column in _FLOATS.get(name, ()):
        frame[column] = frame[column].astype("float64")
    return frame
