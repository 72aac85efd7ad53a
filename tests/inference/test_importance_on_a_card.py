"""fit("importance", device=...): the same draws from the same seed, and refusals before anything is computed."""

import fake_cupy
import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import MissingDependencyError, OptionError
from bayeslmm.likelihood.device import find_device

ROUNDING = 1e-6  # the proposals start where a gradient vanishes to rounding, and weights follow
RUN = {"draws": 50, "chains": 2, "seed": 3}


@pytest.fixture(scope="module")
def ratings():
    """InstEval's shape on a small scale: students rate lecturers, who belong to departments; most pairs never meet."""
    rng = np.random.default_rng(8)
    n, students, lecturers = 3_000, 400, 205
    data = pd.DataFrame({"s": rng.integers(0, students, n), "d": rng.integers(0, lecturers, n)})
    data["service"] = rng.integers(0, 2, n)
    data["dept"] = data.d % 7
    effects = 0.3 * rng.normal(size=students)[data.s] + 0.5 * rng.normal(size=lecturers)[data.d]
    data["y"] = 3 + 0.1 * data.service + effects + rng.normal(size=n)
    return data


@pytest.fixture(params=["fake card", pytest.param("card", marks=pytest.mark.gpu)])
def card(request, monkeypatch):
    fake = fake_cupy.install(monkeypatch) if request.param == "fake card" else None
    if find_device("auto") is None:
        pytest.skip("no graphics card")
    return fake


@pytest.mark.parametrize("formula", ["y ~ service + (1 | s) + (1 | d)", "y ~ 1 + (1 | s) + (service | d)"])
def test_the_same_draws_up_to_rounding(formula, ratings, card):
    model = blm.Model(formula, ratings)
    here, there = model.fit("importance", **RUN), model.fit("importance", **RUN, device="auto")
    assert (here.info["device"], there.info["device"]) == ("cpu", "cuda")
    assert there.info["points"] == here.info["points"] and there.info["evaluations"] == here.info["evaluations"]
    assert there.info["log_evidence"] == pytest.approx(here.info["log_evidence"], abs=1e-4)
    for name in ("beta", "sigma"):
        np.testing.assert_allclose(getattr(there.draws, name), getattr(here.draws, name), rtol=ROUNDING, atol=ROUNDING)
    for kind in ("sd", "effects"):
        for one, other in zip(getattr(there.draws, kind), getattr(here.draws, kind), strict=True):
            np.testing.assert_allclose(one, other, rtol=ROUNDING, atol=ROUNDING)


def test_what_is_not_kept_does_not_come_back(ratings, monkeypatch):
    fake = fake_cupy.install(monkeypatch)
    model = blm.Model("y ~ service + (1 | s) + (1 | d)", ratings)
    every = model.fit("importance", **RUN, device="cuda")
    moved = fake.moves.from_card
    some = model.fit("importance", **RUN, device="cuda", store=("d",), precision="float32")
    none = model.fit("importance", **RUN, device="cuda", store=())
    np.testing.assert_array_equal(none.draws.beta, every.draws.beta)
    np.testing.assert_allclose(some.draws.effects[1], every.draws.effects[1], rtol=1e-5, atol=1e-5)
    assert some.draws.effects[1].dtype == np.float32 and some.draws.effects[0].shape[2] == 0
    assert fake.moves.from_card < 3 * moved


def test_refusals_come_first(ratings, monkeypatch):
    model = blm.Model("y ~ service + (1 | s) + (1 | d)", ratings)
    fake_cupy.remove(monkeypatch)
    with pytest.raises(MissingDependencyError, match=r"bayeslmm\[gpu\]"):
        model.fit("importance", device="cuda")
    assert "products_kernel" not in vars(model)
    assert model.fit("importance", **RUN, store=(), device="auto").info["device"] == "cpu"
    fake_cupy.install(monkeypatch)
    for options, words in (
        ({"method": "nuts"}, "takes no option 'device'; it is for 'importance'"),
        ({"method": "importance", "solver": "iterative"}, "use solver='exact', or device='cpu'"),
    ):
        with pytest.raises(OptionError, match=words):
            model.fit(**options, device="cuda")
    with pytest.raises(OptionError, match="'cpu', 'cuda', 'auto'"):
        model.fit("importance", device="gpu")
    counts = blm.Model("service ~ 1 + (1 | d)", ratings, family="poisson")
    with pytest.raises(OptionError, match="for normal responses"):
        counts.fit("importance", device="cuda")


def test_where_nothing_is_for_a_card(ratings, monkeypatch):
    fake_cupy.install(monkeypatch)
    with pytest.raises(OptionError, match="crossed random effects, which this fit does without"):
        blm.Model("y ~ 1 + (1 | s)", ratings).fit("importance", device="cuda")
    monkeypatch.setattr("bayeslmm.likelihood.iterative.choice.LARGEST_DENSE", 10)
    model = blm.Model("y ~ 1 + (1 | s) + (1 | d)", ratings)
    with pytest.raises(OptionError, match="use solver='exact', or device='cpu'"):
        model.fit("importance", device="cuda")
    monkeypatch.setattr("bayeslmm.inference.hamiltonian.sampling.MANY", 1)
    with pytest.raises(OptionError, match=r"Hamiltonian Monte Carlo: use device='cpu' or 'auto', or handover='keep'"):
        model.fit("importance", device="cuda", solver="exact")
