"""Saved forests: the same predictions, no pickle, and files that do not fit are refused."""

import importlib.util
import json

import numpy as np
import pytest
from lightgbm import LGBMRegressor
from sklearn.linear_model import Ridge

from bayeslmm import MissingDependencyError, StorageError, load, load_dataset, mixed_forest
from bayeslmm.forest import load_forest
from bayeslmm.forest.store.learners import SkopsWarning

pytestmark = pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")

HAS_SKOPS = importlib.util.find_spec("skops") is not None
HAS_XGBOOST = importlib.util.find_spec("xgboost") is not None
FORMULA = "weight ~ litsize + treatment + sex + (sex | litter)"


def small_learner(**options):
    return LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=8, **options)


def assert_same(first, second, data):
    new = data.head(12).assign(litter=[1] * 6 + [99] * 6)
    np.testing.assert_array_equal(first.predict(new), second.predict(new))
    options = {"interval": 0.9, "new_levels": "sample", "seed": 1}
    np.testing.assert_allclose(first.predict(new, **options), second.predict(new, **options), rtol=1e-12)
    assert first.varcorr().equals(second.varcorr())
    np.testing.assert_allclose(first.ranef_sd()["litter"], second.ranef_sd()["litter"])
    assert second.get_params()["random"] == first.get_params()["random"]


def test_lightgbm_round_trip(tmp_path):
    data = load_dataset("ratpup")
    forest = mixed_forest(FORMULA, data, learner=small_learner(), max_iterations=2)
    forest.save(tmp_path / "forest")
    loaded = load_forest(tmp_path / "forest")
    assert_same(forest, loaded, data)
    assert loaded.feature_importances_.equals(forest.feature_importances_.astype(float))
    assert loaded.history_.equals(forest.history_)
    assert not any(path.suffix in (".pkl", ".joblib") for path in (tmp_path / "forest").iterdir())
    loaded.save(tmp_path / "again")
    assert_same(forest, load(tmp_path / "again"), data)
    loaded.update_random_effects(data.tail(3), data["weight"].tail(3))


def test_gibbs_and_weights_round_trip(tmp_path):
    data = load_dataset("ratpup")
    forest = mixed_forest(
        FORMULA, data, learner=small_learner(), method="gibbs", chains=2, draws=10, max_iterations=3, seed=1,
        sample_weight=np.linspace(1, 2, len(data)),
    )  # fmt: skip
    forest.save(tmp_path / "forest")
    loaded = load_forest(tmp_path / "forest")
    assert_same(forest, loaded, data)
    assert loaded.diagnostics().equals(forest.diagnostics())


def test_bart_round_trip(tmp_path):
    data = load_dataset("ratpup")
    forest = mixed_forest(FORMULA, data, learner="bart", chains=1, draws=5, n_trees=10, seed=1)
    forest.save(tmp_path / "forest")
    loaded = load_forest(tmp_path / "forest")
    assert_same(forest, loaded, data)
    assert loaded.learner == "bart"


@pytest.mark.skipif(HAS_SKOPS, reason="skops is installed")
def test_other_learners_need_skops(tmp_path):
    data = load_dataset("ratpup").assign(sex=lambda d: d["sex"].cat.codes)
    forest = mixed_forest("weight ~ litsize + sex + (1 | litter)", data, learner=Ridge(), max_iterations=1)
    with pytest.raises(MissingDependencyError, match="skops"):
        forest.save(tmp_path / "forest")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not HAS_SKOPS, reason="skops is not installed")
def test_skops_round_trip(tmp_path):
    data = load_dataset("ratpup").assign(sex=lambda d: d["sex"].cat.codes)
    forest = mixed_forest("weight ~ litsize + sex + (1 | litter)", data, learner=Ridge(), max_iterations=1)
    with pytest.warns(SkopsWarning, match="same versions"):
        forest.save(tmp_path / "forest")
    np.testing.assert_array_equal(load_forest(tmp_path / "forest").predict(data), forest.predict(data))


@pytest.mark.skipif(not HAS_XGBOOST, reason="XGBoost is not installed")
def test_xgboost_round_trip(tmp_path):
    from xgboost import XGBRegressor

    data = load_dataset("ratpup").assign(sex=lambda d: d["sex"].cat.codes)
    forest = mixed_forest(
        "weight ~ litsize + sex + (1 | litter)", data, learner=XGBRegressor(n_estimators=3), max_iterations=1
    )
    forest.save(tmp_path / "forest")
    np.testing.assert_allclose(load_forest(tmp_path / "forest").predict(data), forest.predict(data), rtol=1e-6)


@pytest.fixture
def saved(tmp_path):
    forest = mixed_forest(FORMULA, load_dataset("ratpup"), learner=small_learner(), max_iterations=1)
    return forest, forest.save(tmp_path / "forest")


def test_existing_folders_are_not_replaced(saved, tmp_path):
    forest, folder = saved
    with pytest.raises(StorageError, match="exists already"):
        forest.save(folder)
    with pytest.raises(StorageError, match="no folder"):
        forest.save(tmp_path / "nowhere" / "forest")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.update(format="x"), "does not describe a forest"),
        (lambda facts: facts.update(version=99), "version 99"),
        (lambda facts: facts["learners"].update(kind="pickle"), "'pickle' is unknown"),
        (lambda facts: facts["learners"].update(count=9), "learner_5.txt is missing"),
        (lambda facts: facts.pop("sigma2"), "no complete forest"),
        (lambda facts: facts.update(formula="weight ~ 0 + (1 | litter)"), "do not belong to the data"),
    ],
)
def test_files_that_do_not_fit(saved, change, message):
    _, folder = saved
    facts = json.loads((folder / "forest.json").read_text())
    change(facts)
    (folder / "forest.json").write_text(json.dumps(facts))
    with pytest.raises(StorageError, match=message):
        load_forest(folder)


def test_folder_that_holds_nothing(tmp_path):
    with pytest.raises(StorageError, match="no saved forest"):
        load_forest(tmp_path)
