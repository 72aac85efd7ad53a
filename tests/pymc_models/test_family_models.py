"""PyMC's model of each response distribution against the explicit density that NUTS samples.

The free variables v of PyMC's model are mapped to the parameters (x, c) of `ExplicitDensity`, its coordinates of
covariances and dispersions and its whitened effects and coefficients. Then

    log p_model(v) = log p(x, c, y) + log |d(x, c)/dv| + constant,

with the Jacobian by central differences. The two share neither a density of rows nor a parametrization.
"""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.covariance.pairs import correlation_matrices
from bayeslmm.errors import ModelError, OptionError
from bayeslmm.families import FAMILIES, Poisson
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.posterior.generalized_explicit import ExplicitDensity
from bayeslmm.posterior.generalized_mixture import generalized_density

TOLERANCE = 1e-5  # central differences with steps of 1e-5 lose about 1e-8 of O(1) derivatives, some 30 of them
POINTS = 3
CASES = [(name, link) for name, kind in FAMILIES.items() if name != "gaussian" for link in kind.links]


class Counts(Poisson):
    """A family that PyMC has no counterpart of."""

    name = "own_counts"


def data_for(family, link, rng):
    """Thirty rows in six groups g and three groups h, simulated from the family."""
    n = 30
    data = pd.DataFrame({"x": rng.normal(size=n), "g": np.arange(n) % 6, "h": np.arange(n) // 6 % 3})
    data["exposure"] = rng.uniform(0.8, 1.2, size=n)
    eta = 0.4 * data.x + 0.5 * rng.normal(size=6)[data.g]
    if link == "inverse":
        eta = 2.0 + 0.1 * eta
    chosen = family if not isinstance(family, str) else FAMILIES[family](link)
    if chosen.name == "cumulative":
        data["y"] = np.digitize(eta + rng.logistic(size=n), [-1, 0.4, 1.2])
        return data
    values = {"binomial": np.r_[0.0, 1.0, np.ones(n - 2)], "bernoulli": np.r_[0.0, 1.0, np.ones(n - 2)]}
    start = chosen.read(values.get(chosen.name, np.linspace(0.2, 0.8, n) if chosen.name == "beta" else np.ones(n)))
    working = chosen.working([0.3 if p.transform == "logit" else 2.0 for p in chosen.parameters])
    y = chosen.simulate(start, eta.to_numpy(), working, rng)
    data["y"] = y
    if chosen.name == "binomial":
        data["trials"] = rng.integers(1, 9, size=n)
        data["y"] = rng.binomial(data.trials, chosen.link.mean(eta.to_numpy()))
    return data


def model_of(family, link, rng, **options):
    data = data_for(family, link, rng)
    response = "p(y, trials)" if "trials" in data else "y"
    offset = "" if link == "inverse" else " + offset(log(exposure))"
    return blm.Model(f"{response} ~ x + (1 + x | g) + (1 | h){offset}", data, family=family, link=link, **options)


def explicit_of(model):
    family = model.family.for_response(model.design.outcome)
    density = generalized_density(model.design, family, model.resolved_priors)
    laplace, anchor = find_generalized_laplace(density)
    return family, ExplicitDensity(density, laplace.mode, anchor)


def natural_values(pymc_model):
    """Return a start, the log density, and the map from free variables to named values."""
    import pytensor.tensor as pt
    from pymc.blocking import DictToArrayBijection
    from pymc.pytensorf import compile as compile_function

    start = DictToArrayBijection.map(pymc_model.initial_point(0))
    names = [d.name for d in pymc_model.deterministics]
    values = pymc_model.replace_rvs_by_values([pt.as_tensor_variable(d) for d in pymc_model.deterministics])
    function = compile_function(pymc_model.value_vars, values, mode="FAST_COMPILE", on_unused_input="ignore")
    log_density = pymc_model.compile_logp(mode="FAST_COMPILE")

    def free(vector):
        return DictToArrayBijection.rmap(type(start)(vector, start.point_map_info))

    def named(vector):
        point = free(vector)
        return dict(zip(names, function(*[point[v.name] for v in pymc_model.value_vars]), strict=True))

    return start.data, lambda v: float(log_density(free(v))), named


def parameters(value, model, family, explicit):
    """Return x, (d,), and c, the effects and coefficients in the kernel's columns, (k,)."""
    density, predictor = explicit.density, explicit.density.problem.predictor
    pieces = []
    for term, own, shape in zip(model.design.terms, density.terms, density.shapes, strict=True):
        sd = value[f"sd_{term.name}"]
        pairs = value.get(f"cor_{term.name}")
        root = sd[:, None] * np.linalg.cholesky(
            np.eye(len(sd)) if pairs is None else correlation_matrices(pairs, len(sd))
        )
        factor = shape.structure.factor_of_root(own.centring.inverse @ root)
        pieces.append(shape.structure.coordinates(factor, 1e-300))
    dispersion = [np.ravel(value[p.name]) for p in family.parameters]
    working = family.working(np.concatenate([np.zeros(0), *dispersion]))
    x = np.concatenate([*pieces, family.with_level(working, -predictor.fixed.centring.level(value["beta"]))])
    effects = [
        (value[f"r_{term.name}"] @ np.linalg.inv(m.matrix @ f).T).ravel()
        for term, m, f in zip(model.design.terms, predictor.maps, explicit.place(x).lambdas, strict=True)
    ]
    return x, np.concatenate([*effects, np.linalg.solve(predictor.fixed.matrix, value["beta"])])


def explicit_log_density(explicit, x, c):
    """Return the log density of (x, c): that of (x, v) less the Jacobian of v's affine map."""

    def at(v):
        point = explicit.unpack(np.concatenate([x, v]))
        return np.concatenate([*(u.ravel() for u in point.u), point.beta])

    zero = at(np.zeros(len(c)))
    matrix = np.column_stack([at(axis) - zero for axis in np.eye(len(c))])
    q = np.concatenate([x, np.linalg.solve(matrix, c - zero)])
    return explicit.value_and_gradient(q)[0] - np.linalg.slogdet(matrix)[1]


def log_jacobian(function, vector, step=1e-5):
    columns = [(function(vector + step * e) - function(vector - step * e)) / (2 * step) for e in np.eye(len(vector))]
    return np.linalg.slogdet(np.column_stack(columns))[1]


def assert_same_density(model, parametrization, rng):
    family, explicit = explicit_of(model)
    start, log_density, named = natural_values(model.to_pymc(parametrization))
    differences = []
    for _ in range(POINTS):
        vector = start + 0.3 * rng.normal(size=len(start))
        x, c = parameters(named(vector), model, family, explicit)
        expected = explicit_log_density(explicit, x, c)
        expected += log_jacobian(
            lambda v: np.concatenate(parameters(named(v), model, family, explicit)), vector
        )  # fmt: skip
        assert np.isfinite(expected)
        differences.append(log_density(vector) - expected)
    assert np.ptp(differences) < TOLERANCE


@pytest.mark.parametrize(("name", "link"), CASES, ids=[f"{name}-{link}" for name, link in CASES])
def test_noncentered_density_is_the_explicit_one(name, link):
    rng = np.random.default_rng(11)
    assert_same_density(model_of(name, link, rng), "noncentered", rng)


@pytest.mark.parametrize("name", ["bernoulli", "cumulative", "hurdle_negative_binomial"])
def test_centered_density_is_the_explicit_one(name):
    rng = np.random.default_rng(12)
    assert_same_density(model_of(name, None, rng), "centered", rng)


def test_weights_multiply_the_rows():
    rng = np.random.default_rng(13)
    model = model_of("negative_binomial", "log", rng, weights=np.arange(30) % 3 + 1.0)
    assert_same_density(model, "noncentered", rng)


def test_priors_of_dispersions_whatever_their_support():
    """A normal prior of a share holds between zero and one, an unbounded one of a shape above zero."""
    rng = np.random.default_rng(14)
    priors = {"shape": "StudentT(3, 2, 2)", "zero": "Normal(0.3, 0.2)", "x": "Normal(0, 0.4)", "sd_g": "HalfNormal(1)"}
    model = model_of("zero_inflated_negative_binomial", "log", rng, priors=priors)
    assert_same_density(model, None, rng)


def test_family_without_a_counterpart_is_taken_by_its_loops():
    import pymc as pm

    rng = np.random.default_rng(15)
    model = model_of(Counts(), None, rng)
    assert_same_density(model, "noncentered", rng)
    with model.to_pymc():
        drawn = pm.sample_prior_predictive(3, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"})
    assert drawn.prior_predictive["y"].shape == (1, 3, 30)


@pytest.mark.parametrize("name", ["zero_inflated_negative_binomial", "hurdle_poisson"])
def test_share_of_zeros_with_a_formula(name):
    rng = np.random.default_rng(21)
    model = model_of(name, None, rng, zero="~ x")
    assert_same_density(model, "noncentered", rng)


def test_names_and_dimensions_are_those_of_the_draws():
    model = model_of("cumulative", None, np.random.default_rng(16))
    pymc_model = model.to_pymc("centered")
    assert {v.name for v in pymc_model.deterministics} == {
        "beta", "threshold", "sd_g", "cor_g", "r_g", "sd_h", "r_h",
    }  # fmt: skip
    dims = pymc_model.named_vars_to_dims
    assert dims["beta"] == ("fixed",) and dims["threshold"] == ("threshold_number",)
    assert dims["r_g"] == ("g", "g_effect") and dims["cor_g"] == ("g_pair",)
    assert [v.name for v in pymc_model.observed_RVs] == ["y"]


def test_lognormal_response_is_in_the_users_units():
    rng = np.random.default_rng(17)
    model = model_of("lognormal", None, rng)
    observed = model.to_pymc()["data[y]"].get_value()
    np.testing.assert_allclose(observed, model.design.data["y"])


def test_model_can_be_extended():
    """A prior added by the user is part of the density."""
    import pymc as pm

    model = model_of("poisson", None, np.random.default_rng(18)).to_pymc()
    before = float(model.compile_logp(mode="FAST_COMPILE")(model.initial_point(0)))
    with model:
        pm.Potential("belief", pm.logp(pm.Normal.dist(1.0, 0.5), model["beta"][1]))
    after = float(model.compile_logp(mode="FAST_COMPILE")(model.initial_point(0)))
    assert after - before == pytest.approx(-0.5 * 4.0 - np.log(0.5 * np.sqrt(2 * np.pi)))  # x starts at zero


def test_effects_of_a_family_cannot_be_integrated_out():
    with pytest.raises(OptionError, match=r"'poisson' cannot be integrated out; use 'noncentered'"):
        model_of("poisson", None, np.random.default_rng(19)).to_pymc("marginal")


def test_factor_named_like_a_dispersion():
    data = data_for("gamma", "log", np.random.default_rng(20)).rename(columns={"g": "shape"})
    model = blm.Model("y ~ x + (1 | shape)", data, family="gamma")
    with pytest.raises(ModelError, match=r"'shape' has the name of a dispersion parameter.*rename"):
        model.to_pymc()
