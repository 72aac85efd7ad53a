"""Generalized models without random terms: plain generalized linear models, by every method."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

import bayeslmm as blm


@pytest.fixture(scope="module")
def ticks():
    return blm.load_dataset("grouseticks")


def test_evidence_and_mean_of_counts_by_quadrature(ticks):
    y = ticks["TICKS"].to_numpy()
    model = blm.Model("TICKS ~ 1", ticks, family="poisson", priors={"Intercept": "Normal(1, 2)"})
    fit = model.fit("importance", seed=1, draws=2000, progressbar=False)

    def log_joint(beta):
        return stats.poisson.logpmf(y, np.exp(beta)).sum() + stats.norm.logpdf(beta, 1, 2)

    peak = log_joint(np.log(y.mean()))
    area, moment = (quad(lambda b, k=k: b**k * np.exp(log_joint(b) - peak), 1.5, 2.2, epsabs=1e-10)[0] for k in (0, 1))
    assert fit.status.ok
    assert fit.log_evidence == pytest.approx(peak + np.log(area), abs=0.01)
    row = fit.coef_table().loc["Intercept"]
    assert row["mean"] == pytest.approx(moment / area, abs=4 * row["sd"] / np.sqrt(row["ess_bulk"]))


@pytest.mark.parametrize(
    ("formula", "family"),
    [("TICKS ~ HEIGHT", "poisson"), ("TICKS ~ scale(HEIGHT)", "negative_binomial"),
     ("YEAR ~ scale(HEIGHT)", "cumulative"), ("y ~ scale(HEIGHT)", "bernoulli")],
)  # fmt: skip
def test_the_posterior_lies_about_the_estimates(ticks, formula, family):
    """The priors are weak and the rows many: means within a fifth of a standard error, sds within a tenth."""
    data = ticks.assign(y=ticks["TICKS"] > 2)
    model = blm.Model(formula, data, family=family)
    fit, ml = model.fit("importance", seed=1, progressbar=False), model.fit("ml")
    assert fit.method == "importance"
    assert fit.status.ok, fit.status.message
    own, other = fit.coef_table(), ml.coef_table()
    np.testing.assert_allclose(own["mean"], other["estimate"], atol=0.2 * other["std_error"].max())
    np.testing.assert_allclose(own["sd"], other["std_error"], rtol=0.1)
    for found in (fit, ml):
        assert formula.split(" ~ ")[0] in str(found.summary())
        assert found.varcorr().empty
        assert len(found.predict()) == len(data)
