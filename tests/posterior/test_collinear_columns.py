"""Posteriors keep collinear columns whose priors tell them apart: against dense algebra, in every engine."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayeslmm as blm
from bayeslmm.design.collinearity import with_all_columns
from bayeslmm.design.mean_rows import mean_rows
from bayeslmm.errors import PriorError
from bayeslmm.posterior.collinear_prior import collinear_prior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.mixture_density import covariance_density

DRAWS = 4000
ERRORS = 4.5  # Monte Carlo standard errors


def rows(n=90, seed=5, response="y"):
    """A numeric column twice in other units, and an interaction with an empty cell."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.arange(n) % 9, "x": rng.normal(3.0, 1.0, n), "a": rng.choice(list("pq"), n)})
    data["b"] = rng.choice(list("uvw"), n)
    data = data[~((data.a == "q") & (data.b == "w"))].reset_index(drop=True)
    data["x2"] = 2.0 * data.x + 1.0
    eta = 0.5 + 0.3 * data.x + 0.4 * (data.a == "q") + rng.normal(size=9)[data.g] * 0.5
    data["y"] = eta + rng.normal(size=len(data))
    data["k"] = rng.poisson(np.exp(0.4 * eta))
    data["z"] = (rng.random(len(data)) < 0.5).astype(int)
    data["w"] = rng.uniform(0.5, 2.0, len(data))
    return data


FIXED = ["x + x2", "x2 + x + a*b", "a*b", "0 + a + x + x2 + b", "1 + x + I(0*x)"]


def dense(model):
    """X of all columns, and mean and covariance of its coefficients' prior, in the user's columns."""
    design, priors = model.posterior_design, model.resolved_priors
    turn = priors.fixed_centring.matrix
    mean = turn @ [prior.mu for prior in priors.fixed]
    spread = turn * [prior.sigma for prior in priors.fixed]
    return design.X, mean, spread @ spread.T


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("fixed", FIXED)
def test_prior_of_independent_coefficients(fixed, weights):
    model = blm.Model(f"y ~ {fixed} + (1 | g)", rows(), weights=weights)
    _, mean, covariance = dense(model)
    M = model.posterior_design.collinearity.matrix
    kernel = model.kernel
    found = CovarianceDensity(kernel, model.resolved_priors).fixed_prior
    T, shift = kernel.fixed.matrix, kernel.fixed.centring.constant * kernel.y_mean
    expected = np.linalg.inv(M @ covariance @ M.T)
    np.testing.assert_allclose(
        found.precision, T.T @ expected @ T, rtol=1e-6, atol=1e-6 * np.abs(found.precision).max()
    )
    np.testing.assert_allclose(T @ found.mean + shift, M @ mean, rtol=1e-7, atol=1e-7)
    assert found.log_det == pytest.approx(np.linalg.slogdet(T.T @ expected @ T)[1], abs=1e-6)


@pytest.mark.parametrize("fixed", FIXED)
def test_all_columns_are_those_of_the_formula(fixed):
    data = rows()
    design = with_all_columns(blm.Model(f"y ~ {fixed} + (1 | g)", data).design)
    again = blm.Model(f"y ~ {fixed} + (1 | g)", data.assign(y=data.y + 1)).design  # another response, the same columns
    assert set(again.dropped_columns) < set(design.fixed_names)
    np.testing.assert_allclose(design.X @ np.ones(design.p), _by_hand(fixed, data) @ np.ones(design.p))
    np.testing.assert_allclose(design.collinearity.matrix @ np.eye(design.p), design.collinearity.matrix)
    np.testing.assert_allclose(design.independent.X @ design.collinearity.matrix, design.X, atol=1e-8)


def _by_hand(fixed, data):
    from formulaic import model_matrix

    return np.asarray(model_matrix(fixed.replace("I(0*x)", "{0*x}"), data), dtype=float)


