"""Tests of coefficients and terms of generalized point fits: Wald tests, from the formula itself."""

import numpy as np
import pytest
from scipy import stats

import bayeslmm as blm

SAME = 1e-9  # the same products in another order


@pytest.fixture(scope="module")
def herds():
    text = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return blm.Model(text, blm.load_dataset("cbpp"), family="binomial").fit("ml")


def test_a_statement_is_a_wald_test(herds):
    found = herds.hypothesis("period[2] - period[3] > 0").iloc[0]
    names = list(herds.fixef().index)
    L = np.zeros(4)
    L[names.index("period[T.2]")], L[names.index("period[T.3]")] = 1.0, -1.0
    estimate, error = L @ herds.fixef(), np.sqrt(L @ herds.vcov() @ L)
    assert found["estimate"] == pytest.approx(estimate, rel=SAME)
    assert found["t"] == pytest.approx(estimate / error, rel=SAME)
    assert found["p"] == pytest.approx(stats.norm.sf(estimate / error), rel=SAME)
    assert found["df"] == np.inf


@pytest.mark.parametrize("ask", [lambda fit: fit.anova(), lambda fit: fit.anova(2), lambda fit: fit.drop1()])
def test_a_term_is_tested_by_chi_square(herds, ask):
    table = ask(herds)
    beta, covariance = herds.fixef().to_numpy()[1:], herds.vcov().to_numpy()[1:, 1:]
    chisq = beta @ np.linalg.solve(covariance, beta)
    assert table.loc["period", "F"] == pytest.approx(chisq / 3, rel=1e-6)
    assert table.loc["period", "p"] == pytest.approx(stats.chi2.sf(chisq, 3), rel=1e-6)


def test_degrees_of_freedom_are_refused(herds):
    with pytest.raises(blm.OptionError, match="tests of this fit are normal"):
        herds.anova(ddf="satterthwaite")


def test_a_standard_deviation_is_tested_by_its_profile(herds):
    found = herds.hypothesis("sd_herd[Intercept] > 0.5").iloc[0]
    zeta = herds.profile("sd_herd[Intercept]").curves["sd_herd[Intercept]"].interpolate(np.array(0.5))
    assert found["p"] == pytest.approx(stats.norm.sf(-float(zeta)), rel=1e-3)


def test_what_a_posterior_of_counts_says_of_statements():
    model = blm.Model("TICKS ~ YEAR + (1 | BROOD)", blm.load_dataset("grouseticks"), family="negative_binomial")
    fit = model.fit("importance", draws=200, chains=2, seed=1)
    found = fit.hypothesis("YEAR[96] - YEAR[97] > 1.5", "sd_BROOD[Intercept] < 1.2", "shape > 3", "YEAR[96] = 0")
    posterior = fit.idata.posterior
    beta = posterior["beta"].sel(fixed=["YEAR[T.96]", "YEAR[T.97]"]).to_numpy().reshape(-1, 2)
    assert found["probability"].iloc[0] == np.mean(beta[:, 0] - beta[:, 1] > 1.5)
    assert found["mean"].iloc[0] == pytest.approx(np.mean(beta[:, 0] - beta[:, 1]) - 1.5)
    sd, shape = (posterior[name].to_numpy().ravel() for name in ("sd_BROOD", "shape"))
    assert found["probability"].iloc[1] == np.mean(sd < 1.2)
    assert found["probability"].iloc[2] == np.mean(shape > 3)
    assert found["bayes_factor"].iloc[:3].isna().all()
    assert found["bayes_factor"].iloc[3] < 0.1  # ticks of 1996 are far from those of 1995
    with pytest.raises(blm.FormulaError, match="no parameter 'sigma'"):
        fit.hypothesis("sigma > 1")
