"""A family that the package does not know, defined by a user: every method takes it, no other file names it."""

import numba
import numpy as np
import pandas as pd
import pytest
from scipy.stats import geom, norm

import bayeslmm as blm
from bayeslmm.families import Family
from bayeslmm.families.response import Request, counts, plain

MONTE_CARLO = 5.0  # standard errors
QUADRATURE = 1e-5  # of a log-likelihood: 25 nodes against a thousand
FORMULA = "failures ~ x + (1 | g)"


@numba.njit(nogil=True)
def geometric_rows(y, size, eta, phi, out):
    """Fill out (4, n): log f = y eta - (y + 1) log(1 + e^eta), and its derivatives."""
    for i in range(len(y)):
        share = 1.0 / (1.0 + np.exp(-eta[i]))
        turn = (y[i] + 1.0) * share * (1.0 - share)
        out[0, i] = y[i] * eta[i] - (y[i] + 1.0) * np.logaddexp(0.0, eta[i])
        out[1, i] = y[i] - (y[i] + 1.0) * share
        out[2, i] = -turn
        out[3, i] = -turn * (1.0 - 2.0 * share)


class Geometric(Family):
    """Failures before the first success, with mean mu = exp(eta) and variance mu + mu^2."""

    name = "geometric"
    links = ("log",)

    @property
    def kernel(self):
        return geometric_rows

    def expected_weights(self, response, eta, working):
        return self.link.mean(eta) / (1.0 + self.link.mean(eta))

    def read(self, values, request=Request()):  # noqa: B008
        y = counts(values, request, "Failures are whole numbers from zero.")
        return plain(y, np.zeros(len(y)), request)

    def start(self, response):
        return np.zeros(0)

    def start_predictor(self, response):
        return np.log(response.y + 0.5)

    def variance(self, response, eta, working):
        return self.link.mean(eta) + self.link.mean(eta) ** 2

    def cdf(self, response, eta, working):
        chance = 1.0 / (1.0 + self.link.mean(eta))
        return np.array([geom.cdf(response.y, chance), geom.cdf(response.y + 1, chance)])

    def simulate(self, response, eta, working, rng):
        return rng.geometric(1.0 / (1.0 + self.link.mean(eta))) - 1.0


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    data = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(12), 10)})
    mean = np.exp(0.8 + 0.5 * data.x + 0.6 * rng.normal(size=12)[data.g])
    return data.assign(failures=rng.geometric(1.0 / (1.0 + mean)) - 1)


@pytest.fixture(scope="module")
def model(data):
    return blm.Model(FORMULA, data, family=Geometric())


@pytest.fixture(scope="module")
def sampled(model):
    return model.fit("nuts", draws=500, tune=300, chains=2, seed=1, progressbar=False)


def log_likelihood(data, beta, sd):
    """Return the log-likelihood, every group's effect integrated by the trapezium rule."""
    b, total = sd * np.linspace(-8.0, 8.0, 1001), 0.0
    for _, rows in data.groupby("g"):
        predictor = beta[0] + beta[1] * rows.x.to_numpy() + b[:, None]
        logs = geom.logpmf(rows.failures.to_numpy() + 1, 1.0 / (1.0 + np.exp(predictor))).sum(axis=1)
        total += np.log(np.sum(norm.pdf(b, scale=sd) * np.exp(logs)) * (b[1] - b[0]))
    return total


def test_maximum_likelihood_is_that_of_the_integral(model, data):
    fit = model.fit("ml", n_quad=25)
    beta, sd = fit.fixef().to_numpy(), fit.varcorr()["sd"].iloc[0]
    assert fit.loglik == pytest.approx(log_likelihood(data, beta, sd), abs=QUADRATURE)
    for step in ([1e-2, 0], [-1e-2, 0], [0, 1e-2], [0, -1e-2]):
        assert log_likelihood(data, beta + step, sd) < fit.loglik
    np.testing.assert_allclose(fit.predict(kind="link"), np.log(fit.predict(kind="mean")))


def test_both_samplers_draw_from_its_posterior(model, sampled):
    assert sampled.draws.info["sampler"] == "compiled"
    other = model.fit("importance", draws=500, chains=2, seed=2, progressbar=False)
    assert other.draws.info["k_hat"] < 0.5
    one, two = sampled.coef_table(), other.coef_table()
    error = np.sqrt(one["sd"] ** 2 / one["ess_bulk"] + two["sd"] ** 2 / two["ess_bulk"])
    assert (np.abs(one["mean"] - two["mean"]) / error).max() < MONTE_CARLO
    assert sampled.varcorr()["sd"].iloc[0] == pytest.approx(other.varcorr()["sd"].iloc[0], rel=0.15)


def test_a_fit_is_read_like_any_other(model, sampled, tmp_path):
    for random in ("all", "none", "marginal"):
        assert np.all(sampled.predict(random=random).to_numpy() > 0)
    drawn = sampled.simulate(20, seed=3).to_numpy()
    assert drawn.min() == 0 and np.all(drawn == np.round(drawn))
    page = tmp_path / "report.html"
    sampled.report(page)
    assert "geometric" in page.read_text(encoding="utf-8")


def test_values_outside_its_support_are_refused():
    data = pd.DataFrame({"failures": [1, -2, 3, 0], "x": [0.1, 0.4, 0.2, 0.9], "g": [1, 1, 2, 2]})
    with pytest.raises(blm.DataError, match="Failures are whole numbers from zero"):
        _ = blm.Model(FORMULA, data, family=Geometric()).design
