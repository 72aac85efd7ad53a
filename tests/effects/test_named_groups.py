"""Means of named groups against dense mixed-model equations (Henderson 1975), predictions, and draws."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

EXACT = 1e-7  # two factorisations of one matrix


@pytest.fixture(scope="module")
def sleep():
    return blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy")).fit("reml")


def dense_errors(fit, X, Z):
    """Return the covariance of the errors of X beta + Z b, b in the order of the terms, from the dense equations."""
    design = fit.design
    blocks, inverses = [], []
    for term, factor in zip(design.terms, fit._factors, strict=True):
        indicator = np.eye(term.n_levels)[term.codes]
        blocks.append((indicator[:, :, None] * term.columns[:, None, :]).reshape(design.n, -1))
        inverses.append(np.kron(np.eye(term.n_levels), np.linalg.inv(factor @ factor.T)))
    W = np.eye(design.n) if design.weights is None else np.diag(design.weights)
    everything = np.hstack([*blocks, design.X])
    M = everything.T @ W @ everything
    start = 0
    for inverse in inverses:
        stop = start + len(inverse)
        M[start:stop, start:stop] += inverse
        start = stop
    w = np.hstack([Z, X])
    return fit.sigma**2 * w @ np.linalg.solve(M, w.T)


def test_the_equations_of_a_random_slope(sleep):
    found = sleep.means("Days | Subject", at={"Days": [0, 9], "Subject": [308, 309, 372]})
    table = found.table()
    assert list(table.columns[:2]) == ["Days", "Subject"]
    assert table["Subject"].tolist() == [308, 308, 309, 309, 372, 372]
    coefficients = sleep.ranef()["Subject"] + sleep.fixef()
    expected = [
        coefficients.loc[s, "Intercept"] + d * coefficients.loc[s, "Days"] for s in (308, 309, 372) for d in (0, 9)
    ]
    np.testing.assert_allclose(table["estimate"], expected, rtol=EXACT)
    levels = list(sleep.design.terms[0].levels)
    X, Z = np.array([[1.0, d] for _ in range(3) for d in (0, 9)]), np.zeros((6, 2 * len(levels)))
    for i, s in enumerate([308, 308, 309, 309, 372, 372]):
        Z[i, 2 * levels.index(s) : 2 * levels.index(s) + 2] = X[i]
    errors = dense_errors(sleep, X, Z)
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(errors)), rtol=EXACT)
    slopes = found.contrast("sequential").table()  # within a subject: from day 0 to day 9
    C = np.array([[-1, 1, 0, 0, 0, 0], [0, 0, -1, 1, 0, 0], [0, 0, 0, 0, -1, 1]])
    np.testing.assert_allclose(slopes["std_error"], np.sqrt(np.diag(C @ errors @ C.T)), rtol=EXACT)
    assert np.isinf(table["df"]).all()


def test_terms_without_a_named_group_are_at_zero():
    data = blm.load_dataset("insteval")
    data = data[data["d"].isin(data["d"].value_counts().index[:20]) & (data["s"].astype(int) <= 400)].copy()
    data["w"] = 1.0 + np.arange(len(data)) % 3
    fit = blm.Model("y ~ service + (1 | s) + (service | d)", data, weights="w").fit("reml")
    d = list(fit.design.terms[1].levels[:3])
    table = fit.means("service | d", at={"d": d}).table()
    names = list(fit.design.fixed_names)
    X, Z = np.zeros((6, 2)), np.zeros((6, fit.design.terms[0].n_levels + 2 * fit.design.terms[1].n_levels))
    for i in range(6):
        X[i] = [1.0, i % 2]
        first = fit.design.terms[0].n_levels + 2 * (i // 2)
        Z[i, first : first + 2] = X[i]
    assert names[0] == "Intercept"
    b = fit.ranef()["d"].iloc[:3].to_numpy()
    np.testing.assert_allclose(table["estimate"], X @ fit.fixef() + (b[[0, 0, 1, 1, 2, 2]] * X).sum(axis=1), rtol=EXACT)
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(dense_errors(fit, X, Z))), rtol=EXACT)


def test_inner_and_outer_groups():
    data = blm.load_dataset("ratpup")
    data["half"] = np.where(np.arange(len(data)) % 2, "b", "a")
    fit = blm.Model("weight ~ sex + (1 | litter / half)", data).fit("reml")
    frame = pd.DataFrame({"sex": ["Male", "Male"], "litter": [1, 1], "half": ["a", "b"]})
    table = fit.means("litter * half", at={"sex": "Male", "litter": 1}).table()
    predicted = fit.predict(frame, kind="mean", interval=0.95)
    for ours, theirs in (("estimate", "prediction"), ("lower", "lower"), ("upper", "upper")):
        np.testing.assert_allclose(table[ours], predicted[theirs], rtol=EXACT)
    outer = fit.means("litter", at={"sex": "Male", "litter": [1, 2]}).table()
    expected = fit.fixef()["Intercept"] + fit.ranef()["litter"].loc[[1, 2], "Intercept"]
    np.testing.assert_allclose(outer["estimate"], expected, rtol=EXACT)
    with pytest.raises(blm.OptionError, match=r"'half' alone.*'litter', 'half'"):
        fit.means("half")


def test_priors_shorten_the_error(sleep):
    model = blm.Model("Reaction ~ Days + (Days | Subject)", sleep.design.data, priors={"Days": "Normal(10, 0.01)"})
    mode = model.fit("map")
    table = mode.means("Days | Subject", at={"Days": 5, "Subject": 308}).table()
    frame = pd.DataFrame({"Days": [5], "Subject": [308]})
    expected = mode.predict(frame, kind="mean", interval=0.95)
    np.testing.assert_allclose(table["lower"], expected["lower"], rtol=EXACT)


def test_draws_of_groups():
    model = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    fit = model.fit("importance", draws=100, seed=2)
    found = fit.means("Days | Subject", at={"Days": 3, "Subject": [308, 335]})
    posterior = fit.idata.posterior
    effects = posterior["r_Subject"].sel(Subject=335).to_numpy().reshape(-1, 2)
    beta = posterior["beta"].to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(found.draws[:, 1], (beta + effects) @ [1.0, 3.0], rtol=1e-5)
    assert found.contrast("pairwise", by=()).table()["probability_of_direction"].iloc[0] > 0.99


def test_an_average_over_groups(sleep):
    alone = sleep.means("Days", at={"Days": [0, 9], "Subject": [308, 309]}).table()
    each = sleep.means("Days * Subject", at={"Days": [0, 9], "Subject": [308, 309]})
    both = each.contrast({"first": [0.5, 0.5, 0, 0], "last": [0, 0, 0.5, 0.5]}).table()
    np.testing.assert_allclose(alone["std_error"], both["std_error"], rtol=EXACT)


def test_what_cannot_be_asked_of_groups(sleep):
    with pytest.raises(blm.DataError, match="no level 999"):
        sleep.means("Days | Subject", at={"Subject": 999})
    with pytest.raises(blm.OptionError, match="normal limits"):
        sleep.means("Days | Subject", ddf="kenward-roger")


def test_slopes_of_groups(sleep):
    found = sleep.slopes("Days | Subject", at={"Subject": [308, 309]})
    table = found.table()
    np.testing.assert_allclose(
        table["estimate"], sleep.fixef()["Days"] + sleep.ranef()["Subject"].loc[[308, 309], "Days"], rtol=EXACT
    )
    X, Z = np.array([[0.0, 1.0]] * 2), np.zeros((2, 36))
    Z[[0, 1], [1, 3]] = 1.0
    errors = dense_errors(sleep, X, Z)
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(errors)), rtol=EXACT)
    between = found.contrast("pairwise").table()["std_error"].iloc[0]
    np.testing.assert_allclose(between, np.sqrt(np.array([1, -1]) @ errors @ np.array([1, -1])), rtol=EXACT)


def test_drawn_slopes_of_groups():
    fit = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy")).fit(
        "importance", draws=100, seed=2
    )
    posterior = fit.idata.posterior
    expected = posterior["beta"].sel(fixed="Days") + posterior["r_Subject"].sel(Subject=335, Subject_effect="Days")
    found = fit.slopes("Days | Subject", at={"Subject": [335]})
    np.testing.assert_allclose(found.draws[:, 0], expected.to_numpy().ravel(), rtol=1e-5)


def test_comparisons_within_groups_are_their_slopes(sleep):
    slopes = sleep.slopes("Days | Subject", at={"Subject": [308, 309]}).table()
    found = sleep.comparisons("Days | Subject").table().set_index("Subject").loc[[308, 309]]
    np.testing.assert_allclose(found["estimate"], slopes["estimate"], rtol=EXACT)
    np.testing.assert_allclose(found["std_error"], slopes["std_error"], rtol=EXACT)
    one = sleep.comparisons("Days", at={"Subject": 309}, step=2.0).table().iloc[0]
    np.testing.assert_allclose(one["estimate"], 2.0 * slopes["estimate"].iloc[1], rtol=EXACT)
