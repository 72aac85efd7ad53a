"""What holds for every test: random examples are the same in every run, and few processes share the machine.

A run decides whether a change is good, so it must not depend on luck. To hunt for faults with new random examples:
``pytest --hypothesis-profile=hunt``.
"""

import os
import tempfile

import fake_cupy
import pytest
from hypothesis import settings

MOST_PROCESSES = 4  # each imports PyMC and compiles: more cost memory and gain little

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("hunt", derandomize=False)
settings.load_profile("repeatable")


def pytest_xdist_auto_num_workers(config):
    """Say how many processes ``-n auto`` starts."""
    return min(os.cpu_count() or 1, MOST_PROCESSES)


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    """Keep what is left in the folder of temporary files among pytest's own: PyTensor leaves a file per function."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(params=["numpy", "fake card", pytest.param("card", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """Where batches are computed: by numpy, on a card that is not there, on one where there is one."""
    from bayeslmm.likelihood.device import Host, find_device

    if request.param == "numpy":
        return Host()
    if request.param == "fake card":
        fake_cupy.install(monkeypatch)
    found = find_device("auto")
    if found is None:
        pytest.skip("no graphics card")
    return found
