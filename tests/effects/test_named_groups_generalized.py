"""Means and slopes of named groups of generalized models against a dense normal approximation at the mode."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import bayeslmm as blm

EXACT = 1e-6  # two factorisations of one matrix, at a mode that is known to 1e-8 standard errors
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def herds():
    return blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial").fit("ml")


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.uniform(-1, 2, 120), "g": np.arange(120) % 10, "h": np.arange(120) // 24})
    eta = 0.5 + (0.4 + 0.3 * rng.standard_normal(10)[data.g]) * data.x + 0.5 * rng.standard_normal(10)[data.g]
    data["y"] = rng.poisson(np.exp(eta + 0.4 * rng.standard_normal(5)[data.h]))
    return blm.Model("y ~ x + (x | g) + (1 | h)", data, family="poisson").fit("ml")


def dense_errors(fit, weights, X, Z):
    """Return the covariance of the errors of X beta + Z b, b in the order of the terms, for working weights (n,)."""
    design = fit.design
    blocks, precision = [], []
    for term, factor in zip(design.terms, fit._factors, strict=True):
        indicator = np.eye(term.n_levels)[term.codes]
        blocks.append((indicator[:, :, None] * term.columns[:, None, :]).reshape(design.n, -1))
        precision.append(np.kron(np.eye(term.n_levels), np.linalg.inv(factor @ factor.T)))
    everything = np.hstack([*blocks, design.X])
    M = (everything.T * weights) @ everything
    start = 0
    for block in precision:
        M[start : start + len(block), start : start + len(block)] += block
        start += len(block)
    w = np.hstack([Z, X])
    return w @ np.linalg.solve(M, w.T)


def binomial_weights(fit):
    p = expit(fit.predict(kind="link").to_numpy())
    return fit.design.data["size"].to_numpy() * p * (1 - p)


def two_herds(fit):
    X, Z = np.zeros((8, 4)), np.zeros((8, fit.design.terms[0].n_levels))
    for i in range(8):
        X[i, [0, i % 4]] = 1.0
        Z[i, i // 4] = 1.0
    return X, Z


def test_the_means_of_herds(herds):
    means = herds.means("period | herd", at={"herd": [1, 2]})
    table, (X, Z) = means.table(), two_herds(herds)
    errors = dense_errors(herds, binomial_weights(herds), X, Z)
    eta = X @ herds.fixef() + np.repeat(herds.ranef()["herd"].loc[[1, 2], "Intercept"].to_numpy(), 4)
    np.testing.assert_allclose(table["estimate"], eta, rtol=EXACT)
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(errors)), rtol=EXACT)
    shown = herds.means("period | herd", at={"herd": [1, 2]}, scale="response").table()
    np.testing.assert_allclose(shown["estimate"], expit(eta), rtol=EXACT)
    between = means.contrast("pairwise", by="period").table()
    c = np.array([1.0, 0, 0, 0, -1.0, 0, 0, 0])
    np.testing.assert_allclose(between["std_error"], np.sqrt(c @ errors @ c), rtol=EXACT)


def test_predictions_of_known_groups_have_the_same_limits(herds):
    frame = pd.DataFrame({"period": [1, 2], "herd": [1, 1]})
    for kind, scale in (("link", "link"), ("mean", "response")):
        found = herds.predict(frame, kind=kind, interval=0.9)
        table = herds.means("period | herd", at={"herd": 1}, scale=scale).table(0.9).head(2)
        np.testing.assert_allclose(found["lower"], table["lower"], rtol=EXACT)
        np.testing.assert_allclose(found["upper"], table["upper"], rtol=EXACT)


def test_a_new_group_has_the_variance_of_its_effect(herds):
    frame = pd.DataFrame({"period": [1], "herd": [99]})
    limits = {
        new: herds.predict(frame, kind="link", new_levels=new, interval=0.95).iloc[0]
        for new in ("population", "sample")
    }
    squares = {new: ((row["upper"] - row["prediction"]) / 1.959963984540054) ** 2 for new, row in limits.items()}
    variance = herds.varcorr()["variance"].iloc[0]
    np.testing.assert_allclose(squares["sample"] - squares["population"], variance, rtol=EXACT)


def test_slopes_of_groups_beside_a_crossed_term(counts):
    found = counts.slopes("x | g", at={"g": [0, 7]}).table()
    terms = counts.design.terms
    X, Z = np.zeros((2, 2)), np.zeros((2, sum(t.n_levels * t.n_columns for t in terms)))
    X[:, 1] = 1.0
    Z[[0, 1], [1, 15]] = 1.0
    weights = np.exp(counts.predict(kind="link").to_numpy())
    errors = dense_errors(counts, weights, X, Z)
    np.testing.assert_allclose(
        found["estimate"], counts.fixef()["x"] + counts.ranef()["g"].loc[[0, 7], "x"].to_numpy(), rtol=EXACT
    )
    np.testing.assert_allclose(found["std_error"], np.sqrt(np.diag(errors)), rtol=EXACT)


def test_priors_of_the_coefficients_shorten_the_error(counts):
    model = blm.Model(
        "y ~ x + (x | g) + (1 | h)",
        counts.design.data,
        family="poisson",
        priors={"x": "Normal(0.4, 0.001)", "Intercept": "Normal(0.8, 0.001)"},
    )
    mode = model.fit("map")
    slope = mode.slopes("x | g", at={"g": [0]}).table()["std_error"].iloc[0]
    alone = mode.ranef_sd(coefficients="known")["g"].loc[0, "x"]
    np.testing.assert_allclose(slope, alone, rtol=1e-3)  # what is left is the error of the group's own effect


def test_draws_of_herds_agree_with_the_approximation(herds):
    posterior = blm.Model(CBPP, herds.design.data, family="binomial").fit("importance", draws=400, seed=4)
    at = {"herd": [1, 2, 3]}
    drawn = posterior.means("herd", at=at).table()
    point = herds.means("herd", at=at).table()
    assert (np.abs(drawn["mean"] - point["estimate"]) < 0.5 * point["std_error"]).all()
    ratio = drawn["sd"] / point["std_error"]
    assert ratio.between(0.8, 1.4).all()


def test_what_cannot_be_asked(herds):
    with pytest.raises(blm.OptionError, match="normal limits"):
        herds.means("period | herd", ddf="satterthwaite")
    with pytest.raises(blm.OptionError, match=r"interval='0\.9'"):
        herds.predict(interval="0.9")
    with pytest.raises(blm.OptionError, match="population of groups"):
        herds.predict(random="marginal", interval=0.9)


def test_average_differences_of_probability_within_herds(herds):
    """By the delta method: rows of a herd with the period set, differentiated by the coefficients and the effect."""
    found = herds.comparisons("period | herd", at={"period": [1, 3]}).table().set_index("herd")
    beta, b = herds.fixef().to_numpy(), herds.ranef()["herd"]["Intercept"]
    n_levels = herds.design.terms[0].n_levels
    for herd in (1, 11):
        X = np.array([[1.0, 0, 0, 0], [1.0, 0, 1, 0]])
        p = expit(X @ beta + b.loc[herd])
        Z = np.zeros((2, n_levels))
        Z[:, list(b.index).index(herd)] = 1.0
        errors = dense_errors(herds, binomial_weights(herds), X, Z)
        slope = p * (1 - p) * np.array([-1.0, 1.0])
        row = found.loc[herd]
        np.testing.assert_allclose(row["estimate"], p[1] - p[0], rtol=EXACT)
        np.testing.assert_allclose(row["std_error"], np.sqrt(slope @ errors @ slope), rtol=EXACT)


def test_averages_over_the_rows_of_a_group(counts):
    found = counts.comparisons("x | g", step=0.5).table().set_index("g")
    rows = counts.design.data[counts.design.data["g"] == 3]
    own = counts.ranef()["g"].loc[3]
    eta = counts.fixef()["Intercept"] + own["Intercept"] + (counts.fixef()["x"] + own["x"]) * rows["x"]
    step = 0.5 * (counts.fixef()["x"] + own["x"])
    np.testing.assert_allclose(found.loc[3, "estimate"], np.mean(np.exp(eta + step) - np.exp(eta)), rtol=EXACT)


def test_drawn_comparisons_within_a_herd(herds):
    posterior = blm.Model(CBPP, herds.design.data, family="binomial").fit("importance", draws=50, chains=2, seed=4)
    found = posterior.comparisons("period", at={"period": [1, 3], "herd": 2})
    values = posterior.idata.posterior
    beta, effect = (values[name].to_numpy().reshape(100, -1) for name in ("beta", "r_herd"))
    eta = beta[:, 0] + effect[:, list(posterior.ranef()["herd"].index).index(2)]
    np.testing.assert_allclose(found.draws[:, 0], expit(eta + beta[:, 2]) - expit(eta), rtol=1e-5)
