"""The marginal PyMC model states the density of the covariance parameters.

PyMC's variables v (with its Jacobians) and x = (phi, log sigma) of the density differ by a change of coordinates:

    log p_PyMC(v) = log p(x(v)) + log |dx/dv|,      gradient by v = J' gradient by x + that of log |dx/dv|.

x(v) is written here in numpy, from what the variables are called; its Jacobian is by central differences.
"""

import numpy as np
import pytest
from handmade import make_design, make_term, sleepstudy_design
from scipy.optimize import root

from bayeslmm.covariance.pairs import correlation_matrices, pair_values
from bayeslmm.errors import FittingError, ModelError, PriorError
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.marginal_likelihood import MarginalLikelihood
from bayeslmm.priors import resolve_priors

POINTS = 4
VALUE_TOLERANCE = 1e-6  # log densities of some hundreds, Jacobians by differences good to about 1e-8
GRADIENT_TOLERANCE = 1e-4  # second differences with steps of 1e-4 lose about 1e-8 / 1e-4
STEP = 1e-5

USER = {"cor_g": "LKJ(1.5)"}  # a prior of the user's makes a term's priors speak of the user's columns
MIXED = {"sd_g[Intercept]": "HalfNormal(20)", "sd_g[x]": "Uniform(0, 30)", "cor_g": "LKJ(1.5)", "x": "Flat()"}
CASES = {
    "centred": ({}, None, None),
    "user's columns": ({}, USER, None),
    "uncorrelated": ({"correlated": False}, None, None),
    "crossed": ({"second": True}, None, None),
    "fixed sigma": ({}, None, 2.5),
    "fixed sigma, uncorrelated": ({"correlated": False}, None, 2.5),
    "weights and offset": ({"weighted": True}, None, None),
    "three effects": ({"three": True, "second": True}, None, None),
    "three effects, user's columns": ({"three": True}, USER, None),
    "mixed families": ({}, MIXED, None),
    "flat": ({}, "flat", None),
    "no random term": ({"random": False}, None, None),
    "no fixed columns": ({"fixed": False}, None, None),
}


def small_design(*, correlated=True, second=False, weighted=False, three=False, random=True, fixed=True):
    rng = np.random.default_rng(20240611)
    n, levels = 30, np.repeat(np.arange(5), [4, 9, 6, 3, 8])
    x = 6.0 + rng.normal(size=n)
    one = np.ones(n)
    y = 40 + 3 * x + (5 * rng.normal(size=5))[levels] + 2 * rng.normal(size=n)
    weights = rng.uniform(0.5, 4.0, n) if weighted else None
    columns, effects = [one, x], ["Intercept", "x"]
    if three:
        columns, effects = [*columns, rng.normal(size=n) - 3], [*effects, "z"]
    terms = [make_term(levels, columns, effects, correlated=correlated, weights=weights)] if random else []
    if second:
        terms.append(make_term(np.arange(n) % 4, [one], ["Intercept"], name="h"))
    columns = ([one, x], ["Intercept", "x"]) if fixed else ([], [])
    return make_design(y, *columns, terms, weights=weights, offset=0.1 * x**2 if weighted else None)


def build(design, stated=None, sigma=None):
    from bayeslmm.pymc_models.marginal import build_marginal

    priors = resolve_priors(design, stated, sigma=sigma)
    kernel = build_kernel(design)
    return build_marginal(kernel, priors, design, sigma=sigma), CovarianceDensity(kernel, priors, sigma)


def partial(correlation):
    """Return the partial correlations given the columns before, from inverses of leading blocks."""
    size = len(correlation)
    found = []
    for j in range(size - 1):
        for i in range(j + 1, size):
            keep = [*range(j), j, i]
            precision = np.linalg.inv(correlation[np.ix_(keep, keep)])
            found.append(-precision[-2, -1] / np.sqrt(precision[-2, -2] * precision[-1, -1]))
    return np.array(found)


def correlation_from(z, size):
    """Return the correlation matrix with tanh(z) as partial correlations, column by column."""
    factor, left, place = np.zeros((size, size)), np.ones(size), 0
    for j in range(size):
        factor[j, j] = left[j]
        for i in range(j + 1, size):
            factor[i, j] = np.tanh(z[place]) * left[i]
            left[i] /= np.cosh(z[place])
            place += 1
    return factor @ factor.T


