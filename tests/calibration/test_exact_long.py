"""Explicit NUTS and models with a correlation against quadrature; bambi where it can say the same model."""

from dataclasses import replace

import numpy as np
import pytest
import small_models
from handmade import exact_draws

from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.nuts.explicit import compile_for_nutpie, sample_with_nutpie
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.pymc_models import build_hierarchical
from bayeslmm.validation.agreement import agreement_with_exact, compare_draws
from bayeslmm.validation.exact import exact_posterior
from bayeslmm.validation.methods import explicit_draws, variable_names

pytestmark = pytest.mark.calibration

HALF_GRID_ERROR = 0.12  # the error itself is about its square


def explicit_nuts(model, centered, draws=2000):
    names = variable_names(model.design)
    compiled = compile_for_nutpie(build_hierarchical(model.design, model.problem.priors, centered=centered), names)
    trace = sample_with_nutpie(
        compiled, names, Options(draws=draws, tune=1000, chains=4, cores=2, seed=3, target_accept=0.98)
    )
    return explicit_draws(trace, model.design)


def check_every_method(model, exact):
    """Means, sds and the log evidence, within four Monte Carlo standard errors."""
    density = model.problem.density
    points = weighted_points(density, Options(draws=4000, chains=1, seed=1))
    found = {
        "importance": importance_draws(density, points, Options(draws=4000, chains=1, seed=1)),
        "marginal": sample_marginal(density, Options(draws=8000, tune=500, chains=4, seed=2, target_accept=0.9)),
        "non-centred": explicit_nuts(model, False),
    }
    for method, draws in found.items():
        compared = agreement_with_exact(model.design, draws, exact)
        assert compared.agrees(), f"{method}\n{compared.table().to_string()}"
    error = np.sqrt(1 / points.smoothed.effective_size - 1 / len(points.phi))
    assert abs(points.log_evidence - exact.log_evidence) < 4 * error + exact.error**2


@pytest.mark.parametrize("name", ["dyestuff", "crossed", "nested", "uncorrelated_slope"])
def test_every_method_on_two_standard_deviations(name):
    model = getattr(small_models, name)()
    exact = exact_posterior(model.exact, nodes=65 if model.exact.dimension == 2 else 33)
    assert exact.error < HALF_GRID_ERROR
    check_every_method(model, exact)


def test_every_method_on_a_correlated_slope():
    model = small_models.correlated_slope()
    exact = exact_posterior(model.exact, nodes=25)
    assert exact.error < 2 * HALF_GRID_ERROR
    check_every_method(model, exact)


def test_centred_agrees_with_importance_on_dyestuff():
    model = small_models.dyestuff()
    density = model.problem.density
    first = exact_draws(density, Options(draws=4000, chains=1, seed=1))
    compared = compare_draws(model.design, first, explicit_nuts(model, True))
    assert compared.agrees(), compared.table().to_string()


def test_bambi_gives_the_same_posterior():
    """Independent random effects, x centred by bambi itself, the same priors."""
    import bambi as bmb

    model = small_models.uncorrelated_slope()
    data = small_models.simulated(36)
    priors = {
        "Intercept": bmb.Prior("Normal", mu=0, sigma=3),
        "x": bmb.Prior("Normal", mu=0, sigma=1),
        "sigma": bmb.Prior("HalfStudentT", nu=3, sigma=1),
        "1|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfStudentT", nu=3, sigma=1)),
        "x|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=0.8)),
    }
    peer = bmb.Model("y ~ 1 + x + (1 | g) + (0 + x | g)", data, priors=priors)
    idata = peer.fit(draws=2000, tune=1000, chains=4, random_seed=1, inference_method="nutpie", target_accept=0.98)
    drawn = {name: idata.posterior[name].to_numpy() for name in idata.posterior.data_vars}
    theirs = Draws(
        beta=np.stack([drawn["Intercept"], drawn["x"]], axis=-1),
        sigma=drawn["sigma"],
        sd=(np.stack([drawn["1|g_sigma"], drawn["x|g_sigma"]], axis=-1),),
        cor=(None,),
        effects=(np.stack([drawn["1|g"], drawn["x|g"]], axis=-1),),
        stats={},
        method="nuts",
    )
    density = model.problem.density
    ours = exact_draws(density, Options(draws=4000, chains=1, seed=1))
    compared = compare_draws(model.design, ours, theirs)
    assert compared.agrees(), compared.table().to_string()
    wrong = compare_draws(model.design, ours, replace(theirs, sigma=1.1 * theirs.sigma))
    assert not wrong.agrees()
