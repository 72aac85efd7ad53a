"""The formula way in."""

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from sklearn.linear_model import LinearRegression

from bayeslmm import DataError, FormulaError, MixedEffectsForest, OptionError, load, load_dataset, mixed_forest
from bayeslmm.forest import GroupConstantWarning

pytestmark = pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")


@pytest.fixture(scope="module")
def data():
    return load_dataset("ratpup")


def test_fixed_part_goes_to_the_learner(data):
    learner = LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=10)
    forest = mixed_forest(
        "weight ~ litsize + treatment + sex + (sex | litter)", data, learner=learner, max_iterations=2
    )
    assert list(forest.fitted_.features.columns) == ["litsize", "treatment", "sex"]
    assert list(forest.ranef()["litter"].columns) == ["Intercept", "sex[T.Female]"]
    by_hand = MixedEffectsForest("(sex | litter)", learner, max_iterations=2)
    by_hand.fit(data[["litsize", "treatment", "sex", "litter"]], data["weight"])
    np.testing.assert_array_equal(forest.predict(data), by_hand.predict(data))


def test_warning_points_at_the_line_that_asked(data):
    with pytest.warns(GroupConstantWarning) as caught:
        mixed_forest("weight ~ litsize + (1 | litter)", data, learner=LinearRegression(), max_iterations=1)
    assert [warning.filename for warning in caught] == [__file__]


def test_bart_marks_the_learners_columns_and_the_rest_is_linear(data):
    forest = mixed_forest(
        "weight ~ litsize + treatment + bart(sex) + (1 | litter)",
        data.assign(sex=data["sex"].cat.codes),
        learner=LinearRegression(),
        max_iterations=30,
        tolerance=1e-8,
        early_stopping=False,
    )
    assert list(forest.fitted_.features.columns) == ["sex"]
    assert list(forest.fixef().index) == ["Intercept", "litsize", "treatment[T.High]", "treatment[T.Low]"]
    # everything is linear here, so the coefficients must be about those of the mixed model (the page prints them)
    assert forest.fixef()["litsize"] == pytest.approx(-0.129, abs=0.01)
    assert forest.fixef()["treatment[T.High]"] == pytest.approx(-0.859, abs=0.03)


def test_transforms_belong_to_the_linear_part(data):
    forest = mixed_forest("weight ~ log(litsize) + bart(treatment + sex) + (1 | litter)", data,
                          learner=LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=5), max_iterations=1)  # fmt: skip
    assert list(forest.fixef().index) == ["Intercept", "log(litsize)"]
    assert "litsize" not in forest.fitted_.features.columns


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("weight ~ log(litsize) + (1 | litter)", "plain columns"),
        ("weight ~ litsize:sex + (1 | litter)", "plain columns"),
        ("weight ~ litsize", "no random term"),
        ("weight ~ litsize + offset(pup_id) + (1 | litter)", "offset"),
        ("weight ~ 1 + (1 | litter)", "no column for the learner"),
        ("log(weight) ~ litsize + (1 | litter)", "plain column; transform"),
    ],
)
def test_formulas_that_say_too_much_or_too_little(data, formula, message):
    with pytest.raises(FormulaError, match=message):
        mixed_forest(formula, data, learner=LinearRegression())


def test_options_the_formula_says_and_absent_response(data):
    with pytest.raises(OptionError, match="linear= is said by the formula"):
        mixed_forest("weight ~ litsize + (1 | litter)", data, linear=["sex"])
    with pytest.raises(DataError, match="'mass'"):
        mixed_forest("mass ~ litsize + (1 | litter)", data)


def test_odd_column_names():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"my y": rng.random(40), "my x": rng.random(40), "a group": np.arange(40) % 5, "y": rng.random(40)}
    )
    forest = mixed_forest("`my y` ~ `my x` + y + (1 | `a group`)", frame, learner=LinearRegression(), max_iterations=1)
    assert forest.predict(frame).shape == (40,)
    assert list(forest.ranef()) == ["a group"]


def test_names_with_dots_and_words_of_python(data, tmp_path):
    names = {"weight": "yield", "litsize": "lit.size", "litter": "g.1"}
    learner = LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=10)
    plain = mixed_forest("weight ~ litsize + sex + (1 | litter)", data, learner=learner, max_iterations=2)
    renamed = data.rename(columns=names)
    forest = mixed_forest("yield ~ lit.size + sex + (1 | g.1)", renamed, learner=learner, max_iterations=2)
    np.testing.assert_array_equal(forest.predict(renamed), plain.predict(data))
    by_hand = MixedEffectsForest("(1 | g.1)", learner, max_iterations=2)
    by_hand.fit(renamed[["lit.size", "sex", "g.1"]], renamed["yield"])
    by_hand.save(tmp_path / "forest")
    np.testing.assert_array_equal(load(tmp_path / "forest").predict(renamed), plain.predict(data))


def test_names_that_lightgbm_refuses(data, tmp_path):
    """Refused are the signs of JSON; the learner sees other names, told apart by position."""
    names = {"litsize": "x[1]", "sex": "x:1:"}
    learner = LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=10)
    plain = mixed_forest("weight ~ litsize + sex + (1 | litter)", data, learner=learner, max_iterations=2)
    renamed = data.rename(columns=names)
    forest = mixed_forest("weight ~ `x[1]` + `x:1:` + (1 | litter)", renamed, learner=learner, max_iterations=2)
    np.testing.assert_array_equal(forest.predict(renamed), plain.predict(data))
    forest.save(tmp_path / "forest")
    np.testing.assert_array_equal(load(tmp_path / "forest").predict(renamed), plain.predict(data))


def test_a_response_called_like_a_dimension_of_a_posterior(data):
    forest = MixedEffectsForest("(1 | litter)", LinearRegression(), max_iterations=1)
    forest.fit(data[["litsize", "litter"]], data["weight"].rename("draw"))
    assert np.isfinite(forest.predict(data)).all()