def natural(values, priors, sigma):
    """Return (phi, log sigma) for PyMC's unconstrained values, by their names."""
    log_sigma = np.log(sigma) if sigma is not None else float(values["sigma_log__"])
    pieces = []
    for own in priors.terms:
        wrapped = "moved[{}]" if own.moved else "{}"
        label = wrapped.format(f"sd_{own.name}")
        if f"{label}_log__" in values:
            log_sd = values[f"{label}_log__"]
        else:
            log_sd = np.array([_log_sd(values, f"{label}[{effect}]", prior) for effect, prior in zip(
                own.effects, own.sd, strict=True)])  # fmt: skip
        pieces.append(log_sd - log_sigma)
        if own.correlation is not None:
            pieces.append(values[wrapped.format(f"lower[cor_{own.name}]") + "_partial__"])
    return np.concatenate([*pieces, [] if sigma is not None else [log_sigma]])


def _log_sd(values, label, prior):
    if f"{label}_log__" in values:
        return float(values[f"{label}_log__"])
    lower, upper = prior.support  # PyMC's interval: logit of the share of the way
    return np.log(lower + (upper - lower) / (1 + np.exp(-float(values[f"{label}_interval__"]))))


def differences(function, vector, step=STEP):
    columns = [
        (function(vector + step * unit) - function(vector - step * unit)) / (2 * step) for unit in np.eye(len(vector))
    ]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_density_and_gradient_are_those_of_the_kernel(case):
    from pymc.blocking import DictToArrayBijection, RaveledVars

    options, stated, sigma = CASES[case]
    model, density = build(small_design(**options), stated, sigma)
    log_density, gradient = model.compile_logp(mode="FAST_COMPILE"), model.compile_dlogp(mode="FAST_COMPILE")
    start = DictToArrayBijection.map(model.initial_point(0))
    assert len(start.data) == density.dimension

    def named(v):
        return DictToArrayBijection.rmap(RaveledVars(v, start.point_map_info))

    def x(v):
        return natural(named(v), density.priors, sigma)

    def log_jacobian(v):
        return np.linalg.slogdet(differences(x, v))[1]

    rng = np.random.default_rng(7)
    gaps = []
    for _ in range(POINTS):
        v = start.data + 0.6 * rng.normal(size=len(start.data))
        value, by_x = density.value_and_gradient(x(v))
        gaps.append(float(log_density(named(v))) - value - log_jacobian(v))
        expected = differences(x, v).T @ by_x + differences(log_jacobian, v, 1e-4)
        np.testing.assert_allclose(gradient(named(v)), expected, atol=GRADIENT_TOLERANCE * (1 + np.abs(expected).max()))
    np.testing.assert_allclose(gaps, 0.0, atol=VALUE_TOLERANCE)


def test_partial_correlations_agree_with_inverses():
    """The transform's inverse, its Jacobian, and the matrix algebra of partial correlations."""
    import pytensor.tensor as pt

    from bayeslmm.pymc_models.correlations import PartialCorrelations, partial_correlations

    rows, columns = np.array([1, 2, 3, 2, 3, 3]), np.array([0, 0, 0, 1, 1, 2])
    transform = PartialCorrelations(4)
    z = np.random.default_rng(3).normal(size=6)
    vector = pt.dvector()
    backward = transform.backward(vector)

    def evaluate(variable, value):
        return variable.eval({vector: value}, mode="FAST_COMPILE")

    lower = evaluate(backward, z)
    matrix = correlation_from(z, 4)
    np.testing.assert_allclose(lower, matrix[rows, columns], atol=1e-14)
    np.testing.assert_allclose(evaluate(partial_correlations(vector, 4), lower), partial(matrix), atol=1e-12)
    np.testing.assert_allclose(evaluate(transform.forward(vector), lower), z, atol=1e-10)
    by_differences = np.linalg.slogdet(differences(lambda v: correlation_from(v, 4)[rows, columns], z))[1]
    assert evaluate(transform.log_jac_det(vector), z) == pytest.approx(by_differences, abs=1e-7)


