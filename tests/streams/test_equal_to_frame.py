"""A model whose rows stream is the model of the frame: same columns, same likelihood, same fits."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

SAME = 1e-9  # relative; sums in another order differ in the last digits, 1e-13 or so
FORMULAS = {
    "sleepstudy": (
        "Reaction ~ Days + (Days | Subject)",
        "Reaction ~ Days + (Days || Subject)",
        "Reaction ~ scale(Days) + center(Days):I(Days**2) + (1 | Subject)",
        "Reaction ~ standardize(Days, rescale=True) + (1 | Subject)",
        "Reaction ~ poly(Days, 2) + (1 | Subject)",
        "Reaction ~ bs(Days, df=4) + (0 + Days | Subject)",
        "Reaction ~ poly(scale(Days), 2) + (0 + Days | Subject)",
        "log(Reaction) ~ 0 + Days + (1 | Subject) + (0 + Days | Subject)",
    ),
    "ratpup": (
        "weight ~ treatment * sex + litsize + (1 | litter)",
        "weight ~ treatment * sex + litsize + (1 + C(sex) | litter)",
        "weight ~ 0 + treatment + (0 + sex | litter)",
        "weight ~ C(treatment, contr.sum) + sex + C(sex) + (0 + sex | litter)",
        "weight ~ C(treatment, levels=['Low', 'High', 'Control']) + (1 | litter)",
        "weight ~ I(sex == 'Male') + (1 | treatment/litter)",
    ),
    "insteval": (
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        "y ~ service + (1 | s) + (service | d)",
        "y ~ 1 + (1 | s:service) + (1 | d)",
    ),
}


def _data(name: str) -> pd.DataFrame:
    frame = blm.load_dataset(name)
    return frame.iloc[:4_000] if name == "insteval" else frame


def _same(formula: str, frame: pd.DataFrame, chunk_rows: int, **options) -> tuple[blm.Model, blm.Model]:
    whole = blm.Model(formula, frame, **options)
    summed = blm.Model(formula, frame, chunk_rows=chunk_rows, **options)
    assert summed.design.fixed_names == whole.design.fixed_names
    assert summed.design.dropped_columns == whole.design.dropped_columns
    assert summed.design.n_dropped == whole.design.n_dropped
    for mine, other in zip(summed.design.terms, whole.design.terms, strict=True):
        assert (mine.name, mine.effects) == (other.name, other.effects)
        assert mine.levels.equals(other.levels)
        np.testing.assert_allclose(mine.centring.means, other.centring.means, rtol=SAME, atol=1e-12)
    theta = np.random.default_rng(1).uniform(0.4, 1.0, whole.kernel.n_theta)
    for method in ("ml", "reml"):
        assert summed.objective(theta, method) == pytest.approx(whole.objective(theta, method), rel=SAME)
    return whole, summed


@pytest.mark.parametrize(("name", "formula"), [(name, f) for name, found in FORMULAS.items() for f in found])
def test_same_likelihood_and_priors(name, formula):
    frame = _data(name)
    whole, summed = _same(formula, frame, 600 if name == "insteval" else 37)
    pd.testing.assert_frame_equal(summed.priors, whole.priors)


@pytest.mark.parametrize("method", ["ml", "reml", "map"])
def test_same_fit(method):
    frame = _data("sleepstudy")
    whole = blm.Model("Reaction ~ Days + (Days | Subject)", frame).fit(method)
    summed = blm.Model("Reaction ~ Days + (Days | Subject)", frame, chunk_rows=7).fit(method)
    np.testing.assert_allclose(summed.fixef(), whole.fixef(), rtol=1e-7)
    np.testing.assert_allclose(summed.theta, whole.theta, rtol=1e-6)
    np.testing.assert_allclose(summed.ranef()["Subject"], whole.ranef()["Subject"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(summed.vcov(), whole.vcov(), rtol=1e-6)
    assert str(summed.summary()) == str(whole.summary())


def test_same_posterior():
    frame = _data("sleepstudy")
    options = {"draws": 250, "chains": 2, "seed": 1}
    whole = blm.Model("Reaction ~ Days + (1 | Subject)", frame).fit("importance", **options)
    summed = blm.Model("Reaction ~ Days + (1 | Subject)", frame, chunk_rows=50).fit("importance", **options)
    np.testing.assert_allclose(summed.fixef(), whole.fixef(), rtol=1e-6)
    assert "observed_data" not in summed.idata.groups()


def _awkward(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n) + 1e4,
            "g": rng.integers(0, 20, n),
            "w": rng.uniform(0.5, 2, n),
            "o": rng.normal(size=n),
            "t": rng.choice(["b", "a", "ä"], n),
        }
    )
    frame.loc[3, "x"] = np.nan
    frame.loc[5, "w"] = 0
    frame["x2"] = 2 * frame["x"] + 1
    return frame


@pytest.mark.parametrize(
    "formula", ["y ~ x + x2 + t + (1 | g)", "y ~ t + offset(o) + (1 | g:t)", "y ~ x + t + (t | g)"]
)
def test_weights_offset_missing_and_collinear(formula):
    _same(formula, _awkward(), 33, weights="w", offset="o")


def test_nearly_collinear_columns_are_judged_on_rows():
    frame = _awkward().dropna()
    noise = np.random.default_rng(3).normal(size=len(frame))
    frame["near"] = frame["x"] + 1e-5 * noise  # kept: cross-products alone would leave it in doubt
    frame["same"] = frame["x"] + 1e-9 * noise  # dropped
    formula = "y ~ x + near + same + (1 | g)"
    whole, summed = blm.Model(formula, frame), blm.Model(formula, frame, chunk_rows=50)
    assert summed.design.dropped_columns == whole.design.dropped_columns == ("same",)
    # Cross-products of columns 1e-5 apart have 6 digits less, in either order of summation.
    assert summed.objective([0.7]) == pytest.approx(whole.objective([0.7]), rel=1e-6)


@pytest.mark.parametrize("chunk_rows", [1, 13, 180, 10_000])
def test_result_does_not_depend_on_chunks_or_order(chunk_rows):
    frame = _data("sleepstudy").astype({"Subject": int})
    formula = "Reaction ~ Days + (Days | Subject)"
    whole = blm.Model(formula, frame)
    shuffled = frame.sample(frac=1, random_state=2).reset_index(drop=True)
    summed = blm.Model(formula, shuffled, chunk_rows=chunk_rows)
    assert summed.design.terms[0].levels.equals(whole.design.terms[0].levels)
    theta = [0.9, 0.1, 0.3]
    assert summed.objective(theta) == pytest.approx(whole.objective(theta), rel=SAME)


@pytest.mark.parametrize(
    "labels",
    [
        np.resize(["a", "b"], 180),
        np.resize([0, 1], 180),
        pd.date_range("2020", periods=180),
        pd.MultiIndex.from_product([range(90), ["a", "b"]]),
    ],
)
@pytest.mark.parametrize("formula", ["Reaction ~ Days + (1 | Subject)", "Reaction ~ scale(Days) + (Days | Subject)"])
def test_row_labels_of_a_frame_do_not_matter(formula, labels):
    frame = _data("sleepstudy").set_axis(labels, axis=0)
    frame.iloc[[3, 90], 0] = np.nan
    _same(formula, frame, 37)
    frame.iloc[100, 0] = np.inf
    with pytest.raises(blm.DataError, match=r"Column 'Reaction' is infinite in row 100 \("):
        blm.Model(formula, frame, chunk_rows=37)


@pytest.mark.parametrize(
    "formula",
    [
        "Reaction ~ f(Days) + (1 | Subject)",
        "f(Reaction) ~ Days + (1 | Subject)",
        "Reaction ~ scale(Days) + (f(Days) | Subject)",
    ],
)
def test_own_functions_of_several_rows_are_refused(formula):
    frame = _data("sleepstudy").astype({"Subject": int})
    _same(formula, frame, 37, functions={"f": lambda x: np.log(x + 1)})
    with pytest.raises(blm.ModelError, match=r"^f\((Days|Reaction)\) has other values when a function of your own"):
        blm.Model(formula, frame, chunk_rows=37, functions={"f": lambda x: x - x.mean()})


def test_what_needs_rows_says_so():
    fit = blm.Model("Reaction ~ Days + (1 | Subject)", _data("sleepstudy"), chunk_rows=50).fit("reml")
    for ask in (fit.predict, fit.residuals, fit.fitted):
        with pytest.raises(blm.RowsError, match=r"needs the rows of the data .* fit\.predict\(rows\)"):
            ask()
    with pytest.raises(blm.RowsError, match="the response"):
        _ = fit.design.y
    with pytest.raises(blm.RowsError, match="the groups of 'Subject'"):
        _ = fit.design.terms[0].codes


def test_prediction_of_new_rows():
    frame = _data("sleepstudy")
    formula = "Reaction ~ bs(Days, df=4) + (Days | Subject)"
    whole = blm.Model(formula, frame).fit("reml")
    summed = blm.Model(formula, frame, chunk_rows=50).fit("reml")
    np.testing.assert_allclose(summed.predict(frame), whole.predict(frame), rtol=1e-7)
    pd.testing.assert_frame_equal(summed.predict(frame, interval=0.9), whole.predict(frame, interval=0.9), rtol=1e-6)


def test_predictions_and_residuals_of_batches(tmp_path):
    frame = _data("sleepstudy")
    frame.astype({"Subject": int}).to_parquet(tmp_path / "rows.parquet")
    fit = blm.Model("Reaction ~ Days + (Days | Subject)", tmp_path).fit("reml")
    whole = blm.Model("Reaction ~ Days + (Days | Subject)", frame).fit("reml")
    predicted = pd.concat(list(fit.predict(tmp_path, new_levels="population")))
    np.testing.assert_allclose(predicted, whole.predict(), rtol=1e-7)
    left = pd.concat(list(fit.residuals(lambda: (frame.iloc[k : k + 70] for k in range(0, 180, 70)))))
    np.testing.assert_allclose(left, whole.residuals(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.residuals(frame.iloc[:5]), whole.residuals().iloc[:5])
