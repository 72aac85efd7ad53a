"""Slopes of the response's mean, against derivatives by hand."""

import numpy as np
import pytest

import bayeslmm as blm

CLOSE = 1e-6  # relative: central differences over a ten thousandth of the range


@pytest.fixture(scope="module")
def ticks():
    data = blm.load_dataset("grouseticks")
    return blm.Model("TICKS ~ YEAR * h + (1 | BROOD)", data.assign(h=(data["HEIGHT"] - 460) / 40), family="poisson")


def by_hand(h, years=("95", "96", "97")):
    """Rows x and dx/dh of each year at h; the slope of exp(x b) is exp(x b) dx b."""
    x = np.array([[1, y == "96", y == "97", h, h * (y == "96"), h * (y == "97")] for y in years], dtype=float)
    dx = np.array([[0, 0, 0, 1, y == "96", y == "97"] for y in years], dtype=float)
    return x, dx


def test_of_counts(ticks):
    fit = ticks.fit("ml")
    beta, vcov = fit.fixef().to_numpy(), fit.vcov().to_numpy()
    x, dx = by_hand(0.5)
    mean, rate = np.exp(x @ beta), dx @ beta
    gradient = mean[:, None] * (rate[:, None] * x + dx)
    found = fit.slopes("h | YEAR", at={"h": 0.5}, scale="response").table()
    np.testing.assert_allclose(found["estimate"], mean * rate, rtol=CLOSE)
    np.testing.assert_allclose(found["std_error"], np.sqrt(np.diag(gradient @ vcov @ gradient.T)), rtol=CLOSE)
    average = fit.slopes("h", at={"h": 0.5}, scale="response").table()
    np.testing.assert_allclose(average["estimate"], np.mean(mean * rate), rtol=CLOSE)
    both = gradient.mean(axis=0)
    np.testing.assert_allclose(average["std_error"], np.sqrt(both @ vcov @ both), rtol=CLOSE)
    pairs = fit.slopes("h | YEAR", at={"h": 0.5}, scale="response").contrast("pairwise", adjust="none").table()
    np.testing.assert_allclose(pairs["estimate"].iloc[0], (mean * rate)[0] - (mean * rate)[1], rtol=CLOSE)


def test_of_a_posterior(ticks):
    fit = ticks.fit("importance", draws=60, seed=1, progressbar=False)
    beta = fit.draws.beta.reshape(-1, 6)
    x, dx = by_hand(0.5)
    expected = np.exp(beta @ x.T) * (beta @ dx.T)
    np.testing.assert_allclose(
        fit.slopes("h | YEAR", at={"h": 0.5}, scale="response").draws, expected, rtol=1e-5, atol=1e-6
    )


def test_of_a_logarithm():
    sleep = blm.load_dataset("sleepstudy")
    fit = blm.Model("log(Reaction) ~ Days + (Days | Subject)", sleep).fit("reml")
    b = fit.fixef().to_numpy()
    found = fit.slopes("Days", at={"Days": [0, 4, 9]}, scale="response").table()
    np.testing.assert_allclose(found["estimate"], b[1] * np.exp(b[0] + b[1] * np.array([0, 4, 9])), rtol=1e-5)
    same = blm.Model("Reaction ~ Days + (Days | Subject)", sleep).fit("reml")
    for scale in ("link", "response"):
        np.testing.assert_allclose(same.slopes("Days", scale=scale).table()["estimate"], same.fixef()["Days"])


def test_refused(ticks):
    fit = ticks.fit("ml")
    with pytest.raises(blm.OptionError, match=r"comparisons\('h \| BROOD'\)"):
        fit.slopes("h | BROOD", at={"BROOD": [501, 503]}, scale="response")
    with pytest.raises(blm.OptionError, match="'link' or 'response'"):
        fit.slopes("h", scale="mean")