def test_correlations_prior_is_a_density_in_the_correlations():
    """Without Jacobians the variable's density is LKJ's; not positive definite means probability zero."""
    import pymc as pm

    from bayeslmm.priors import LKJ
    from bayeslmm.pymc_models.correlations import lower_correlations

    with pm.Model() as model:
        lower_correlations("R", 3, LKJ(1.7))
    log_density = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    z = np.array([0.4, -0.8, 0.3])
    expected = LKJ(1.7).logpdf(correlation_from(z, 3))
    assert log_density({"R_partial__": z}) == pytest.approx(float(expected), abs=1e-12)
    log_density = pm.logp(model["R"], np.array([0.9, 0.9, -0.9])).eval(mode="FAST_COMPILE")
    assert log_density == -np.inf
    drawn = pm.draw(model["R"], 4, random_seed=1)
    matrices = np.eye(3) + np.zeros((4, 1, 1))
    matrices[:, [1, 2, 2], [0, 0, 1]] = matrices[:, [0, 0, 1], [1, 2, 2]] = drawn
    assert np.linalg.eigvalsh(matrices).min() > 0


def test_likelihood_is_the_density_less_flat_priors():
    design = small_design(three=True, second=True)
    _, density = build(design)
    likelihood = MarginalLikelihood(density.kernel, density.priors)
    rng = np.random.default_rng(5)
    x = np.append(0.5 * rng.normal(size=density.n_phi), 0.7)
    value, gradient = likelihood.value_and_gradient(x)
    points = density.points(x[:-1])
    factor = factorise(density.kernel.products, density.lambdas(points))
    expected = -0.5 * float(fixed_posterior(factor, density.fixed_prior).minus_two_log(np.asarray(np.exp(0.7))))
    assert value == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(
        gradient, differences(lambda v: np.array(likelihood.value_and_gradient(v)[0]), x), atol=1e-5
    )


# -- what the model is made of ------------------------------------------------------------------------------


def test_names_and_dimensions():
    model, _ = build(small_design())  # x lies far from zero: the priors hold at its lower end
    assert [v.name for v in model.free_RVs] == ["sigma", "moved[sd_g]", "moved[lower[cor_g]]"]
    assert {v.name for v in model.deterministics} == {"sd_g", "cor_g"}
    assert model.named_vars_to_dims["cor_g"] == ("g_pair",)
    model, _ = build(sleepstudy_design())
    assert [v.name for v in model.free_RVs] == ["sigma", "sd_Subject", "lower[cor_Subject]"]
    assert model.named_vars_to_dims["sd_Subject"] == ("Subject_effect",)
    model, _ = build(small_design(), MIXED)
    assert [v.name for v in model.free_RVs] == ["sigma", "sd_g[Intercept]", "sd_g[x]", "lower[cor_g]"]


def test_deterministics_are_on_the_users_columns():
    from bayeslmm.posterior.conditional_draws import covariance_parameters
    from bayeslmm.pymc_models.marginal import marginal_coordinates

    model, density = build(sleepstudy_design())
    values = model.initial_point(0)
    values = {name: np.asarray(value) + 0.3 for name, value in values.items()}
    outputs = model.replace_rvs_by_values([marginal_coordinates(model), model["sd_Subject"], model["cor_Subject"]])
    from pymc.pytensorf import compile as compile_function

    x, sd, correlation = compile_function(model.value_vars, outputs, mode="FAST_COMPILE")(*values.values())
    expected_sd, expected = covariance_parameters(density, x[:-1], float(np.exp(x[-1])))
    np.testing.assert_allclose(sd, expected_sd[0], rtol=1e-12)
    np.testing.assert_allclose(correlation, pair_values(expected[0]), atol=1e-12)


def test_the_model_can_be_extended():
    """A user's own term enters the density."""
    import pymc as pm

    model, _ = build(sleepstudy_design())
    point = model.initial_point(0)
    before = model.compile_logp(mode="FAST_COMPILE")(point)
    with model:
        pm.Potential("ratio", -((model["sd_Subject"][0] - 30.0) ** 2))
    assert model.compile_logp(mode="FAST_COMPILE")(point) < before - 1.0


def test_what_cannot_be_integrated():
    with pytest.raises(PriorError, match="noncentered"):
        build(sleepstudy_design(), {"Days": "StudentT(3, 0, 10)"})


