"""How much memory a process may still take: the machine's, its own limit, its control groups'."""

import resource

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm import fitting
from bayeslmm.errors import ModelError
from bayeslmm.inference import room
from bayeslmm.likelihood import memory
from bayeslmm.posterior import effect_summaries

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 GiB free and no limits, whose files a test may add to."""
    files = {"MEMINFO": "meminfo", "STATUS": "statm", "OWN_GROUPS": "cgroup", "GROUPS": "groups"}
    for name, file in files.items():
        monkeypatch.setattr(memory, name, tmp_path / file)
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    (tmp_path / "statm").write_text("0 0 0")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return tmp_path


def test_the_machine(machine):
    assert memory.available_memory() == 8 * GIB


def test_a_limit_of_address_space(machine, monkeypatch):
    """RLIMIT_AS of 3 GiB with 1 GiB in use leaves 2."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (3 * GIB, 3 * GIB))
    (machine / "statm").write_text(f"{GIB // resource.getpagesize()} 0 0")
    assert memory.available_memory() == 2 * GIB


def test_control_groups_of_version_two(machine):
    """The least of the limits on the way to the root; a cache of files is given up when asked for."""
    (machine / "cgroup").write_text("0::/outer/inner\n")
    inner = machine / "groups" / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("5")
    (inner.parent / "memory.max").write_text(f"{4 * GIB}\n")
    (inner.parent / "memory.current").write_text(f"{3 * GIB}\n")
    assert memory.available_memory() == GIB
    (inner.parent / "memory.stat").write_text(f"anon 5\ninactive_file {GIB}\n")
    assert memory.available_memory() == 2 * GIB


def test_control_groups_of_version_one(machine):
    (machine / "cgroup").write_text("5:cpu,cpuacct:/x\n4:memory:/docker\n")
    group = machine / "groups" / "memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(f"{6 * GIB}")
    (group / "memory.usage_in_bytes").write_text(f"{GIB}")
    assert memory.available_memory() == 5 * GIB


def test_draws_that_memory_does_not_hold(monkeypatch):
    """400 draws of 18 groups' two effects are 115,200 bytes: refused before anything is sampled, with what to do."""
    model = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    monkeypatch.setattr(room, "available_memory", lambda: int(1.3 * 115_200) - 1)
    with pytest.raises(ModelError, match=r"term on 'Subject'. Keep none with store=\(\)"):
        model.fit("importance", draws=100, seed=1)
    assert model.fit("importance", draws=100, seed=1, store=()).draws.kept == (False,)
    assert model.fit("importance", draws=100, seed=1, precision="float32").draws.kept == (True,)
    assert model.fit("reml").status.ok


def test_summaries_that_memory_does_not_hold(monkeypatch):
    """Means, sds and five quantiles of 36 effects are 2,016 bytes."""
    model = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    monkeypatch.setattr(room, "available_memory", lambda: int(1.3 * 2016) - 1)
    with pytest.raises(ModelError, match=r"summaries .* 'Subject'. Keep none with store=\(\), or fewer quantiles="):
        model.fit("importance", draws=100, seed=1, store="summary")
    assert model.fit("importance", draws=100, seed=1, store="summary", quantiles=(0.5,)).draws.summaries


def test_summaries_of_crossed_effects_that_memory_does_not_hold(monkeypatch):
    data = {"y": [1.0, 2.5, 3.0, 4.2, 5.1, 6.6], "g": [0, 1, 2, 0, 1, 2], "h": [0, 0, 1, 1, 0, 1]}
    monkeypatch.setattr(effect_summaries, "available_memory", lambda: 0)
    with pytest.raises(ModelError, match=r"store='summary' needs .* points.*with store=\(\)"):
        blm.Model("y ~ 1 + (1 | g) + (1 | h)", data, sigma=1.0).fit(
            "importance", draws=100, seed=1, store="summary", handover="keep"
        )


@pytest.mark.parametrize("method", ["nuts", "advi"])
def test_effects_that_are_sampled_need_memory_whatever_is_kept(monkeypatch, method):
    rng = np.random.default_rng(1)
    data = {"y": rng.poisson(2.0, 40), "g": np.arange(40) % 10}
    model = blm.Model("y ~ 1 + (1 | g)", data, family="poisson")
    monkeypatch.setattr(room, "available_memory", lambda: 8 * 400 * 10)  # 400 draws of ten effects, once
    with pytest.raises(ModelError, match=r"effects themselves are sampled.*'g'. Take fewer draws=.*store=\(\)"):
        model.fit(method, draws=100, seed=1, store=())
    with pytest.raises(ModelError, match=r"Keep none with store=\(\)"):
        model.fit("importance", draws=100, seed=1)


@pytest.mark.parametrize(("method", "parametrization"), [("nuts", "centered"), ("advi", "noncentered")])
def test_explicit_models_need_memory_for_more_than_is_kept(monkeypatch, method, parametrization):
    model = blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))
    monkeypatch.setattr(room, "available_memory", lambda: int(1.3 * 115_200))  # enough for integrated effects
    with pytest.raises(ModelError, match=r"effects themselves are sampled.*'Subject'"):
        model.fit(method, draws=100, seed=1, parametrization=parametrization)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_end_of_memory_names_remedies(monkeypatch, family):
    def fail(*_):
        raise MemoryError("Unable to allocate 300 GiB")

    for runners in (fitting.RUNNERS, fitting.GENERALIZED_RUNNERS):
        monkeypatch.setitem(runners, "importance", fail)
    data = {"y": [1, 2, 3, 4, 6, 5], "g": [0, 1, 2, 0, 1, 2]}
    with pytest.raises(ModelError, match=r"Memory ran out. Keep .*store=\(\).*store='summary'; take fewer draws="):
        blm.Model("y ~ 1 + (1 | g)", data, family=family).fit("importance")


def test_a_limit_of_data(machine, monkeypatch):
    """RLIMIT_DATA counts the pages in the sixth place of statm."""
    page = resource.getpagesize()
    (machine / "statm").write_text(f"{5 * GIB // page} 1 1 1 0 {GIB // page} 0")
    limits = {resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: 4 * GIB}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], resource.RLIM_INFINITY))
    assert memory.available_memory() == 3 * GIB
