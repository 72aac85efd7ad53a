"""How much memory a process may still take: the machine's, its own limit, its control groups'."""

import resource

import pytest

import bayeslmm as blm
from bayeslmm.errors import ModelError
from bayeslmm.inference import draws
from bayeslmm.likelihood import memory

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
    monkeypatch.setattr(draws, "available_memory", lambda: int(1.3 * 115_200) - 1)
    with pytest.raises(ModelError, match=r"term on 'Subject'. Keep none with store=\(\)"):
        model.fit("importance", draws=100, seed=1)
    assert model.fit("importance", draws=100, seed=1, store=()).draws.kept == (False,)
    assert model.fit("importance", draws=100, seed=1, precision="float32").draws.kept == (True,)
    assert model.fit("reml").status.ok
