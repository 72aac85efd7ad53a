"""A new response on the structure of a fit gives what a new model of it gives."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

CLOSE = 1e-7  # of estimates: two searches of the same objective from the same start

FORMULAS = {
    "slopes": "Reaction ~ Days + (Days | Subject)",
    "nothing random": "Reaction ~ Days",
    "crossed": "Reaction ~ 1 + (1 | Subject) + (1 | Days)",
}


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_refit_is_the_fit_of_a_new_model(sleepstudy, formula, weighted, method):
    data = sleepstudy.assign(w=1.0 + sleepstudy["Days"] % 3, shift=sleepstudy["Days"] * 2.0)
    options = {"weights": "w", "offset": "shift"} if weighted else {}
    rng = np.random.default_rng(3)
    y = data["Reaction"] + rng.normal(0, 30, len(data))
    again = blm.lmm(formula, data, method, **options).refit(y)
    new = blm.lmm(formula, data.assign(Reaction=y), method, **options)
    assert again.objective == pytest.approx(new.objective, rel=CLOSE)
    pd.testing.assert_series_equal(again.fixef(), new.fixef(), rtol=1e-5)
    pd.testing.assert_frame_equal(again.varcorr(), new.varcorr(), rtol=1e-3, atol=1e-3)
    pd.testing.assert_series_equal(again.fitted(), new.fitted(), rtol=1e-5)
    pd.testing.assert_frame_equal(again.predict(interval=0.9), new.predict(interval=0.9), rtol=1e-4)


def test_the_first_fit_is_left_alone(sleepstudy):
    fit = blm.lmm(FORMULAS["slopes"], sleepstudy)
    before = fit.objective
    fit.refit(sleepstudy["Reaction"] * 2)
    assert fit.objective == before
    np.testing.assert_array_equal(fit.design.y, sleepstudy["Reaction"])
    np.testing.assert_allclose(fit.refit(sleepstudy["Reaction"]).objective, before)


def test_labels_are_matched_or_refused(sleepstudy):
    fit = blm.lmm(FORMULAS["slopes"], sleepstudy)
    assert fit.refit(sleepstudy["Reaction"][::-1]).objective == pytest.approx(fit.objective)
    with pytest.raises(blm.DataError, match="labels of the new response"):
        fit.refit(sleepstudy["Reaction"].set_axis(np.arange(180) + 7))


def test_rows_left_out_are_no_part_of_a_new_response(sleepstudy):
    gaps = sleepstudy.assign(Days=sleepstudy["Days"].where(sleepstudy.index > 3))
    fit = blm.lmm(FORMULAS["slopes"], gaps)
    assert fit.refit(sleepstudy["Reaction"]).objective == pytest.approx(fit.objective)
    assert fit.refit(fit.design.y).objective == pytest.approx(fit.objective)


@pytest.mark.parametrize("formula", ["Reaction ~ Days + (Days | Subject)", "log(Reaction) ~ Days + (Days | Subject)"])
def test_a_refit_can_be_saved(sleepstudy, tmp_path, formula):
    fit = blm.lmm(formula, sleepstudy)
    again = fit.refit(fit.design.y + np.sin(np.arange(180.0)))
    loaded = blm.load(again.save(tmp_path / "fit"))
    assert loaded.objective == pytest.approx(again.objective)
    pd.testing.assert_series_equal(loaded.fixef(), again.fixef())


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.zeros(3), "one value for each of 180 rows"),
        (np.ones(180), r"constant \(1\)"),
        (np.r_[np.nan, np.arange(179.0)], "row 0"),
        (["a"] * 180, "hold numbers"),
        ([str(k) for k in range(180)], "holds texts"),
    ],
)
def test_bad_responses(sleepstudy, y, words):
    with pytest.raises(blm.DataError, match=words):
        blm.lmm(FORMULAS["slopes"], sleepstudy).refit(y)


def test_a_posterior_mode_is_not_refitted(sleepstudy):
    with pytest.raises(blm.OptionError, match="follow the scale of the response"):
        blm.lmm(FORMULAS["slopes"], sleepstudy, "map").refit(sleepstudy["Reaction"])


def test_predictions_take_one_factorisation(sleepstudy, monkeypatch):
    """The fit's own kernel answers: nothing is built or summed again."""
    from bayeslmm.likelihood import kernel
    from bayeslmm.results import prediction

    fit = blm.lmm(FORMULAS["slopes"], sleepstudy)
    calls = []
    real = prediction.factorise
    monkeypatch.setattr(prediction, "factorise", lambda *a: calls.append(1) or real(*a))
    monkeypatch.setattr(kernel, "build_crossproducts", None)
    fit.predict(interval=0.9)
    assert len(calls) == 1


def test_names_with_dots_and_transformed_responses(sleepstudy):
    data = sleepstudy.rename(columns={"Days": "days.on"})
    fit = blm.lmm("np.log(Reaction) ~ days.on + (1 | Subject)", data)
    again = fit.refit(np.log(sleepstudy["Reaction"]))
    assert again.objective == pytest.approx(fit.objective)


def test_a_model_takes_another_response(sleepstudy):
    model = blm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    y = sleepstudy["Reaction"] + 10 * np.sin(np.arange(180.0))
    again = model.refit(y[::-1])
    direct = blm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy.assign(Reaction=y))
    assert again.objective == pytest.approx(direct.objective)
    assert model.refit(y, "ml").method == "ml"
    with pytest.raises(blm.OptionError, match="use 'reml' or 'ml'"):
        model.refit(y, "map")
