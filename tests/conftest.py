"""What holds for every test: random examples are the same in every run, and few processes share the machine.

A run decides whether a change is good, so it must not depend on luck. To hunt for faults with new random examples:
``pytest --hypothesis-profile=hunt``.
"""

import os

from hypothesis import settings

MOST_PROCESSES = 4  # each imports PyMC and compiles: more cost memory and gain little

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("hunt", derandomize=False)
settings.load_profile("repeatable")


def pytest_xdist_auto_num_workers(config):
    """Say how many processes ``-n auto`` starts."""
    return min(os.cpu_count() or 1, MOST_PROCESSES)
