"""Residuals of every kind, against dense matrices written from the equations."""

import numpy as np
import pytest
from scipy import special, stats

import bayeslmm as blm


@pytest.fixture(scope="module")
def rats():
    data = blm.load_dataset("ratpup")
    return data.assign(w=1 + (data["pup_id"] % 3))


def dense(fit):
    """Return X, the covariance matrices of the response and of the noise, and the response."""
    design = fit.design
    w = np.ones(design.n) if design.weights is None else design.weights
    noise = np.diag(fit.sigma**2 / w)
    between = np.zeros((design.n, design.n))
    covariances = fit.varcorr()
    for term in design.terms:
        own = covariances[covariances["group"] == term.name]
        sds = own[own["other_effect"].isna()]["sd"].to_numpy()
        sigma = np.diag(sds**2)
        if term.has_correlations:
            sigma[0, 1] = sigma[1, 0] = own["correlation"].dropna().iloc[0] * sds[0] * sds[1]
        same = term.codes[:, None] == term.codes
        between += same * (term.columns @ sigma @ term.columns.T)
    return design.X, between + noise, noise, design.y


@pytest.mark.parametrize("weights", [None, "w"])
def test_against_dense_matrices(rats, weights):
    fit = blm.Model("weight ~ litsize + treatment + (sex | litter)", rats, weights=weights).fit("reml")
    X, V, noise, y = dense(fit)
    inverse = np.linalg.inv(V)
    covariance = np.linalg.inv(X.T @ inverse @ X)
    beta = covariance @ X.T @ inverse @ y
    P = inverse - inverse @ X @ covariance @ X.T @ inverse
    raw = y - X @ beta
    conditional = noise @ P @ y  # y - X beta - Z b
    hat = np.eye(len(y)) - noise @ P
    np.testing.assert_allclose(fit.residuals(), conditional, atol=1e-7)
    np.testing.assert_allclose(fit.residuals(random="none"), raw, atol=1e-7)
    np.testing.assert_allclose(fit.residuals(kind="pearson"), conditional / np.sqrt(np.diag(noise)), atol=1e-6)
    np.testing.assert_allclose(fit.residuals(kind="pearson", random="none"), raw / np.sqrt(np.diag(V)), atol=1e-6)
    spread = np.sqrt(np.diag(noise) * (1 - np.diag(hat)))
    np.testing.assert_allclose(fit.residuals(kind="standardized"), conditional / spread, atol=1e-5)
    spread = np.sqrt(np.diag(V - X @ covariance @ X.T))
    np.testing.assert_allclose(fit.residuals(kind="standardized", random="none"), raw / spread, atol=1e-5)
    for kind in ("quantile", "deviance"):
        np.testing.assert_allclose(fit.residuals(kind=kind), fit.residuals(kind="pearson"))


def test_of_a_posterior(rats):
    model = blm.Model("weight ~ litsize + (1 | litter)", rats)
    fit, reml = model.fit("importance", seed=1, draws=2000, progressbar=False), model.fit("reml")
    for random in ("all", "none"):
        own, other = (f.residuals(kind="pearson", random=random) for f in (fit, reml))
        assert np.corrcoef(own, other)[0, 1] > 0.99
        assert own.std() == pytest.approx(other.std(), rel=0.1)


def test_standardized_of_a_posterior(rats):
    """Beside the leverages of REML, since the posterior of a row's mean has variance sigma^2 h up to priors."""
    model = blm.Model("weight ~ litsize + (1 | litter)", rats)
    fit, reml = model.fit("importance", seed=1, draws=2000, progressbar=False), model.fit("reml")
    for random in ("all", "none"):
        ratio = [
            f.residuals(kind="standardized", random=random) / f.residuals(kind="pearson", random=random)
            for f in (fit, reml)
        ]
        np.testing.assert_allclose(*ratio, rtol=0.02)
        assert (ratio[0] > 1).all()
    beta = np.asarray(fit.draws.beta).reshape(-1, 2) @ fit.design.X.T
    effects = np.asarray(fit.draws.effects[0]).reshape(len(beta), -1)[:, fit.design.terms[0].codes]
    spread = np.var(beta + effects, axis=0, ddof=1)
    variance = np.mean(np.square(np.asarray(fit.draws.sigma)))
    expected = fit.residuals() / np.sqrt(variance - spread)
    np.testing.assert_allclose(fit.residuals(kind="standardized"), expected, rtol=1e-5)


def test_a_kind_in_the_place_of_rows_is_named(rats):
    fit = blm.lmm("weight ~ litsize + (1 | litter)", rats)
    with pytest.raises(blm.OptionError, match="write kind='pearson'"):
        fit.residuals("pearson")


def test_of_counts():
    model = blm.Model("TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD)", blm.load_dataset("grouseticks"), family="poisson")
    fit, posterior = model.fit("ml"), model.fit("importance", draws=200, seed=1, progressbar=False)
    y = fit.design.outcome.y
    mean = fit.predict(random="none").to_numpy()
    np.testing.assert_allclose(fit.residuals(random="none"), y - mean)
    np.testing.assert_allclose(fit.residuals("pearson", random="none"), (y - mean) / np.sqrt(mean))
    np.testing.assert_array_equal(fit.residuals("response"), fit.residuals())
    unit = 2 * (special.xlogy(y, y / mean) - (y - mean))  # McCullagh and Nelder (1989), table 2.1
    np.testing.assert_allclose(fit.residuals("deviance", random="none"), np.sign(y - mean) * np.sqrt(unit), atol=1e-6)
    assert np.corrcoef(posterior.residuals("deviance"), fit.residuals("deviance"))[0, 1] > 0.98
    u = stats.poisson.cdf(y - 1, mean), stats.poisson.cdf(y, mean)
    found = stats.norm.cdf(fit.residuals("quantile", random="none", seed=3))
    assert ((found >= u[0] - 1e-12) & (found <= u[1] + 1e-12)).all()
    assert np.corrcoef(posterior.residuals("pearson"), fit.residuals("pearson"))[0, 1] > 0.98
    np.testing.assert_allclose(posterior.residuals(), y - posterior.fitted())
    with pytest.raises(blm.OptionError, match="normal responses"):
        fit.residuals("standardized")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "working"}, "'raw', 'pearson'"),
        ({"random": "some"}, "'all' or 'none'"),
        ({"kind": "pearson", "data": 3}, "new rows"),
    ],
)
def test_refused(rats, options, message):
    fit = blm.lmm("weight ~ litsize + (1 | litter)", rats)
    with pytest.raises(blm.OptionError, match=message):
        fit.residuals(**{**options, **({"data": rats.head()} if "data" in options else {})})