@pytest.mark.parametrize("fixed", FIXED)
def test_posterior_without_groups_is_the_closed_form(fixed):
    data = rows()
    model = blm.Model(f"y ~ {fixed}", data, sigma=1.0)
    X, mean, covariance = dense(model)
    precision = np.linalg.inv(covariance)
    spread = np.linalg.inv(X.T @ X + precision)
    centre = spread @ (X.T @ data.y + precision @ mean)
    fit = model.fit("importance", draws=DRAWS, chains=1, seed=3)
    draws = fit.draws.beta[0]
    assert fit.dropped_columns == ()
    z = (draws.mean(axis=0) - centre) / np.sqrt(np.diag(spread) / DRAWS)
    assert np.abs(z).max() < ERRORS
    standard = (draws - centre) @ np.linalg.inv(np.linalg.cholesky(spread)).T
    np.testing.assert_allclose(np.cov(standard.T), np.eye(X.shape[1]), atol=ERRORS * np.sqrt(2 / DRAWS))
    marginal = stats.multivariate_normal(X @ mean, X @ covariance @ X.T + np.eye(len(X)))
    assert fit.log_evidence == pytest.approx(marginal.logpdf(data.y), abs=1e-6)


def test_order_of_collinear_columns_does_not_matter():
    first = blm.Model("y ~ x + x2 + (1 | g)", rows()).fit("importance", seed=1)
    second = blm.Model("y ~ x2 + x + (1 | g)", rows()).fit("importance", seed=2)
    a, b = first.coef_table(), second.coef_table()
    errors = np.hypot(a["sd"], b.loc[a.index, "sd"]) / np.sqrt(1000)
    assert (np.abs(a["mean"] - b.loc[a.index, "mean"]) < ERRORS * errors).all()
    assert first.log_evidence == pytest.approx(second.log_evidence, abs=0.02)


ENGINES = [
    ("y", "gaussian", "importance", {}),
    ("y", "gaussian", "nuts", {}),
    ("k", "poisson", "importance", {}),
    ("k", "poisson", "nuts", {}),
]


@pytest.mark.parametrize(("response", "family", "method", "options"), ENGINES)
def test_what_the_data_do_not_tell_is_as_the_priors_have_it(response, family, method, options):
    """With X v = 0, the prior makes v'W b independent of X b, so that its posterior is its prior, N(0, v'W v)."""
    model = blm.Model(f"{response} ~ x + x2 + (1 | g)", rows(), family=family)
    fit = model.fit(method, seed=2, progressbar=False, **options)
    sds = {name: prior.sigma for name, prior in zip(fit.design.fixed_names, model.resolved_priors.fixed, strict=True)}
    null = {"x": -2.0, "x2": 1.0}
    beta = dict(zip(fit.design.fixed_names, fit.draws.beta.reshape(-1, fit.design.p).T, strict=True))
    scale = np.sqrt(sum((v / sds[name]) ** 2 for name, v in null.items()))
    unseen = sum(v * beta[name] / sds[name] ** 2 for name, v in null.items()) / scale
    worth = 400 if method == "nuts" else len(unseen)
    assert abs(unseen.mean()) < ERRORS / np.sqrt(worth)
    assert unseen.std() == pytest.approx(1.0, abs=ERRORS / np.sqrt(2 * worth))
    slope = beta["x"] + 2.0 * beta["x2"]
    alone = blm.Model(f"{response} ~ x + (1 | g)", rows(), family=family).fit("ml")
    assert slope.mean() == pytest.approx(alone.fixef()["x"], abs=0.5 * alone.coef_table().loc["x", "std_error"])


def test_advi():
    model = blm.Model("y ~ x + x2 + (1 | g)", rows())
    fit = model.fit("advi", iterations=200, draws=50, seed=1, progressbar=False)
    assert fit.coef_table().index.tolist() == ["Intercept", "x", "x2"]


def test_as_a_pymc_model():
    model = blm.Model("y ~ x + x2 + (1 | g)", rows())
    assert model.to_pymc("noncentered").coords["fixed"] == ("Intercept", "x", "x2")
    draws = model.prior_predictive(20, seed=1).prior["beta"]
    assert draws.sizes["fixed"] == 3


