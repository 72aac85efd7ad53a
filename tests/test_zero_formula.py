"""A share of zeros with a formula of its own, from the front door to the posterior."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import logistic, poisson

import bayeslmm as blm
from bayeslmm.model_files.reading import read_model_file
from bayeslmm.posterior.flat_coefficients import unbounded_coefficients
from bayeslmm.posterior.generalized_mixture import generalized_density

SHORT = {"seed": 1, "draws": 100, "chains": 2, "progressbar": False}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(61)
    n = 160
    frame = pd.DataFrame({"x": rng.normal(size=n) + 3, "w": rng.choice(list("ab"), n), "g": np.arange(n) % 8})
    counts = rng.poisson(np.exp(0.5 + 0.3 * frame.x + 0.4 * rng.normal(size=8)[frame.g]))
    share = 1 / (1 + np.exp(2 - 1.5 * (frame.w == "b")))
    return frame.assign(y=counts * (rng.random(n) > share))


def model_of(data, family="zero_inflated_poisson", zero="~ w", **options):
    return blm.Model("y ~ x + (1 | g)", data, family=family, zero=zero, **options)


@pytest.mark.parametrize("family", ["zero_inflated_poisson", "hurdle_negative_binomial"])
def test_constant_alone_is_the_share_itself(data, family):
    plain, constant = model_of(data, family, None).fit("ml"), model_of(data, family, "~ 1").fit("ml")
    assert constant.loglik == pytest.approx(plain.loglik, abs=1e-6)
    share = plain.dispersion["zero"]
    assert constant.dispersion["zero[Intercept]"] == pytest.approx(np.log(share / (1 - share)), rel=1e-3)


def test_gradient_of_the_posterior(data):
    """Central differences of the density by the coefficients of the share, and by all else."""
    model = model_of(data, "zero_inflated_negative_binomial", "~ w + x")
    family = model.family.for_response(model.design.outcome)
    density = generalized_density(model.design, family, model.resolved_priors)
    x = density.start((np.array([[0.4]]),), family.start(model.design.outcome))
    assert len(x) == 1 + 1 + 3
    x += 0.05
    found = density.point(x, gradient=True).gradient
    steps = 1e-5 * np.eye(len(x))
    expected = [(density.point(x + s).log_density - density.point(x - s).log_density) / 2e-5 for s in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_predictions_take_the_columns_of_their_rows(data):
    fit = model_of(data).fit("ml")
    for random in ("all", "none", "marginal"):
        some = data.iloc[[5, 3, 80]]
        np.testing.assert_allclose(
            fit.predict(some, random=random), fit.predict(random=random).iloc[[5, 3, 80]], rtol=1e-10
        )
    other = fit.predict(data.assign(w="b"), random="none") / fit.predict(data.assign(w="a"), random="none")
    zero = list(fit.dispersion.values())
    ratio = (1 + np.exp(zero[0])) / (1 + np.exp(zero[0] + zero[1]))  # of the shares that are not extra zeros
    np.testing.assert_allclose(other, ratio, rtol=1e-10)
    assert fit.residuals("quantile").std() < 1.5


def test_posterior_and_its_predictions(data):
    model = model_of(data)
    assert list(model.priors["parameter"])[-2:] == ["zero[Intercept]", "zero[w[T.b]]"]
    fit = model.fit("importance", **SHORT)
    assert list(fit.dispersion_table().index) == ["zero[Intercept]", "zero[w[T.b]]"]
    assert fit.idata.posterior["zero[w[T.b]]"].shape == (2, 100)
    some = data.iloc[[9, 2]]
    np.testing.assert_allclose(fit.predict(some), fit.predict().iloc[[9, 2]], rtol=1e-10)
    assert fit.simulate(3, seed=1).shape == (160, 3)
    np.testing.assert_array_equal(fit.simulate(2, data, seed=3), fit.simulate(2, seed=3))
    mode = model.fit("map")
    spread = fit.dispersion_table()["sd"]
    np.testing.assert_allclose(list(mode.dispersion.values()), fit.dispersion_table()["mean"], atol=1.2 * spread.max())


def test_simulation_of_new_rows_has_their_share_of_zeros(data):
    """A hurdle's zeros come from the share alone, whatever the mean: two rows, one of each share."""
    fit = model_of(data, "hurdle_poisson").fit("ml")
    zero = list(fit.dispersion.values())
    expected = 1 / (1 + np.exp(-np.array([zero[0], zero[0] + zero[1]])))
    rows = data.iloc[:2].assign(w=["a", "b"])
    found = (fit.simulate(4000, rows, seed=3) == 0).mean(axis=1)
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / 4000))
    np.testing.assert_array_equal(fit.simulate(2, data, seed=3), fit.simulate(2, seed=3))


