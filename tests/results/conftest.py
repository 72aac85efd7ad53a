import pytest
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.results import PosteriorFit


@pytest.fixture(scope="session")
def sleepstudy():
    return blm.load_dataset("sleepstudy")


@pytest.fixture(scope="session")
def model(sleepstudy):
    return blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", sleepstudy)


@pytest.fixture(scope="session")
def reml(model):
    return model.fit("reml")


@pytest.fixture(scope="session")
def bayes(model, reml):
    return PosteriorFit(model.design, model.spec, draws_around(reml), model.resolved_priors)


@pytest.fixture(scope="session")
def crossed():
    """Two terms on one factor, a crossed factor, an offset and weights: every path at once."""
    data = blm.load_dataset("ratpup")
    data["w"] = 1.0 + (data["pup_id"] % 3)
    data["shift"] = 0.1 * (data["pup_id"] % 2)
    formula = "weight ~ litsize + sex + offset(shift) + (1 | litter) + (0 + litsize | litter) + (1 | treatment)"
    return blm.Model(formula, data, weights="w")
