"""The evidence against quadrature over a dense likelihood."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

import bayeslmm as blm
from bayeslmm.errors import OptionError, PriorError

PRIORS = {"Intercept": "Normal(1500, 150)", "sd_Batch": "HalfStudentT(3, 60)", "sigma": "HalfNormal(80)"}
QUADRATURE = 1e-3  # error of the trapezium rule below: checked with twice as many nodes


def by_quadrature(data, with_batch=True, nodes=160):
    """log of the integral of N(y; 1500, V) over sigma and sd, in logarithms of both."""
    y = data["Yield"].to_numpy(float)
    Z = (data["Batch"].to_numpy()[:, None] == np.unique(data["Batch"])).astype(float)
    log_sigma = np.linspace(np.log(25), np.log(140), nodes)
    log_sd = np.linspace(np.log(0.01), np.log(1500), nodes) if with_batch else np.array([-np.inf])
    logs = np.empty((nodes, len(log_sd)))
    for i, s in enumerate(np.exp(log_sigma)):
        V = s**2 * np.eye(30) + 150.0**2 + np.exp(log_sd)[:, None, None] ** 2 * (Z @ Z.T)
        root = np.linalg.cholesky(V)
        solved = np.linalg.solve(root, np.broadcast_to((y - 1500.0)[:, None], (len(log_sd), 30, 1)))[:, :, 0]
        logs[i] = -0.5 * np.sum(solved**2, axis=1) - np.sum(np.log(np.diagonal(root, axis1=1, axis2=2)), axis=1)
        logs[i] += stats.halfnorm(scale=80).logpdf(s) + np.log(s) - 15 * np.log(2 * np.pi)
    if not with_batch:
        return np.log(trapezoid(np.exp(logs[:, 0] + 200), log_sigma)) - 200
    logs += np.log(2) + stats.t(3, 0, 60).logpdf(np.exp(log_sd)) + log_sd
    return np.log(trapezoid(trapezoid(np.exp(logs + 200), log_sd), log_sigma)) - 200


@pytest.fixture(scope="module")
def data():
    return blm.load_dataset("dyestuff")


@pytest.fixture(scope="module")
def fit(data):
    return blm.Model("Yield ~ 1 + (1 | Batch)", data, priors=PRIORS).fit("importance", seed=1)


def test_against_quadrature(fit, data):
    exact = by_quadrature(data)
    assert abs(exact - by_quadrature(data, nodes=80)) < QUADRATURE
    assert abs(fit.log_evidence - exact) < 4 * fit.log_evidence.error + QUADRATURE
    assert 0 < fit.log_evidence.error < 0.05
    assert "Monte Carlo error" in repr(fit.log_evidence)


def test_bayes_factor_against_quadrature(fit, data):
    plain = {name: PRIORS[name] for name in ("Intercept", "sigma")}
    without = blm.Model("Yield ~ 1", data, priors=plain).fit("importance", seed=1)
    found = blm.bayes_factor(fit, without)
    exact = by_quadrature(data) - by_quadrature(data, with_batch=False)
    assert abs(found.log - exact) < 4 * found.error + 2 * QUADRATURE
    assert float(found) == pytest.approx(np.exp(found.log))
    assert found.probability == pytest.approx(found.value / (1 + found.value))
    assert str(found).startswith("Bayes factor")
    assert blm.bayes_factor(without, fit).log == pytest.approx(-found.log)


def test_any_posterior_has_the_evidence(fit, data):
    """NUTS draws bring none, so importance sampling is run for it."""
    model = blm.Model("Yield ~ 1 + (1 | Batch)", data, priors=PRIORS)
    drawn = model.fit("nuts", seed=4, draws=100, tune=200, chains=2, progressbar=False)
    error = np.hypot(drawn.log_evidence.error, fit.log_evidence.error)
    assert abs(drawn.log_evidence - fit.log_evidence) < 4 * error


def test_a_saved_fit_keeps_it(fit, tmp_path):
    again = blm.load(fit.save(tmp_path / "fit"))
    assert again.log_evidence == fit.log_evidence
    assert again.log_evidence.error == fit.log_evidence.error


def test_of_counts_too():
    data = blm.load_dataset("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    with_period = blm.Model(formula, data, family="binomial")
    assert with_period.fit("importance", seed=1, draws=250).log_evidence.error < 0.1


def test_what_has_no_evidence(fit, data):
    flat = blm.Model("Yield ~ 1 + (1 | Batch)", data, priors={"Intercept": blm.Flat()}).fit("importance", seed=1)
    with pytest.raises(PriorError, match="the priors of Intercept are flat"):
        _ = flat.log_evidence
    with pytest.raises(OptionError, match="anova"):
        blm.bayes_factor(fit, blm.lmm("Yield ~ 1 + (1 | Batch)", data))
    other = blm.Model("Yield ~ 1 + (1 | Batch)", data.iloc[:25]).fit("importance", seed=1)
    with pytest.raises(OptionError, match="different rows"):
        blm.bayes_factor(fit, other)
