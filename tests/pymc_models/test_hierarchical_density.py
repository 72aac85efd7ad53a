"""The PyMC model's log density against the joint density written from the equations.

The sampled variables v of the model are mapped to the parameters q the equations speak of (coefficients at
the priors' columns, sigma, and per term sds, correlations below the diagonal, effects). Then

    log p_model(v) = log p(q(v), y) + log |dq/dv| + constant,

with the Jacobian by central differences, so nothing of the model's own algebra is used but the map itself.
"""

import numpy as np
import pytest
from handmade import make_design, make_term
from scipy.stats import multivariate_normal

from bayeslmm.covariance.pairs import correlation_matrices
from bayeslmm.priors import resolve_priors

TOLERANCE = 1e-5  # central differences with steps of 1e-5 lose about 1e-8 of O(1) derivatives, some 30 of them
POINTS = 4


@pytest.fixture
def rng():
    return np.random.default_rng(20240611)


def small_design(rng, *, correlated=True, weights=None, offset=None, second=False, fixed=True, three=False):
    n, levels = 14, np.repeat(np.arange(4), [2, 5, 4, 3])
    x = 6.0 + rng.normal(size=n)
    one = np.ones(n)
    y = 40 + 3 * x + 5 * rng.normal(size=4)[levels] + 2 * rng.normal(size=n)
    columns, effects = ([one, x], ["Intercept", "x"])
    if three:
        columns, effects = [*columns, rng.normal(size=n) - 3], [*effects, "z"]
    terms = [make_term(levels, columns, effects, correlated=correlated, weights=weights)]
    if second:
        terms.append(make_term(np.arange(n) % 3, [one], ["Intercept"], name="h"))
    columns = ([one, x], ["Intercept", "x"]) if fixed else ([], [])
    return make_design(y, *columns, terms, weights=weights, offset=offset)


def parameters_from(model, design, priors):
    """Return a start, the log density, and the map from free variables to (beta, sigma, [(sd, R, b)])."""
    import pytensor.tensor as pt
    from pymc.blocking import DictToArrayBijection
    from pymc.pytensorf import compile as compile_function

    point = model.initial_point(0)
    start = DictToArrayBijection.map(point)
    deterministics = list(model.deterministics)
    values = model.replace_rvs_by_values([pt.as_tensor_variable(d) for d in deterministics])
    function = compile_function(model.value_vars, values, mode="FAST_COMPILE", on_unused_input="ignore")
    log_density = model.compile_logp(mode="FAST_COMPILE")

    def named(vector):
        free = DictToArrayBijection.rmap(type(start)(vector, start.point_map_info))
        return free, dict(
            zip(
                [d.name for d in deterministics],
                function(*[free[v.name] for v in model.value_vars]),
                strict=True,
            )
        )

    def parameters(vector):
        _, value = named(vector)
        beta = priors.fixed_centring.inverse @ value["beta"] if design.p else np.zeros(0)
        terms = []
        for term, own in zip(design.terms, priors.terms, strict=True):
            sd, b = value[f"sd_{term.name}"], value[f"r_{term.name}"]
            pairs = value.get(f"cor_{term.name}")
            correlation = np.eye(len(sd)) if pairs is None else correlation_matrices(pairs, len(sd))
            if own.moved:
                back = own.centring.inverse
                covariance = back @ (sd[:, None] * correlation * sd) @ back.T
                sd = np.sqrt(np.diag(covariance))
                correlation, b = covariance / np.outer(sd, sd), b @ back.T
            terms.append((sd, correlation, b))
        return beta, value.get("sigma"), terms

    return start.data, lambda v: float(log_density(named(v)[0])), parameters


def flatten(parameters, priors):
    beta, sigma, terms = parameters
    parts = [beta] + ([] if sigma is None else [[sigma]])
    for (sd, correlation, b), own in zip(terms, priors.terms, strict=True):
        parts += [sd, b.ravel()]
        if own.correlation is not None:
            parts.append(correlation[np.tril_indices(len(sd), -1)])
    return np.concatenate([np.asarray(part, float) for part in parts])