def test_predictions_in_an_empty_cell():
    data = rows()
    model = blm.Model("y ~ x + a*b + (1 | g)", data)
    new = pd.DataFrame({"x": [3.0, 3.0], "a": ["q", "q"], "b": ["w", "u"], "g": [0, 0]})
    found = model.fit("importance", seed=1).predict(new, interval=0.9)
    assert found.notna().all(axis=None)
    widths = found["upper"] - found["lower"]
    assert widths[0] > 2.0 * widths[1]  # only the prior speaks of the cell
    with pytest.warns(UserWarning, match="not estimable|empty|cannot"):
        assert model.fit("reml").predict(new, interval=0.9).isna().all(axis=1).tolist() == [True, False]


@pytest.mark.parametrize("priors", ["flat", "brms", {"x": "Laplace(0, 1)", "preset": "brms"}])
def test_flat_priors_leave_the_columns_out(priors):
    model = blm.Model("y ~ x + x2 + (1 | g)", rows(), priors=priors)
    assert model.posterior_design is model.design


def test_a_prior_that_does_not_tell_it_apart_is_refused():
    with pytest.raises(PriorError, match="'x2' is a combination of others"):
        blm.Model("y ~ x + x2 + (1 | g)", rows(), priors={"x2": "Flat()"})


def test_generalized_models_keep_them_under_any_proper_priors():
    model = blm.Model("k ~ x + x2 + a + (1 | g)", rows(), family="poisson", priors={"x": "Laplace(0, 1)"})
    assert model.posterior_design.collinearity is not None
    with pytest.raises(PriorError, match=r"here 'x', 'x2'; those of 'x' \(Laplace\(0, 1\)\)"):
        model.fit("map")
    with pytest.raises(PriorError, match=r"'x2' is a combination of others.*proper prior"):
        blm.Model("k ~ x + x2 + (1 | g)", rows(), family="poisson", priors={"x": "Laplace(0, 1)", "x2": "Flat()"})
    elsewhere = blm.Model("k ~ x + x2 + a + (1 | g)", rows(), family="poisson", priors={"a[T.q]": "Laplace(0, 1)"})
    assert elsewhere.posterior_design.collinearity is not None
    assert elsewhere.fit("map").status.ok


@pytest.mark.parametrize("method", ["importance", "nuts"])
def test_posterior_of_a_family_is_that_of_quadrature(method):
    """Counts and two slopes of one column in two units on a grid, the intercept at the mean of x summed over, too."""
    data = rows(24)
    priors = {**HEAVY, "Intercept": "Logistic(1, 0.5)"}
    model = blm.Model("k ~ x + x2", data, family="poisson", priors=priors)
    first, second = np.meshgrid(np.linspace(-6.0, 6.0, 481), np.linspace(-3.0, 3.0, 481), indexing="ij")
    level, x = np.linspace(-1.5, 3.0, 91), (data.x - data.x.mean()).to_numpy()
    slopes, at = np.unique(np.round(first + 2.0 * second, 9), return_inverse=True)
    rate = np.exp(slopes[:, None] * x).sum(axis=1)
    by_slope = level[:, None] * data.k.sum() + slopes * np.sum(x * data.k) - np.exp(level)[:, None] * rate
    by_slope += stats.logistic(1, 0.5).logpdf(level)[:, None]
    logs = logsumexp(by_slope, axis=0)[at].reshape(first.shape)
    logs += stats.t(3, 0, 1).logpdf(first) + stats.laplace(0, 0.5).logpdf(second)
    mass = np.exp(logs - logs.max())
    fit = model.fit(method, draws=1000, chains=2, seed=3, progressbar=False)
    table = fit.coef_table()
    for name, values in (("x", first), ("x2", second)):
        mean = np.sum(mass * values) / mass.sum()
        sd = np.sqrt(np.sum(mass * (values - mean) ** 2) / mass.sum())
        error = sd / np.sqrt(table.loc[name, "ess_bulk"])
        assert abs(table.loc[name, "mean"] - mean) < ERRORS * error
        assert table.loc[name, "sd"] == pytest.approx(sd, rel=ERRORS * error / sd)
    slope = fit.hypothesis("x + 2 * x2 = 0").iloc[0]
    seen = first + 2.0 * second
    mean = np.sum(mass * seen) / mass.sum()
    sd = np.sqrt(np.sum(mass * (seen - mean) ** 2) / mass.sum())
    assert (slope["mean"], slope["sd"]) == pytest.approx((mean, sd), abs=0.15 * sd)


