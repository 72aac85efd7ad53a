"""Answers of 316 persons to 24 items, crossed: yes or no, with a slope by person, and in three grades, by ML."""

from dataclasses import dataclass

import pandas as pd

from bayeslmm.datasets import load_dataset
from benchmarks.peers import Problem
from benchmarks.row import FitRow, Outcome, Settings

RIGHT = "Anger + Gender + btype + situ"
PERSONS_IN_QUICK = 60
CATEGORIES = ("Gender", "btype", "situ", "id", "item")
CASES = {
    "`(1|id) + (1|item)`": (f"y ~ {RIGHT} + (1 | id) + (1 | item)", {"glmer": 10.0, "glmmTMB": 5.0, "mixedlm": 3.0}),
    "`(1 + situ|id) + (1|item)`": (f"y ~ {RIGHT} + (1 + situ | id) + (1 | item)", {"glmer": 20.0}),
    "three grades": (f"resp ~ {RIGHT} + (1 | id) + (1 | item)", {"clmm": 20.0}),
}


def answers(quick: bool) -> pd.DataFrame:
    """Return the answers, y being whether it was yes."""
    data = load_dataset("verbagg")
    if quick:
        data = data[data["id"].isin(data["id"].unique()[:PERSONS_IN_QUICK])]
    return data.assign(y=(data["r2"] == "Y").astype(int))[["y", "resp", "Anger", *CATEGORIES]]


@dataclass(frozen=True)
class VerbalAggression:
    name: str = "verbagg, ML"

    def run(self, settings: Settings) -> list[Outcome]:
        data, outcomes = answers(settings.quick), []
        for label, (formula, bars) in CASES.items():
            grades = formula.startswith("resp")
            categories = (*CATEGORIES, "resp") if grades else CATEGORIES
            problem = Problem(data, formula, "ml", categories, "cumulative" if grades else "bernoulli")
            row = FitRow(f"{self.name}, {label}", lambda _, problem=problem: {"": problem}, bars)
            outcomes += row.run(settings)
        return outcomes


ROW = VerbalAggression()
