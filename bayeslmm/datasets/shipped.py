"""The tables that travel with the package.

Origins in full: ``data/ORIGINS.md`` beside this file.

- ``dyestuff``: Davies and Goldsmith (1972). Yields of five preparations from each of six batches.
- ``sleepstudy``: Belenky et al. (2003). Reaction times of 18 subjects over ten days of little sleep.
- ``ratpup``: Pinheiro and Bates (2000); West, Welch and Gałecki (2007). Weights of pups in 27 litters.
- ``insteval``: student evaluations at ETH Zurich, from lme4 (Bates et al. 2015). 73,421 ratings.
- ``cbpp``: Lesnoff et al. (2004). New cases of pleuropneumonia in 15 herds of cattle.
- ``grouseticks``: Elston et al. (2001). Ticks on the heads of 403 red grouse chicks.
- ``verbagg``: De Boeck and Wilson (2004). 24 questions on verbal aggression, 316 persons.
"""

from pathlib import Path

import pandas as pd

from bayeslmm.errors import OptionError

_FOLDER = Path(__file__).parent / "data"

# Columns that are categories: the levels in order, or None for the values found, ascending.
_CATEGORIES: dict[str, dict[str, list[str] | None]] = {
    "cbpp": {"herd": None, "period": None},
    "dyestuff": {"Batch": None},
    "grouseticks": dict.fromkeys(("INDEX", "BROOD", "YEAR", "LOCATION")),
    "insteval": dict.fromkeys(("s", "d", "studage", "lectage", "service", "dept")),
    "ratpup": {"sex": ["Male", "Female"], "treatment": ["Control", "High", "Low"]},
    "sleepstudy": {"Subject": None},
    "verbagg": {
        "Gender": ["F", "M"],
        "item": None,
        "resp": ["no", "perhaps", "yes"],
        "id": None,
        "btype": ["curse", "scold", "shout"],
        "situ": ["other", "self"],
        "mode": ["want", "do"],
        "r2": ["N", "Y"],
    },
}
_FLOATS = {"insteval": ("y",)}

DATASET_NAMES: tuple[str, ...] = tuple(sorted(_CATEGORIES))


def load_dataset(name: str) -> pd.DataFrame:
    """Return a shipped data set as a new data frame.

    Parameters
    ----------
    name : {"cbpp", "dyestuff", "grouseticks", "insteval", "ratpup", "sleepstudy", "verbagg"}
        Which one.

        - ``cbpp``: 56 rows; ``herd`` and ``period`` (categories with integer labels), ``incidence``, the new
          cases among ``size`` animals.
        - ``dyestuff``: 30 rows; ``Batch`` (category A to F), ``Yield`` in grams of standard colour.
        - ``grouseticks``: 403 rows; ``INDEX`` (the chick), ``BROOD``, ``YEAR``, ``LOCATION``, categories with
          integer labels; ``TICKS``, the count; ``HEIGHT`` above the sea in m, and ``cHEIGHT``, centred.
        - ``insteval``: 73,421 rows; ``s`` (student), ``d`` (instructor), ``studage``, ``lectage``,
          ``service``, ``dept``, all categories with integer labels ascending; ``y``, the rating (1 to 5).
        - ``ratpup``: 322 rows; ``pup_id``, ``weight`` in g, ``sex`` (category Male, Female), ``litter``
          (integer), ``litsize``, ``treatment`` (category Control, High, Low).
        - ``sleepstudy``: 180 rows; ``Reaction`` in ms, ``Days``, ``Subject`` (category with integer labels).
        - ``verbagg``: 7,584 rows; ``Anger`` (trait), ``Gender`` (F, M), ``item``, ``id`` (person), ``btype``
          (curse, scold, shout), ``situ`` (other, self), ``mode`` (want, do); the answer in three grades,
          ``resp`` (no, perhaps, yes), and in two, ``r2`` (N, Y).

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
    Gałecki (2007); Bates et al. (2015); Lesnoff et al. (2004); Elston et al. (2001); De Boeck and Wilson
    (2004). Full references in ``bayeslmm/datasets/data/ORIGINS.md``.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> blm.load_dataset("sleepstudy").shape
    (180, 3)
    """
    if not isinstance(name, str) or name not in _CATEGORIES:
        raise OptionError(f"There is no data set {name!r}; the shipped ones are {', '.join(DATASET_NAMES)}.")
    frame = pd.read_csv(_FOLDER / f"{name}.csv.gz")
    for column, levels in _CATEGORIES[name].items():
        frame[column] = pd.Categorical(frame[column], categories=levels)
    for column in _FLOATS.get(name, ()):
        frame[column] = frame[column].astype("float64")
    return frame