def test_a_prior_of_a_column_that_the_likelihood_leaves_out():
    model = blm.Model("y ~ x + x2 + (1 | g)", rows(), priors={"x": "Normal(0, 10)", "x2": "Normal(0.1, 1e-6)"})
    fit = model.fit("importance", seed=1)
    assert fit.fixef()["x2"] == pytest.approx(0.1, abs=1e-4)
    assert fit.fixef()["x"] == pytest.approx(blm.lmm("y ~ x + (1 | g)", rows()).fixef()["x"] - 0.2, abs=0.05)


def test_mixtures_elsewhere():
    priors = {"a[T.q]": "StudentT(3, 0, 1)", "x": "Normal(0, 10)"}
    model = blm.Model("y ~ a + x + x2 + (1 | g)", rows(), priors=priors)
    few = {"draws": 512, "chains": 1}
    fit = model.fit("importance", seed=1, **few)
    other = blm.Model("y ~ a + x + (1 | g)", rows(), priors={"a[T.q]": "StudentT(3, 0, 1)"})
    other = other.fit("importance", seed=2, **few)
    assert fit.design.p == 4
    assert fit.fixef()["a[T.q]"] == pytest.approx(other.fixef()["a[T.q]"], abs=0.05)


HEAVY = {"x": "StudentT(3, 0, 1)", "x2": "Laplace(0, 0.5)"}
MIXTURES = [
    ("y ~ x + x2 + (1 | g)", HEAVY),
    ("y ~ x2 + x + a*b + (x | g)", {"x": "Cauchy(0.2, 1)", "a[T.q]:b[T.w]": "StudentT(4, 0.1, 1)"}),
    ("y ~ 0 + a + x + x2 + b", {"x": "Flat()", "b[T.v]": "Laplace(0, 1)", "x2": "StudentT(3, 0, 0.5)"}),
]


@pytest.mark.parametrize(("formula", "stated"), MIXTURES)
def test_density_of_mixtures(formula, stated):
    """Given log w the priors are normal; its gradient is that of central differences."""
    model = blm.Model(formula, rows(), priors=stated)
    density = covariance_density(model.kernel, model.resolved_priors)
    x = 0.5 * np.random.default_rng(2).normal(size=density.dimension)
    log_w = x[density.n_covariance : density.n_phi]
    scaled = {
        model.resolved_priors.fixed_names[m.place]: f"Normal({m.normal.mu}, {float(m.normal.sigma * np.exp(-v / 2))})"
        for m, v in zip(density.mixtures, log_w, strict=True)
    }
    given = blm.Model(formula, rows(), priors={**stated, **scaled})
    normal = CovarianceDensity(given.kernel, given.resolved_priors)
    rest = np.delete(x, np.s_[density.n_covariance : density.n_phi])
    assert density.value(x) == pytest.approx(normal.value(rest) + density.log_mixing(x[: density.n_phi]), abs=1e-8)
    steps = 1e-5 * np.eye(len(x))
    expected = [(density.value(x + s) - density.value(x - s)) / 2e-5 for s in steps]
    for gradient in (density.value_and_gradient(x)[1], density.reference_gradient(x)[1]):
        np.testing.assert_allclose(gradient, expected, rtol=2e-5, atol=1e-5)


