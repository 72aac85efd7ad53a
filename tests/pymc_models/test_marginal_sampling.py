"""NUTS on the marginal PyMC model: the posterior of the kernel's own NUTS and of quadrature, seeds, failures."""

import numpy as np
import pytest
from handmade import exact_draws, make_design, make_term

from bayeslmm.errors import FittingError, OptionError
from bayeslmm.inference.nuts.marginal_pymc import sample_marginal_pymc
from bayeslmm.inference.options import Options, make_options
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.marginal_likelihood import MarginalLikelihood
from bayeslmm.priors import resolve_priors

MONTE_CARLO = 4  # standard errors two right samplers may differ by, over some 25 quantities
IMPORTANCE_DRAWS = 20_000  # independent but for the weights: their error is small beside NUTS's


@pytest.fixture(scope="module")
def design():
    """Eight groups of five, one effect: the smallest model that has everything but correlations."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(8), 5)
    term = make_term(groups, [np.ones(40)], ["Intercept"])
    x = rng.normal(size=40)
    y = 5 + x + rng.normal(size=8)[groups] + 0.5 * rng.normal(size=40)
    return make_design(y, [np.ones(40), x], ["Intercept", "x"], [term])


@pytest.fixture(scope="module")
def density(design):
    return CovarianceDensity(build_kernel(design), resolve_priors(design))


@pytest.fixture(scope="module")
def sampled(design, density):
    return sample_marginal_pymc(density, design, Options(sampler="nutpie-pymc", draws=800, tune=500, cores=2, seed=5))


def quantities(draws):
    found = {f"beta[{j}]": draws.beta[..., j] for j in range(draws.beta.shape[-1])}
    found |= {"sigma": draws.sigma, "sd": draws.sd[0][..., 0]}
    return found | {f"r[{j}]": draws.effects[0][..., j, 0] for j in range(8)}


def test_posterior_is_that_of_importance_sampling(density, sampled):
    import arviz

    exact = exact_draws(density, Options(draws=IMPORTANCE_DRAWS, chains=1, seed=1))
    assert sampled.stats["diverging"].sum() == 0
    for (name, x), reference in zip(quantities(sampled).items(), quantities(exact).values(), strict=True):
        assert float(arviz.rhat(x)) < 1.01, name
        for method, distance in (("mean", x.mean() - reference.mean()), ("sd", x.std() - reference.std())):
            error = reference.std() / np.sqrt(float(arviz.ess(x, method=method)))
            assert abs(distance) < MONTE_CARLO * error, (name, method)


def test_what_is_returned(sampled):
    assert sampled.beta.shape == (4, 800, 2) and sampled.effects[0].shape == (4, 800, 8, 1)
    assert sampled.cor == (None,)
    assert {
        "sampler",
        "parametrization",
        "seed",
        "tune",
        "target_accept",
        "kernel_failures",
        "kernel_evaluations",
        "seconds",
    } == set(sampled.info)
    assert {"diverging", "energy", "tree_depth", "n_steps", "acceptance_rate", "lp"} <= set(sampled.stats)


def test_same_seed_same_draws_on_any_number_of_cores(design, density, sampled):
    again = sample_marginal_pymc(
        density, design, Options(sampler="nutpie-pymc", draws=800, tune=500, cores=1, chains=2, seed=5)
    )
    np.testing.assert_array_equal(again.beta, sampled.beta[:2])
    np.testing.assert_array_equal(again.effects[0], sampled.effects[0][:2])


def test_a_kernel_that_fails_now_and_then_does_not_stop_the_chains(design, density, monkeypatch):
    """Every fiftieth evaluation raises: the chains go on, and the failures are counted."""
    original, calls = MarginalLikelihood.value_and_gradient, []

    def flaky(self, x):
        calls.append(1)
        if len(calls) % 50 == 0:
            raise np.linalg.LinAlgError("injected")
        return original(self, x)

    monkeypatch.setattr(MarginalLikelihood, "value_and_gradient", flaky)
    drawn = sample_marginal_pymc(
        density, design, Options(sampler="nutpie-pymc", draws=200, tune=200, chains=2, cores=1, seed=1, store=())
    )
    assert drawn.effects[0].shape == (2, 200, 0, 1) and np.isfinite(drawn.beta).all()
    assert drawn.info["kernel_failures"] == len(calls) // 50 > 0


@pytest.mark.parametrize(
    ("error", "said"),
    [(FittingError("Injected."), r"Injected\."), (ZeroDivisionError("division by zero"), "the reach of double")],
)
def test_a_kernel_that_always_fails_is_quoted(design, density, monkeypatch, error, said):
    def broken(self, x):
        raise error

    monkeypatch.setattr(MarginalLikelihood, "value_and_gradient", broken)
    with pytest.raises(FittingError, match=f"The kernel failed at .*{said}"):
        sample_marginal_pymc(density, design, Options(sampler="nutpie-pymc", draws=10, tune=10, chains=1, seed=1))


def test_unknown_sampler(design, density):
    with pytest.raises(OptionError, match="'nutpie-pymc', 'pymc'"):
        sample_marginal_pymc(density, design, make_options(sampler="emcee"))


def test_pymcs_own_sampler():
    """No random term: sigma alone, by PyMC's NUTS."""
    y = np.random.default_rng(4).normal(size=30)
    line = make_design(y, [np.ones(30)], ["Intercept"])
    density = CovarianceDensity(build_kernel(line), resolve_priors(line))
    drawn = sample_marginal_pymc(density, line, Options(sampler="pymc", draws=500, tune=300, chains=2, cores=1, seed=3))
    exact = exact_draws(density, Options(draws=4000, chains=1, seed=1))
    assert drawn.sigma.mean() == pytest.approx(
        exact.sigma.mean(), abs=0.15 * exact.sigma.std()
    )  # some 400 effective draws
    assert drawn.beta.std() == pytest.approx(exact.beta.std(), rel=0.15)
