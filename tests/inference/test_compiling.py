"""Users are told of long compilation, once."""

import sys

import numba
import pytest

from bayeslmm.inference import compiling
from bayeslmm.inference.compiling import MESSAGE, PATIENCE, Watch, compilation_told


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def watch(monkeypatch):
    told, clock = [], Clock()
    found = Watch(told.append, clock)
    found.messages, found.clock = told, clock
    monkeypatch.setattr(compiling, "_WATCH", found)
    return found


def compile_for(watch, seconds):
    watch.on_start(None)
    watch.clock.now += seconds
    watch.on_end(None)


def test_short_compilation_is_not_worth_a_word(watch):
    compile_for(watch, 0.9 * PATIENCE)
    watch.clock.now += 100.0  # between the two nothing is compiled
    assert not watch.messages


def test_long_compilation_is_told_once(watch):
    for _ in range(5):
        compile_for(watch, 0.6 * PATIENCE)
    assert watch.messages == [MESSAGE]


def test_it_is_told_while_the_outer_function_is_still_being_compiled(watch):
    watch.on_start(None)
    watch.clock.now += 2.0 * PATIENCE
    compile_for(watch, 0.1)
    assert watch.messages == [MESSAGE]


def test_what_numba_compiles_is_seen(watch):
    watch.seconds = 2.0 * PATIENCE
    with compilation_told(True):
        numba.njit(lambda x: x + 1)(1)
    assert watch.messages == [MESSAGE]
    assert watch.depth == 0


def test_what_is_compiled_already_is_not(watch):
    compiled = numba.njit(lambda x: x + 2)
    compiled(1)
    watch.seconds = 2.0 * PATIENCE
    with compilation_told(True):
        compiled(2)
    assert not watch.messages


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_is_told_where_nobody_looks(watch, monkeypatch, shown):
    if shown:
        monkeypatch.setattr(sys, "stderr", None)
    watch.seconds = 2.0 * PATIENCE
    with compilation_told(shown):
        numba.njit(lambda x: x + 3)(1)
    assert not watch.messages
