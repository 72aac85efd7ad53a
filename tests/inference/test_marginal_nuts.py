"""NUTS on the kernel's density: seeds and cores, failures, interruption, resuming."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.errors import FittingError, OptionError, StorageError
from bayeslmm.inference.laplace import find_laplace
from bayeslmm.inference.nuts import marginal as marginal_nuts
from bayeslmm.inference.options import Options
from bayeslmm.likelihood import threads
from bayeslmm.posterior.density import CovarianceDensity

RUN = {"draws": 150, "tune": 200, "chains": 3, "progressbar": False}


@pytest.fixture(scope="module")
def model():
    return blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))


@pytest.fixture(scope="module")
def density(model):
    return CovarianceDensity(model.kernel, model.resolved_priors)


@pytest.fixture(scope="module")
def whole(model):
    return model.fit("nuts", seed=7, **RUN)


def same(one, two):
    arrays = [(one.draws.beta, two.draws.beta), (one.draws.sigma, two.draws.sigma)]
    arrays += list(zip(one.draws.effects, two.draws.effects, strict=True))
    return all(np.array_equal(a, b) for a, b in arrays)


def test_same_seed_same_draws_whatever_the_cores(model, whole, monkeypatch):
    monkeypatch.setattr(threads, "LARGE_ORDER", 1)  # let threads be used on a small model
    assert same(model.fit("nuts", seed=7, cores=2, **RUN), whole)
    assert not same(model.fit("nuts", seed=8, **RUN), whole)


def test_a_chain_depends_on_the_seed_and_its_number_alone(model, whole):
    fewer = model.fit("nuts", seed=7, **{**RUN, "chains": 2})
    np.testing.assert_array_equal(fewer.draws.sigma, whole.draws.sigma[:2])
    np.testing.assert_array_equal(fewer.draws.beta, whole.draws.beta[:2])


def test_an_interrupted_run_resumes_to_the_same_draws(model, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    real, calls = marginal_nuts.sample_chain, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(marginal_nuts, "sample_chain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit("nuts", seed=7, resume=folder, **RUN)
    assert sorted(path.name for path in folder.iterdir()) == ["chain_0.npz", "chain_1.npz", "run.json"]
    assert json.loads((folder / "run.json").read_text())["seed"] == 7
    resumed = model.fit("nuts", resume=folder, **RUN)
    assert len(calls) == 4  # chains 0 and 1 were not run again
    assert same(resumed, whole)


KILLED = """
import sys
import bayeslmm as blm
model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
model.fit("nuts", draws=1000, tune=1000, chains=6, cores=1, seed=7, progressbar=False, resume=sys.argv[1])
"""


def test_a_killed_run_resumes_to_the_same_draws(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)])
    while process.poll() is None and not (folder / "chain_0.npz").exists():
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    left = {path.name for path in folder.iterdir()}
    assert "chain_0.npz" in left and "chain_5.npz" not in left
    model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    options = {"draws": 1000, "tune": 1000, "chains": 6, "seed": 7, "progressbar": False}
    assert same(model.fit("nuts", resume=folder, **options), model.fit("nuts", **options))


def test_another_run_is_not_resumed(model, tmp_path):
    folder = tmp_path / "run"
    model.fit("nuts", seed=7, resume=folder, **{**RUN, "chains": 1})
    with pytest.raises(StorageError, match="another draws"):
        model.fit("nuts", seed=7, resume=folder, **{**RUN, "chains": 1, "draws": 20})
    other = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), priors={"sigma": "HalfNormal(9)"})
    with pytest.raises(StorageError, match="another model"):
        other.fit("nuts", seed=7, resume=folder, **{**RUN, "chains": 1})
    (folder / "chain_0.npz").write_bytes(b"torn")
    with pytest.raises(StorageError, match="delete that file"):
        model.fit("nuts", seed=7, resume=folder, **{**RUN, "chains": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(StorageError, match="not empty"):
        model.fit("nuts", seed=7, resume=tmp_path / "other", **RUN)


def test_resume_is_for_the_marginal_density(model, tmp_path):
    with pytest.raises(OptionError, match="resume= is for"):
        model.fit("nuts", parametrization="centered", resume=tmp_path / "run")


INTERRUPTED = """
import sys, threading, time
import bayeslmm as blm
from bayeslmm.posterior.density import CovarianceDensity

