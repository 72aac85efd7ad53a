"""A fair comparison of mixed-effects forests and mixed models on the rat pups: python benchmarks/forest_fairness.py.

The published analysis sets conditional predictions of MERF (with each litter's effect) against marginal predictions of
the linear models (without), and judges by one split. Here every model is judged by both kinds of prediction, in rows of
their own, over ten random 70/30 splits that keep the litters' proportions (seeds 0 to 9). The table is printed, and
saved in ``benchmarks/results/forest``.
"""

import logging
import warnings
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results" / "forest"
SPLITS = range(10)
TREATMENT, SEX = {"Control": 0, "Low": 1, "High": 2}, {"Female": 0, "Male": 1}
Predictions = dict[str, np.ndarray]


def rat_pups() -> pd.DataFrame:
    """Return the pups with treatment and sex as the numbers the published analysis gives MERF."""
    from bayeslmm import load_dataset

    data = load_dataset("ratpup")
    return pd.DataFrame(
        {
            "weight": data["weight"],
            "litsize": data["litsize"],
            "treatment": data["treatment"].map(TREATMENT).astype(int),
            "sex": data["sex"].map(SEX).astype(int),
            "litter": data["litter"],
        }
    )


def mixed_model(random: str) -> Callable[[pd.DataFrame, pd.DataFrame], Predictions]:
    """Return what fits a linear mixed model by REML and predicts."""

    def predict(train: pd.DataFrame, test: pd.DataFrame) -> Predictions:
        from bayeslmm import lmm

        fit = lmm(f"weight ~ litsize + C(treatment) + C(sex) + {random}", train, method="reml")
        return {kind: fit.predict(test, kind=kind).to_numpy() for kind in ("marginal", "conditional")}

    return predict


def forest(random: str, **options: object) -> Callable[[pd.DataFrame, pd.DataFrame], Predictions]:
    """Return what fits a mixed-effects forest with the published learner and predicts."""

    def predict(train: pd.DataFrame, test: pd.DataFrame) -> Predictions:
        from sklearn.ensemble import RandomForestRegressor

        from bayeslmm import MixedEffectsForest

        learner = RandomForestRegressor(n_estimators=30, n_jobs=1, random_state=37)
        model = MixedEffectsForest(random, learner, **options)  # type: ignore[arg-type]
        model.fit(train.drop(columns="weight"), train["weight"])
        return {kind: model.predict(test, kind=kind) for kind in ("marginal", "conditional")}

    return predict


MODELS = {
    "linear, (1 | litter)": mixed_model("(1 | litter)"),
    "linear, (sex | litter)": mixed_model("(sex | litter)"),
    "MERF as published, (0 + sex | litter)": forest("(0 + sex | litter)", residuals="inbag"),
    "MERF, (1 | litter)": forest("(1 | litter)", residuals="inbag"),
    "forest, cross-fitted, (1 | litter)": forest("(1 | litter)"),
    "forest, cross-fitted, (1 | litter), litsize and treatment linear": forest(
        "(1 | litter)", linear="1 + litsize + C(treatment)"
    ),
}


def compare(splits: Iterable[int] = SPLITS, models: Iterable[str] = tuple(MODELS)) -> pd.DataFrame:
    """Return test errors, one row per model and kind of prediction, means over the splits.

    Returns
    -------
    DataFrame indexed by model and prediction: rmse, mae, and the number of splits in which the rmse was the smallest of
    its kind of prediction.
    """
    from sklearn.model_selection import train_test_split

    data = rat_pups()
    records = []
    for seed in splits:
        train, test = train_test_split(data, test_size=0.30, random_state=seed, stratify=data["litter"])
        for name in models:
            for kind, values in MODELS[name](train, test).items():
                error = test["weight"].to_numpy() - values
                rmse, mae = float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error)))
                records.append((seed, name, kind, rmse, mae))
    table = pd.DataFrame(records, columns=["split", "model", "prediction", "rmse", "mae"])
    best = table.groupby(["split", "prediction"])["rmse"].transform("min")
    table["best"] = table["rmse"] == best
    grouped = table.groupby(["prediction", "model"], sort=False)
    return grouped.agg(rmse=("rmse", "mean"), mae=("mae", "mean"), best=("best", "sum"))


def markdown(table: pd.DataFrame) -> str:
    """Return the table, the best first within each kind of prediction."""
    lines = ["| prediction | model | test RMSE | MAE | best in |", "|---|---|---|---|---|"]
    for (kind, model), row in table.sort_values(["prediction", "rmse"]).iterrows():
        name = model.replace("|", "\\|")
        lines.append(f"| {kind} | {name} | {row['rmse']:.3f} | {row['mae']:.3f} | {row['best']:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table and save it."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    text = markdown(compare())
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"fairness-{date.today().isoformat()}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
