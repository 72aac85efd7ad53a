"""Posteriors of counts, proportions and categories through the front door; the sampler has tests of its own."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm

OPTIMISER = 1e-6  # what rounding leaves of a search that starts at the same place
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return blm.load_dataset("cbpp")


@pytest.fixture(scope="module")
def herds(cbpp):
    return blm.Model(CBPP, cbpp, family="binomial").fit("importance", seed=1, draws=500, progressbar=False)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"x": rng.normal(size=150), "g": np.repeat(np.arange(15), 10)})
    mean = np.exp(1 + 0.4 * data.x + 0.5 * rng.normal(size=15)[data.g])
    data["y"] = rng.negative_binomial(3, 3 / (3 + mean))
    return data


@pytest.fixture(scope="module")
def negative_binomial(counts):
    model = blm.Model("y ~ x + (x | g)", counts, family="negative_binomial")
    return model.fit("importance", seed=1, draws=300, progressbar=False)


def test_the_posterior_of_a_known_case():
    """One probability, a flat prior on its logit: the posterior is Beta(k, n - k)."""
    data = pd.DataFrame({"k": [7, 5, 9], "n": [20, 20, 20], "x": [-1.0, 0.0, 1.0], "g": [1, 2, 3]})
    model = blm.Model(
        "p(k, n) ~ 1 + (1 | g)",
        data,
        family="binomial",
        priors={"Intercept": "Normal(0, 100)", "sd_g": "HalfNormal(1e-4)"},
    )
    fit = model.fit("importance", seed=3, progressbar=False)
    p = 1 / (1 + np.exp(-fit.draws.beta[..., 0].ravel()))
    exact = stats.beta(21, 39)
    error = exact.std() / np.sqrt(fit.info["effective_size"])
    assert abs(p.mean() - exact.mean()) < 4 * error
    assert p.std() == pytest.approx(exact.std(), rel=0.1)


def test_coefficients_are_near_maximum_likelihood(cbpp, herds):
    ml = blm.Model(CBPP, cbpp, family="binomial").fit("ml")
    table = ml.coef_table()
    assert np.abs((herds.fixef() - table["estimate"]) / table["std_error"]).max() < 0.3
    assert herds.status.ok
    assert herds.varcorr()["sd"].iloc[0] > ml.varcorr()["sd"].iloc[0]  # a skewed posterior of few herds


def test_predictions_are_means_over_the_draws(cbpp, herds):
    row = cbpp.head(1)
    beta = herds.draws.beta[..., 0].ravel()
    b = herds.draws.effects[0][:, :, 0, 0].ravel()
    expected = 1 / (1 + np.exp(-beta - b))
    found = herds.predict(row, interval=0.9)
    np.testing.assert_allclose(found["prediction"], expected.mean(), rtol=1e-10)
    np.testing.assert_allclose(found[["lower", "upper"]].iloc[0], np.quantile(expected, [0.05, 0.95]), rtol=1e-10)
    np.testing.assert_allclose(herds.predict(row, kind="link"), (beta + b).mean(), rtol=1e-10)
    np.testing.assert_allclose(herds.predict(row, random="none"), (1 / (1 + np.exp(-beta))).mean(), rtol=1e-10)


def test_means_over_the_population_and_of_new_groups(cbpp, herds):
    """The marginal mean is that of a new herd's, averaged; its limits are narrower than a new herd's."""
    row = cbpp.head(1)
    marginal = herds.predict(row.drop(columns="herd"), random="marginal", interval=0.9)
    new = herds.predict(row.assign(herd=99), new_levels="sample", interval=0.9, seed=4)
    assert new["prediction"].iloc[0] == pytest.approx(marginal["prediction"].iloc[0], abs=0.012)
    width = {name: float(t["upper"].iloc[0] - t["lower"].iloc[0]) for name, t in (("new", new), ("mean", marginal))}
    assert width["new"] > 1.5 * width["mean"]
    rng = np.random.default_rng(0)
    sd, beta = herds.draws.sd[0].ravel(), herds.draws.beta[..., 0].ravel()
    many = 1 / (1 + np.exp(-beta[:, None] - sd[:, None] * rng.normal(size=(len(sd), 200))))
    assert marginal["prediction"].iloc[0] == pytest.approx(many.mean(), abs=0.002)


def test_two_rows_of_one_new_group_share_its_effect(cbpp, herds):
    rows = pd.concat([cbpp.head(1)] * 2, ignore_index=True).assign(herd=[99, 99])
    same = herds.predict(rows, new_levels="sample", interval=0.9, seed=4)
    assert same["upper"].nunique() == 1
    other = herds.predict(rows.assign(herd=[98, 99]), new_levels="sample", interval=0.9, seed=4)
    assert other["upper"].nunique() == 2


def test_dispersions_are_read_everywhere(negative_binomial):
    fit = negative_binomial
    table = fit.dispersion_table()
    assert list(table.index) == ["shape"]
    np.testing.assert_allclose(table["mean"], fit.dispersion.mean(axis=(0, 1)))
    assert "Dispersion" in str(fit.summary())
    posterior = fit.idata.posterior
    assert {"beta", "sd_g", "cor_g", "r_g", "shape"} <= set(posterior.data_vars)
    assert "sigma" not in posterior.data_vars
    assert not hasattr(fit, "sigma")
    assert len(fit.varcorr()) == 3


def test_new_counts_scatter_more_than_their_means(negative_binomial, counts):
    means = negative_binomial.predict(counts.head(3), interval=0.9)
    new = negative_binomial.predict(counts.head(3), kind="response", interval=0.9, seed=1)
    assert ((new["upper"] - new["lower"]) > (means["upper"] - means["lower"])).all()
    np.testing.assert_allclose(new["prediction"], means["prediction"], rtol=0.25)
    simulated = negative_binomial.simulate(200, random="conditional", seed=1)
    assert simulated.shape == (len(counts), 200)
    assert simulated.to_numpy().mean() == pytest.approx(counts.y.mean(), rel=0.15)


def test_the_same_seed_gives_the_same_draws(cbpp, herds):
    again = blm.Model(CBPP, cbpp, family="binomial").fit("importance", seed=1, draws=500, progressbar=False)
    np.testing.assert_array_equal(again.draws.beta, herds.draws.beta)


def test_priors_are_in_units_of_the_link(cbpp):
    priors = blm.Model(CBPP, cbpp, family="binomial").priors.set_index("parameter")["prior"]
    assert priors["sd_herd[Intercept]"] == "HalfStudentT(3, 2.5)"
    assert "sigma" not in priors.index
    stated = blm.Model(CBPP, cbpp, family="binomial", priors={"sd_herd": "HalfNormal(1)"})
    assert stated.priors.set_index("parameter")["prior"]["sd_herd[Intercept]"] == "HalfNormal(1)"
    data = pd.DataFrame({"y": [1, 2, 0, 4, 2, 3], "g": list("aabbcc")})
    counts = blm.Model("y ~ 1 + (1 | g)", data, family="negative_binomial", priors={"shape": "Gamma(2, 0.1)"})
    assert counts.priors.set_index("parameter")["prior"]["shape"] == "Gamma(2, 0.1)"
    for priors in ("bambi", {"sigma": "HalfNormal(1)"}):
        with pytest.raises(blm.PriorError):
            blm.Model(CBPP, cbpp, family="binomial", priors=priors)


def test_separation_has_a_posterior():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(10), 10), "rare": (np.arange(100) < 12).astype(int)})
    data["y"] = np.where(data.rare == 1, 1, rng.integers(0, 2, 100))
    fit = blm.Model("y ~ rare + (1 | g)", data, family="bernoulli").fit(
        "importance", seed=1, draws=250, progressbar=False
    )
    assert 0.5 < fit.fixef()["rare"] < 20
    assert fit.coef_table().loc["rare", "lower"] > -1


def test_ratios_pictures_and_refusals(herds):
    ratios = herds.coef_table(exponentiate=True)
    np.testing.assert_allclose(ratios["mean"], np.exp(herds.draws.beta).mean(axis=(0, 1)))
    for kind in ("forest", "ranef", "trace", "pairs", "residuals"):
        assert herds.plot(kind) is not None
    beside = blm.compare(herds, blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial").fit("ml"))
    assert "sd_herd[Intercept]" in beside.index
    assert "sigma" not in beside.index
    with pytest.raises(blm.OptionError, match="single trial"):
        herds.predict(kind="response")
    with pytest.raises(blm.OptionError, match="parametrization='noncentered'"):
        blm.Model(CBPP, blm.load_dataset("cbpp"), family="binomial").fit("advi", parametrization="marginal")


@pytest.mark.parametrize("method", ("map", "importance"))
def test_a_constant_offset_moves_thresholds_and_nothing_else(method):
    """Grades cut at tau - eta: with 30 less in every row the same posterior has thresholds lower by 30."""
    data = blm.load_dataset("verbagg")
    data = data[data["id"].isin(data["id"].unique()[:30])]
    options = {"draws": 200, "chains": 1, "seed": 4} if method == "importance" else {}
    plain, moved = (
        blm.Model("resp ~ Anger + offset(o) + (1 | id)", data.assign(o=o), family="cumulative").fit(method, **options)
        for o in (0.0, -30.0)
    )
    for of in (lambda fit: fit.fixef(), lambda fit: fit.varcorr()["sd"], lambda fit: fit.predict()):
        np.testing.assert_allclose(of(moved), of(plain), atol=OPTIMISER)
    shift = thresholds(moved) - thresholds(plain)
    np.testing.assert_allclose(shift, -30.0, atol=OPTIMISER)


def thresholds(fit):
    """Return the thresholds, the mean over draws."""
    found = fit.dispersion
    return found["threshold"] if isinstance(found, dict) else found.mean(axis=(0, 1))


def test_statements_are_shares_of_draws(herds, negative_binomial):
    found = herds.hypothesis("period[T.2] < 0", "period[T.2] - period[T.3] > 0", "period[T.2] = 0")
    beta = herds.draws.beta.reshape(-1, 4)
    assert found["probability"].iloc[:2].tolist() == [np.mean(beta[:, 1] < 0), np.mean(beta[:, 1] > beta[:, 2])]
    assert found["mean"].iloc[1] == pytest.approx(np.mean(beta[:, 1] - beta[:, 2]))
    assert 0 < found["bayes_factor"].iloc[2] < 0.1
    shape = negative_binomial.hypothesis("shape > 3", "sd_g[x] < 1")["probability"]
    assert shape.tolist() == [
        np.mean(negative_binomial.dispersion > 3),
        np.mean(negative_binomial.draws.sd[0][..., 1] < 1),
    ]


def test_rows_at_every_draw(herds, cbpp, tmp_path):
    """Log densities against scipy's binomial, new responses by their first two moments; saved and loaded."""
    fit = herds.with_groups({}).add("log_likelihood", "posterior_predictive", seed=1)
    eta = herds.draws.beta.reshape(-1, 4) @ herds.design.X.T
    (term,) = herds.design.terms
    eta += herds.draws.effects[0].reshape(len(eta), -1)[:, term.codes]
    p = 1 / (1 + np.exp(-eta))
    size = cbpp["size"].to_numpy()
    response = herds.design.response
    found = fit.idata.log_likelihood[response].to_numpy().reshape(eta.shape)
    np.testing.assert_allclose(found, stats.binom.logpmf(cbpp.incidence.to_numpy(), size, p), rtol=1e-9)
    new = fit.idata.posterior_predictive[response].to_numpy().reshape(eta.shape)
    spread = np.sqrt(np.mean(size * p * (1 - p), axis=0) / len(eta))
    assert (np.abs(np.mean(new - size * p, axis=0)) < 4.5 * spread).all()
    again = blm.load(fit.save(tmp_path / "fit"))
    np.testing.assert_array_equal(again.idata.log_likelihood[response], fit.idata.log_likelihood[response])