def test_posterior_of_mixtures_is_that_of_quadrature():
    """The two slopes on a grid, the intercept at the mean of x integrated out under its normal prior."""
    data = rows()
    model = blm.Model("y ~ x + x2", data, priors=HEAVY, sigma=1.0)
    level, width = model.resolved_priors.fixed[0].mu, model.resolved_priors.fixed[0].sigma
    first, second = np.meshgrid(np.linspace(-12.0, 12.0, 1201), np.linspace(-6.0, 6.0, 1201), indexing="ij")
    n, x, rest = len(data), data.x - data.x.mean(), data.y - level
    slope = first + 2.0 * second
    shrunk = np.sum(rest**2) - np.sum(rest) ** 2 * width**2 / (1.0 + n * width**2)
    squares = shrunk - 2.0 * slope * np.sum(x * rest) + slope**2 * np.sum(x**2)
    logs = -0.5 * (squares + n * np.log(2.0 * np.pi) + np.log1p(n * width**2))
    logs += stats.t(3, 0, 1).logpdf(first) + stats.laplace(0, 0.5).logpdf(second)
    mass = np.exp(logs - logs.max())
    evidence = logs.max() + np.log(mass.sum() * 0.02 * 0.01)
    fit = model.fit("importance", draws=1000, chains=1, seed=3)
    assert fit.log_evidence == pytest.approx(evidence, abs=0.05)
    for name, values in (("x", first), ("x2", second)):
        mean = np.sum(mass * values) / mass.sum()
        sd = np.sqrt(np.sum(mass * (values - mean) ** 2) / mass.sum())
        drawn = fit.draws.beta[0, :, fit.design.fixed_names.index(name)]
        assert abs(drawn.mean() - mean) < ERRORS * sd / np.sqrt(400)
        assert drawn.std() == pytest.approx(sd, rel=2.0 * ERRORS / np.sqrt(2 * 400))
        inside = np.mean(np.abs(drawn - mean) < sd / 2)  # the shape, too
        share = np.sum(mass[np.abs(values - mean) < sd / 2]) / mass.sum()
        assert abs(inside - share) < ERRORS * 0.5 / np.sqrt(400)


def test_nuts_of_mixtures():
    model = blm.Model("y ~ x + x2", rows(), priors=HEAVY)
    sampled = model.fit("nuts", draws=400, tune=300, chains=1, seed=1, progressbar=False)
    weighed = model.fit("importance", draws=1000, chains=1, seed=2)
    assert sampled.draws.info["parametrization"] == "marginal"
    a, b = sampled.coef_table(), weighed.coef_table()
    assert (np.abs(a["mean"] - b["mean"]) < ERRORS * np.sqrt(1.0 / 100) * b["sd"]).all()
    assert model.to_pymc().coords["fixed"] == ("Intercept", "x", "x2")
    assert np.isfinite(float(blm.loo(weighed)["elpd_loo"]))


def test_a_mode_of_mixtures_is_refused():
    model = blm.Model("y ~ a + x + x2 + (1 | g)", rows(), priors={**HEAVY, "a[T.q]": "Laplace(0, 1)"})
    with pytest.raises(PriorError, match=r"here 'x', 'x2'; those of 'x' \(StudentT\(3, 0, 1\)\), 'x2'"):
        model.fit("map")


@pytest.mark.parametrize("statement", ["x2 = 0", "x + 2 * x2 = 0", "x - x2 = 0.3"])
def test_bayes_factors(statement):
    model = blm.Model("y ~ x + x2", rows(), sigma=1.0)
    X, mean, covariance = dense(model)
    precision = np.linalg.inv(covariance)
    spread = np.linalg.inv(X.T @ X + precision)
    centre = spread @ (X.T @ rows().y + precision @ mean)
    L, value = {"x2 = 0": ([0, 0, 1], 0), "x + 2 * x2 = 0": ([0, 1, 2], 0), "x - x2 = 0.3": ([0, 1, -1], 0.3)}[
        statement
    ]
    after = stats.norm(L @ centre, np.sqrt(L @ spread @ L)).pdf(value)
    before = stats.norm(L @ mean, np.sqrt(L @ covariance @ L)).pdf(value)
    found = model.fit("importance", seed=1).hypothesis(statement)["bayes_factor"].iloc[0]
    assert found == pytest.approx(after / before, rel=1e-6)