real, calls, begun = CovarianceDensity.value_and_gradient, [], threading.Event()

def slow(self, x):
    calls.append(1)
    if len(calls) > 60:
        time.sleep(0.005)
    if len(calls) == 100:
        print("sampling", flush=True)
    return real(self, x)

CovarianceDensity.value_and_gradient = slow
model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
try:
    model.fit("nuts", draws=20_000, tune=20_000, chains=2, cores=int(sys.argv[1]), seed=1, progressbar=False)
except KeyboardInterrupt:
    seen = len(calls)
    time.sleep(1)
    print("stopped", len(calls) - seen, seen)
"""


@pytest.mark.parametrize("cores", [1, 2])
def test_ctrl_c_stops_every_chain(cores):
    """Afterwards nobody evaluates the density any more; whole chains would do so at least 80,000 times.

    In a process of its own, as a user has it. The signal may land where Python only reports it, and is repeated then.
    """
    command = [sys.executable, "-c", INTERRUPTED, str(cores)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "sampling\n"
            for _ in range(5):
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(20)
                    break
                except subprocess.TimeoutExpired:
                    continue
            word, after, seen = child.stdout.read().split()
        finally:
            child.kill()
    assert (word, after) == ("stopped", "0")
    assert int(seen) < 40_000


def test_a_shorter_trace_is_an_interruption(density, monkeypatch):
    import nutpie

    real = nutpie.sample
    monkeypatch.setattr(nutpie, "sample", lambda *a, **k: real(*a, **{**k, "draws": 10}))
    with pytest.raises(KeyboardInterrupt):
        marginal_nuts.sample_chain(density, find_laplace(density), Options(draws=50, tune=50), 1)


def test_a_kernel_that_fails_now_and_then_does_not_stop_a_chain(density, monkeypatch):
    real, calls = CovarianceDensity.value_and_gradient, []
    laplace = find_laplace(density)

    def failing(self, x):
        calls.append(1)
        if len(calls) % 50 == 0:
            raise FittingError("injected")
        return real(self, x)

    monkeypatch.setattr(CovarianceDensity, "value_and_gradient", failing)
    chain = marginal_nuts.sample_chain(density, laplace, Options(draws=100, tune=100), 1)
    assert chain.failures == len(calls) // 50 > 0
    assert np.isfinite(chain.x).all()


def test_a_kernel_that_always_fails_tells_its_error(density, monkeypatch):
    laplace = find_laplace(density)

    def failing(self, x):
        raise FittingError("injected")

    monkeypatch.setattr(CovarianceDensity, "value_and_gradient", failing)
    with pytest.raises(FittingError, match=r"first at \(phi, log sigma\) = .*injected"):
        marginal_nuts.sample_chain(density, laplace, Options(draws=10, tune=10), 1)


def test_coefficients_that_are_not_normal_fall_back_to_the_explicit_model():
    from bayeslmm.inference.nuts.sampling import choose_parametrization
    from bayeslmm.priors import resolve_priors

    model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    priors = resolve_priors(model.design, {"Intercept": "StudentT(3, 1500, 50)"})
    chosen, messages = choose_parametrization(None, priors)
    assert chosen == "noncentered" and "Intercept (StudentT(3, 1500, 50))" in messages[0]
    assert choose_parametrization(None, priors, mixtures=True) == ("marginal", ())
    assert choose_parametrization(None, model.resolved_priors) == ("marginal", ())
    uniform = resolve_priors(model.design, {"Intercept": "Uniform(1400, 1600)"})
    assert choose_parametrization(None, uniform, mixtures=True)[0] == "noncentered"