def test_nothing_left_to_sample():
    with pytest.raises(ModelError, match="no covariance parameter"):
        build(small_design(random=False), sigma=2.0)


# -- the operation ------------------------------------------------------------------------------------------


def test_failures_stay_inside(monkeypatch):
    """A kernel that raises gives -inf and a zero gradient, and is counted."""
    from bayeslmm.pymc_models.marginal import kernel_operation

    model, _ = build(sleepstudy_design())
    log_density, gradient = model.compile_logp(mode="FAST_COMPILE"), model.compile_dlogp(mode="FAST_COMPILE")
    operation = kernel_operation(model)
    point = model.initial_point(0)
    fine = log_density(point)

    def broken(self, x):
        raise FittingError("a pivot is not positive")

    monkeypatch.setattr(MarginalLikelihood, "value_and_gradient", broken)
    assert log_density(point) == -np.inf and np.isfinite(gradient(point)).all()
    assert operation.failures == 2 and "pivot" in str(operation.first_error)
    monkeypatch.undo()
    assert log_density(point) == fine and operation.failures == 2


def test_second_derivatives_are_refused():
    from pytensor.gradient import NullTypeGradError

    model, _ = build(small_design(random=False))
    with pytest.raises(NullTypeGradError, match="second derivatives"):
        model.d2logp()


def test_compiled_code_gives_the_same(monkeypatch):
    """Through numba, as nutpie does: value, gradient, and a failing kernel."""
    import pytensor
    import pytensor.tensor as pt

    from bayeslmm.pymc_models.kernel_op import KernelLikelihood

    _, density = build(small_design(random=False))
    operation = KernelLikelihood(MarginalLikelihood(density.kernel, density.priors))
    x = pt.dvector()
    value = operation(x)[0]
    compiled = pytensor.function([x], [value, pytensor.grad(value, x)], mode="NUMBA")
    at = np.array([1.2])
    expected, slope = operation.likelihood.value_and_gradient(at)
    found = compiled(at)
    assert float(found[0]) == expected
    np.testing.assert_array_equal(found[1], slope)
    monkeypatch.setattr(MarginalLikelihood, "value_and_gradient", lambda self, x: 1 / 0)
    found = compiled(at)
    assert float(found[0]) == -np.inf and found[1][0] == 0.0


# -- the mode -----------------------------------------------------------------------------------------------

MODE_TOLERANCE = 1e-6  # what is asked of the posterior mode under flat priors


def test_pymcs_optimiser_finds_reml():
    """Flat priors, the density without Jacobians: `find_MAP` ends where the kernel's REML does."""
    import pymc as pm

    from bayeslmm.covariance import factors_from_theta, sds_and_correlations, theta_from_factors
    from bayeslmm.inference.nuts.explicit import compiling
    from bayeslmm.inference.optimum.maximum import maximise

    design = sleepstudy_design()
    model, density = build(design, "flat")
    kernel = density.kernel
    with compiling():
        found = pm.find_MAP(
            model=model, method="BFGS", options={"gtol": 1e-6}, progressbar=False, include_transformed=False
        )
    reml = maximise(kernel, "reml")
    polished = root(lambda theta: kernel.gradient(theta, "reml"), reml.theta, tol=1e-12).x  # it stops at 1e-5
    (factor,) = factors_from_theta(polished, kernel.shapes)
    sd, correlation = sds_and_correlations(factor, kernel.conditional(polished, "reml").sigma)
    np.testing.assert_allclose(found["sd_Subject"], sd, rtol=MODE_TOLERANCE)
    np.testing.assert_allclose(found["cor_Subject"], pair_values(correlation), atol=MODE_TOLERANCE)
    assert found["sigma"] == pytest.approx(kernel.conditional(polished, "reml").sigma, rel=MODE_TOLERANCE)
    full = correlation_matrices(found["cor_Subject"], 2)
    covariance = found["sd_Subject"][:, None] * full * found["sd_Subject"] / found["sigma"] ** 2
    theta = theta_from_factors([np.linalg.cholesky(covariance)], kernel.shapes)
    assert kernel.objective(theta, "reml") == pytest.approx(reml.objective, abs=MODE_TOLERANCE)