def test_rows_that_stream():
    data = rows()
    formula = "y ~ x + x2 + a*b + (1 | g)"
    whole, streamed = blm.Model(formula, data), blm.Model(formula, data, chunk_rows=17)
    assert streamed.priors["parameter"].tolist() == whole.priors["parameter"].tolist()
    first, second = whole.resolved_priors, streamed.resolved_priors
    for a, b in zip(first.fixed, second.fixed, strict=True):
        assert (b.mu, b.sigma) == pytest.approx((a.mu, a.sigma), rel=1e-9)
    expected = collinear_prior(first).precision
    np.testing.assert_allclose(collinear_prior(second).precision, expected, rtol=1e-6, atol=1e-9)
    fits = whole.fit("importance", seed=1), streamed.fit("importance", seed=1)
    np.testing.assert_allclose(fits[0].draws.beta, fits[1].draws.beta, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("response", "family"), [("y", "gaussian"), ("k", "poisson")])
def test_saved_and_loaded(tmp_path, response, family):
    fit = blm.Model(f"{response} ~ x + x2 + (1 | g)", rows(), family=family).fit("importance", seed=1)
    again = blm.load(fit.save(tmp_path / "fit"))
    np.testing.assert_array_equal(again.draws.beta, fit.draws.beta)
    assert again.predict(rows().head()).equals(fit.predict(rows().head()))


def test_what_is_read_from_such_a_posterior():
    data = rows()
    model = blm.Model("y ~ x + x2 + a*b + (1 | g)", data)
    fit = model.fit("importance", seed=1)
    assert "a[T.q]:b[T.w]" in str(fit.summary())
    assert "only the priors" in str(fit.summary())
    without = blm.Model("y ~ x + a*b + (1 | g)", data).fit("importance", seed=1)
    assert float(blm.loo(fit)["elpd_loo"]) == pytest.approx(float(blm.loo(without)["elpd_loo"]), abs=0.5)
    assert float(fit.r2()["mean"].iloc[0]) == pytest.approx(float(without.r2()["mean"].iloc[0]), abs=0.02)
    assert set(fit.prior_sensitivity(draws=200).table.index) >= {"x", "x2", "a[T.q]:b[T.w]"}
    assert fit.means("a | b").table()["mean"].notna().all()
    assert fit.comparisons("x").table().notna().all(axis=None)
    assert np.isfinite(fit.simulate(3, seed=1)).all(axis=None)
    assert fit.idata.posterior["beta"].sizes["fixed"] == 8
    scores = blm.cross_validate(model, by="row", k=2, method="importance", draws=100, chains=1, seed=1)
    assert scores.pointwise.notna().all(axis=None)


GRADES = [-np.inf, 1.0, 2.0, np.inf]


def graded():
    return rows().assign(grade=lambda d: pd.cut(d.y, GRADES, labels=["low", "mid", "high"]))


@pytest.mark.parametrize("fixed", ["x + x2", "a*b + x2 + x"])
def test_grades_keep_them_beside_their_thresholds(fixed):
    """The probabilities are those of the model of independent columns, and tau - m'beta is as the data tell it."""
    data = graded()
    model = blm.Model(f"grade ~ {fixed} + (1 | g)", data, family="cumulative")
    whole, alone = model.posterior_design, model.design
    assert "Intercept" not in whole.fixed_names and set(alone.dropped_columns) < set(whole.fixed_names)
    expected = _by_hand(fixed, data)[:, 1:]
    np.testing.assert_allclose(whole.X @ np.arange(1.0, whole.p + 1), expected @ np.arange(1.0, whole.p + 1))
    rest = whole.X - whole.centring.means - (alone.X - alone.centring.means) @ whole.collinearity.matrix
    np.testing.assert_allclose(rest, 0.0, atol=1e-8)
    fit = model.fit("importance", draws=400, chains=1, seed=1)
    thresholds, beta = fit.dispersion[0], fit.draws.beta[0]
    at_means = thresholds - (beta @ whole.centring.means)[:, None]
    reduced = beta @ whole.collinearity.matrix.T
    in_rows = thresholds[:, 0] - whole.X[3] @ beta.T
    np.testing.assert_allclose(in_rows, at_means[:, 0] - (alone.X[3] - alone.centring.means) @ reduced.T, atol=1e-8)
    other = fixed.replace(" + x2", "")
    without = blm.Model(f"grade ~ {other} + (1 | g)", data, family="cumulative").fit("importance", seed=2)
    shown = without.dispersion[0] - (without.draws.beta[0] @ without.design.centring.means)[:, None]
    np.testing.assert_allclose(at_means.mean(axis=0), shown.mean(axis=0), atol=0.2)


