"""Saved forests: the same predictions, no pickle, and files that do not fit are refused."""

import hashlib
import importlib.util
import json
import shutil
import warnings

import numpy as np
import pytest
from damage import altered_records, each_damaged_file, refused
from lightgbm import LGBMRegressor
from sklearn.linear_model import Ridge

from bayeslmm import DataError, MissingDependencyError, StorageError, load, load_dataset, mixed_forest
from bayeslmm.forest import load_forest
from bayeslmm.forest.store.folder import MAIN, SEAL
from bayeslmm.forest.store.learners import SkopsWarning
from bayeslmm.results.store.record import seal

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


def reseal(folder, facts):
    """Write forest.json as someone would who knows how to keep the checksums right."""
    facts["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in facts["sha256"]}
    facts.pop(SEAL, None)
    facts[SEAL] = seal(facts)
    (folder / MAIN).write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.update(format="x"), "does not describe a forest"),
        (lambda facts: facts.update(version=99), "version 99"),
        (lambda facts: facts.update(version=1), "no checksums .* fit and save the forest again"),
        (lambda facts: facts["learners"].update(kind="pickle"), "'learners.kind' is 'pickle'"),
        (lambda facts: facts["learners"].update(count=9), "learner_5.txt is missing"),
        (lambda facts: facts["learners"].update(count=10**12), "'learners.count' is 1000000000000"),
        (lambda facts: facts["learners"].update(versions=[5]), "go together"),
        (lambda facts: facts.pop("sigma2"), "'sigma2' is missing"),
        (lambda facts: facts["options"].update(colour="red"), "'options.colour' has no meaning"),
        (lambda facts: facts.update(formula="weight ~ 0 + (1 | litter)"), "do not belong to the data"),
        (lambda facts: facts.update(formula="weight ~ 0 + (1 | nobody)"), "cannot be built again"),
        (lambda facts: facts["features"].pop(), "columns of the learner"),
    ],
)
def test_files_that_do_not_fit(saved, change, message):
    _, folder = saved
    facts = json.loads((folder / MAIN).read_text())
    change(facts)
    reseal(folder, facts)
    with pytest.raises(StorageError, match=message):
        load_forest(folder)


def test_learners_of_another_forest_are_refused(saved, tmp_path):
    _, folder = saved
    data = load_dataset("ratpup")
    other = mixed_forest(FORMULA, data.assign(weight=-data["weight"]), learner=small_learner(), max_iterations=1)
    (folder / "learner_0.txt").write_bytes((other.save(tmp_path / "other") / "learner_0.txt").read_bytes())
    with pytest.raises(StorageError, match=r"learner_0\.txt has changed"):
        load_forest(folder)
    reseal(folder, json.loads((folder / MAIN).read_text()))
    with pytest.raises(StorageError, match="do not give what was stored of them"):
        load_forest(folder)


def read(folder):
    """Load, and use what was loaded."""
    forest = load_forest(folder)
    forest.varcorr()
    try:
        assert np.isfinite(forest.predict(load_dataset("ratpup").head(3))).all()
    except DataError as error:  # of a record sealed anew that describes other data
        assert "data of the fit" in str(error)
    return forest


@pytest.fixture(scope="module", params=["em", "gibbs", "bart"])
def whole(request, tmp_path_factory):
    options = {
        "em": {"learner": small_learner(), "max_iterations": 1},
        "gibbs": {"learner": small_learner(), "method": "gibbs", "chains": 1, "draws": 4, "max_iterations": 2},
        "bart": {"learner": "bart", "chains": 1, "draws": 4, "n_trees": 4},
    }[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest = mixed_forest(FORMULA, load_dataset("ratpup"), seed=1, n_folds=2, **options)
    return forest.save(tmp_path_factory.mktemp("whole") / request.param)


def test_altered_records(whole, tmp_path):
    folder = tmp_path / "forest"
    shutil.copytree(whole, folder)
    read(folder)
    record = json.loads((folder / MAIN).read_text())
    for what, changed in altered_records(record, np.random.default_rng(7), each=2):
        if isinstance(changed.get("sha256"), dict) and changed.get(SEAL) == record[SEAL]:
            changed[SEAL] = seal({key: value for key, value in changed.items() if key != SEAL})
        (folder / MAIN).write_text(json.dumps(changed))
        try:
            refused(read, folder)
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")


def test_damaged_files(whole, tmp_path):
    for what, _ in each_damaged_file(whole, tmp_path / "forest", MAIN):
        try:
            message = refused(read, tmp_path / "forest")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        assert message or what.startswith(MAIN), f"{what} was not noticed"


def test_folder_that_holds_nothing(tmp_path):
    with pytest.raises(StorageError, match="no saved forest"):
        load_forest(tmp_path)
