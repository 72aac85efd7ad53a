"""Files and folders are there whole or not at all, whatever happens in between."""

import os

import pytest

from bayeslmm.files import STALE, whole_file, whole_folder


def nothing():
    """A place that may be taken."""


def make_old(path):
    os.utime(path, (0.0, path.stat().st_mtime - 2 * STALE))


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_file_that_fails_leaves_the_former_one(tmp_path, stop):
    place = tmp_path / "a.txt"
    place.write_text("before")
    with pytest.raises(stop), whole_file(place) as partial:
        partial.write_text("half")
        raise stop
    assert place.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_replaces_the_former_one(tmp_path):
    place = tmp_path / "a.npz"
    place.write_text("before")
    with whole_file(place) as partial:
        assert partial.suffix == ".npz"
        partial.write_text("after")
    assert place.read_text() == "after"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_a_folder_is_checked_again_before_it_takes_its_place(tmp_path):
    def refuse():
        raise ValueError("taken")

    place = tmp_path / "results"
    with pytest.raises(ValueError, match="taken"), whole_folder(place, refuse) as partial:
        (partial / "a").write_text("1")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_meet(tmp_path):
    place = tmp_path / "results"
    with whole_folder(place, nothing) as first:
        with whole_folder(place, nothing) as second:
            assert first != second
            (second / "a").write_text("second")
        (first / "a").write_text("first")
    assert (place / "a").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]


def test_what_a_killed_process_left_does_not_stand_in_the_way_and_is_cleared_when_old(tmp_path):
    place = tmp_path / "results"
    old, recent, other = (tmp_path / name for name in (".results.1.partial", ".results.2.partial", ".else.3.partial"))
    for folder in (old, recent, other):
        folder.mkdir()
    make_old(old)
    make_old(other)
    with whole_folder(place, nothing):
        pass
    assert not old.exists() and recent.exists() and other.exists() and place.is_dir()