def test_grades_with_priors_of_a_known_coefficient():
    """With the other coefficient known, that of the column left out is that of a model without the other column."""
    stated = {"x": "Normal(0.1, 1e-6)", "x2": "Normal(0, 2)"}
    fit = blm.Model("grade ~ x + x2", graded(), family="cumulative", priors=stated)
    fit = fit.fit("importance", draws=DRAWS, chains=1, seed=1)
    priors = {"x2": "Normal(0, 2)"}
    known = blm.Model(
        "grade ~ x2", graded().assign(o=lambda d: 0.1 * d.x), family="cumulative", priors=priors, offset="o"
    )
    known = known.fit("importance", draws=DRAWS, chains=1, seed=2)
    a, b = fit.coef_table().loc["x2"], known.coef_table().loc["x2"]
    assert abs(a["mean"] - b["mean"]) < ERRORS * b["sd"] * np.sqrt(2 / DRAWS)
    assert a["sd"] == pytest.approx(b["sd"], rel=ERRORS / np.sqrt(DRAWS))


def test_grades_by_nuts_and_as_a_pymc_model():
    model = blm.Model("grade ~ x + x2", graded(), family="cumulative")
    sampled = model.fit("nuts", draws=300, tune=300, chains=1, seed=1, progressbar=False)
    weighed = model.fit("importance", seed=2)
    for draws in (
        (f.dispersion[..., 0].ravel() for f in (sampled, weighed)),
        (f.draws.beta[..., 1].ravel() for f in (sampled, weighed)),
    ):
        a, b = draws
        assert abs(a.mean() - b.mean()) < ERRORS * b.std() / np.sqrt(100)
    assert model.to_pymc().coords["fixed"] == ("x", "x2")


@pytest.mark.parametrize(("fixed", "dropped"), [("x + x2", 1), ("a*b", 1), ("x + x2 + a*b + I(3 - x)", 3)])
def test_means_of_grades_are_estimable_in_the_rows_of_the_fit(fixed, dropped):
    data = graded()
    fit = blm.Model(f"grade ~ {fixed} + (1 | g)", data, family="cumulative").fit("ml")
    assert len(fit.dropped_columns) == dropped
    assert fit.predict(data.head(3)).notna().all()  # without a warning
    assert mean_rows(fit.design, data).estimable.all()
    if "a*b" in fixed:
        with pytest.warns(UserWarning, match="not estimable"):
            fit.predict(pd.DataFrame({"x": [1.0], "x2": [3.0], "a": ["q"], "b": ["w"], "g": [0]}))


def test_mixtures_beside_thresholds():
    """Student t priors of very many degrees of freedom are normal ones: two ways to the same posterior."""
    fits = [
        blm.Model("grade ~ x + x2", graded(), family="cumulative", priors={"x": prior, "x2": prior}).fit(
            "importance", draws=1000, chains=1, seed=2
        )
        for prior in ("StudentT(1e6, 0, 1)", "Normal(0, 1)")
    ]
    for found in (lambda fit: fit.coef_table(), lambda fit: fit.dispersion_table()):
        a, b = map(found, fits)
        assert (np.abs(a["mean"] - b["mean"]) < ERRORS * np.hypot(a["sd"], b["sd"]) / np.sqrt(400)).all()
        np.testing.assert_allclose(a["sd"], b["sd"], rtol=0.2)