def test_cross_validation_scores_rows_by_their_own_share(data):
    """Where the effects are estimates a row's score is its log density; the fold is fitted by hand here."""
    folds = np.arange(160) // 8 % 2
    found = blm.cross_validate(model_of(data), by=folds, method="ml").pointwise
    fit = model_of(data[folds == 1]).fit("ml")
    rows = data[folds == 0]
    eta = fit.predict(rows, kind="link").to_numpy()
    zero = list(fit.dispersion.values())
    share = 1 / (1 + np.exp(-zero[0] - zero[1] * (rows.w == "b").to_numpy()))
    density = (1 - share) * poisson.pmf(rows.y, np.exp(eta)) + share * (rows.y == 0)
    own = found[folds == 0]
    np.testing.assert_allclose(own["elpd"], np.log(density), atol=1e-6)


def test_model_file_states_the_share_of_zeros(data, tmp_path, capsys):
    from bayeslmm.cli import main

    data.to_csv(tmp_path / "counts.csv", index=False)
    lines = ['formula = "y ~ x + (1 | g)"', 'data = "counts.csv"', 'methods = ["ml"]', 'family = "{}"', 'zero = "{}"']
    path = tmp_path / "counts.toml"

    def write(family, zero):
        path.write_text("\n".join(lines).format(family, zero))
        return path

    read = read_model_file(write("zero_inflated_poisson", "~ w"))
    assert read.zero == "~ w"
    assert main(["fit", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "zero[w[T.b]]" in capsys.readouterr().out
    with pytest.raises(blm.ModelFileError, match=r"'poisson' does not have.*hurdle_negative_binomial"):
        read_model_file(write("poisson", "~ w"))
    with pytest.raises(blm.ModelFileError, match="'gaussian' does not have"):
        read_model_file(write("gaussian", "~ w"))


@pytest.mark.parametrize("method", ["ml", "importance"])
def test_saved_and_loaded(data, method, tmp_path):
    fit = model_of(data).fit(method, **(SHORT if method == "importance" else {}))
    again = blm.load(fit.save(tmp_path / "fit"))
    assert again.spec.zero == "~ w"
    np.testing.assert_allclose(again.predict(data.iloc[:4]), fit.predict(data.iloc[:4]), rtol=1e-6)


def test_default_priors_do_not_depend_on_units(data):
    narrow = model_of(data, zero="~ x").priors.iloc[-1, 1]
    wide = model_of(data.assign(x=1000 * data.x), zero="~ x").priors.iloc[-1, 1]
    sd = data.x.std(ddof=0)
    assert narrow == f"Normal(0, {2.5 / sd:.6g})" and wide == f"Normal(0, {2.5 / sd / 1000:.6g})"


def test_the_intercept_of_the_share_has_its_prior_at_the_column_means(data):
    """Columns of another origin: the same density where the shares are the same."""
    values = []
    for origin in (0.0, 50.0):
        model = model_of(
            data.assign(v=data.x + origin), zero="~ v + w", priors={"zero[Intercept]": "Logistic(-1, 0.7)"}
        )
        density = generalized_density(model.design, model.family, model.resolved_priors)
        values.append(density.point(np.array([-0.4, -0.8 - 0.3 * origin, 0.3, -0.6])).log_density)
    assert values[0] == pytest.approx(values[1], abs=1e-8)


def test_brms_priors_of_the_share_against_a_grid():
    """A hurdle's share is a logistic regression of its own: brms has Logistic(0, 1) at the mean, and a flat slope."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"x": rng.normal(2, 1, 24)})
    frame["y"] = np.where(rng.random(24) < 1 / (1 + np.exp(1 - frame.x / 2)), 0, 1 + rng.poisson(1, 24))
    model = blm.Model("y ~ 1", frame, family="hurdle_poisson", zero="~ x", priors="brms")
    assert list(model.priors["prior"])[-2:] == ["Logistic(0, 1)", "Flat()"]
    fit = model.fit("importance", seed=1, draws=2000, chains=2, progressbar=False)
    level, slope = np.meshgrid(np.linspace(-7, 5, 401), np.linspace(-4, 8, 401), indexing="ij")
    log_density = np.array(logistic.logpdf(level))
    for x, y in zip(frame.x - frame.x.mean(), frame.y, strict=True):
        log_density += logistic.logcdf((1 if y == 0 else -1) * (level + slope * x))
    weights = np.exp(log_density - log_density.max()) / np.exp(log_density - log_density.max()).sum()
    table = fit.dispersion_table()
    for name, values in {"zero[x]": slope, "zero[Intercept]": level - slope * frame.x.mean()}.items():
        mean = np.sum(weights * values)
        sd = np.sqrt(np.sum(weights * (values - mean) ** 2))
        assert table.loc[name, "mean"] == pytest.approx(mean, abs=5 * sd / np.sqrt(table.loc[name, "ess_bulk"]))
        assert table.loc[name, "sd"] == pytest.approx(sd, rel=0.15)


@pytest.mark.parametrize(("family", "why"), [("zero_inflated_poisson", "one side"), ("hurdle_poisson", "separates")])
def test_flat_priors_of_the_share_need_data_that_bound_it(data, family, why):
    apart = data.assign(y=np.where(data.w == "b", 0, data.y + 1))
    model = model_of(apart, family, priors="brms")
    with pytest.raises(blm.PriorError, match=rf"zero\[w\[T.b\]\] leaves no posterior.*{why}"):
        model.fit("importance", **SHORT)
    stated = {"preset": "brms", "zero[w[T.b]]": "Normal(0, 2.5)"}
    assert model_of(apart, family, priors=stated).fit("map").status.ok
    with pytest.raises(blm.PriorError, match="zero\\[Intercept\\] leaves no posterior"):
        model_of(data, "zero_inflated_poisson", priors={"zero[Intercept]": "Flat()"}).fit("map")


def test_directions_without_a_bound():
    """Signs of the columns as seen: a straight line in the plane is bounded by rows on both sides of it."""
    plane = np.array([[1.0, 0.0], [-1.0, 0.0], [0.3, 1.0]])
    assert unbounded_coefficients(plane, None) == [1]
    assert unbounded_coefficients(np.vstack([plane, [0.2, -2.0]]), None) == []
    assert unbounded_coefficients(plane[:1], plane[1:2]) == [0, 1]
    assert unbounded_coefficients(plane[:2], np.array([[0.1, 1.0], [0.0, -1.0]])) == []


def test_priors_beside_the_posterior_are_those_at_the_means(data):
    fit = model_of(data, zero="~ x").fit("importance", **SHORT)
    prior = blm.prior_vs_posterior(fit).prior
    level = prior["zero[Intercept]"] + prior["zero[x]"] * data.x.mean()
    assert level.std() == pytest.approx(2.5, rel=0.05)
    assert abs(np.corrcoef(level, prior["zero[x]"])[0, 1]) < 0.1
    assert np.isfinite(fit.prior_sensitivity().table["prior"]).all()


def test_bad_input(data):
    with pytest.raises(blm.OptionError, match="'poisson' has no share of zeros"):
        model_of(data, "poisson")
    with pytest.raises(blm.OptionError, match="'gaussian' has no share of zeros"):
        model_of(data, "gaussian")
    with pytest.raises(blm.FormulaError, match="no right side"):
        model_of(data, zero="y ~ w")
    with pytest.raises(blm.ModelError, match="fixed terms only"):
        model_of(data, zero="~ w + (1 | g)")
    with pytest.raises(blm.DataError, match="zero='~ w'"):
        model_of(data.assign(w=data.w.where(data.index != 7)))
    fit = model_of(data).fit("ml")
    with pytest.raises(blm.DataError, match="Row 1 has no value"):
        fit.predict(data.iloc[:3].assign(w=["a", None, "b"]))
    with pytest.raises(blm.DataError, match="Row 1 has no value"):
        fit.simulate(2, data.iloc[:3].assign(w=["a", None, "b"]))