def joint_density(parameters, design, priors, fixed_sigma):
    beta, sigma, terms = parameters
    sigma = fixed_sigma if sigma is None else float(sigma)
    total = 0.0 if priors.sigma is None else float(priors.sigma.logpdf(sigma))
    total += sum(float(prior.logpdf(value)) for prior, value in zip(priors.fixed, beta, strict=True))
    mean = np.zeros(design.n) if design.offset is None else design.offset.copy()
    mean += design.X @ (priors.fixed_centring.matrix @ beta)
    for term, own, (sd, correlation, b) in zip(design.terms, priors.terms, terms, strict=True):
        total += sum(float(prior.logpdf(s)) for prior, s in zip(own.sd, sd, strict=True))
        if own.correlation is not None:
            total += float(own.correlation.logpdf(correlation))
        total += multivariate_normal(np.zeros(len(sd)), sd[:, None] * correlation * sd).logpdf(b).sum()
        user = b @ own.centring.matrix.T
        mean += (term.columns * user[term.codes]).sum(axis=1)
    spread = sigma if design.weights is None else sigma / np.sqrt(design.weights)
    z = (design.y - mean) / spread
    return total + float(np.sum(-0.5 * z**2 - np.log(spread * np.ones(design.n)) - 0.5 * np.log(2 * np.pi)))


def log_jacobian(function, vector, step=1e-5):
    columns = [
        (function(vector + step * unit) - function(vector - step * unit)) / (2 * step) for unit in np.eye(len(vector))
    ]
    jacobian = np.column_stack(columns)
    assert jacobian.shape[0] == jacobian.shape[1]
    return np.linalg.slogdet(jacobian)[1]


WEIGHTS = np.array([1.0, 2, 3, 1, 1, 2, 5, 1, 1, 1, 0.5, 2, 2, 1])
OFFSET = np.linspace(-3, 8, 14)
MIXED = {"sd_g[Intercept]": "HalfNormal(20)", "sd_g[x]": "Uniform(0, 30)", "cor_g": "LKJ(1.5)"}
FAMILIES = {
    "Intercept": "StudentT(4, 50, 20)",
    "x": "Laplace(1, 5)",
    "sigma": "Gamma(2, 0.3)",
    "sd_g": "InverseGamma(3, 8)",
    "sd_h": "Exponential(0.2)",
}
CASES = {
    "correlated": ({}, None, None),
    "uncorrelated": ({"correlated": False}, None, None),
    "weights, offset, two terms": ({"weights": WEIGHTS, "offset": OFFSET, "second": True}, None, None),
    "fixed sigma": ({}, None, 2.5),
    "mixed families": ({}, MIXED, None),
    "three effects": ({"three": True}, None, None),
    "three effects, mixed families": ({"three": True}, MIXED, None),
    "one family each": ({"second": True}, FAMILIES, None),
    "brms": ({}, "brms", None),
    "flat": ({"correlated": False}, "flat", None),
    "bounded coefficient": ({}, {"x": "Uniform(-20, 20)", "Intercept": "Cauchy(40, 9)"}, None),
    "positive coefficient": ({}, {"x": "HalfCauchy(3)", "Intercept": "Logistic(40, 9)"}, None),
    "no fixed columns": ({"fixed": False}, None, None),
}


@pytest.mark.parametrize("centered", [False, True], ids=["noncentered", "centered"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_density_is_that_of_the_equations(case, centered, rng):
    from bayeslmm.pymc_models import build_hierarchical

    options, stated, sigma = CASES[case]
    design = small_design(rng, **options)
    priors = resolve_priors(design, stated, sigma=sigma)
    model = build_hierarchical(design, priors, sigma=sigma, centered=centered)
    start, log_density, parameters = parameters_from(model, design, priors)
    differences = []
    for _ in range(POINTS):
        vector = start + 0.5 * rng.normal(size=len(start))
        expected = joint_density(parameters(vector), design, priors, sigma)
        expected += log_jacobian(lambda v: flatten(parameters(v), priors), vector)
        differences.append(log_density(vector) - expected)
    assert np.ptp(differences) < TOLERANCE
