"""Result folders are complete or not there."""

import os

import pytest

from bayeslmm.errors import StorageError
from bayeslmm.result_folder import check_target, saved_fits, written_whole


def fill(folder, text="new"):
    (folder / "summary.txt").write_text(text)
    (folder / "reml").mkdir()
    (folder / "reml" / "fit.json").write_text("{}")


def make(folder, text="old"):
    folder.mkdir(parents=True)
    fill(folder, text)
    return folder


def test_written_and_renamed(tmp_path):
    target = tmp_path / "results" / "a"
    with written_whole(target, overwrite=False) as folder:
        fill(folder)
        assert not target.exists()
    assert (target / "summary.txt").read_text() == "new"
    assert [entry.name for entry in target.parent.iterdir()] == ["a"]


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_behind_when_stopped(tmp_path, stop):
    target = tmp_path / "a"
    with pytest.raises(stop), written_whole(target, overwrite=False) as folder:
        fill(folder)
        raise stop
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_survives_a_stop(tmp_path):
    target = make(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), written_whole(target, overwrite=True) as folder:
        fill(folder)
        raise KeyboardInterrupt
    assert (target / "summary.txt").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_an_earlier_result_survives_a_rename_that_fails(tmp_path, monkeypatch):
    target = make(tmp_path / "a")
    path_class = type(target)
    rename = path_class.rename

    def fail_for_partial(self, other):
        if self.name.endswith(".partial"):
            raise OSError("disk")
        return rename(self, other)

    monkeypatch.setattr(path_class, "rename", fail_for_partial)
    with pytest.raises(OSError, match="disk"), written_whole(target, overwrite=True) as folder:
        fill(folder)
    assert (target / "summary.txt").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_replaced_when_asked(tmp_path):
    target = make(tmp_path / "a")
    (target / "trace.png").write_bytes(b"")
    with written_whole(target, overwrite=True) as folder:
        fill(folder)
    assert (target / "summary.txt").read_text() == "new"
    assert not (target / "trace.png").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_place_taken_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a"
    with (
        pytest.raises(StorageError, match="--overwrite"),
        written_whole(target, overwrite=False) as folder,
    ):
        fill(folder)
        make(target)
    assert (target / "summary.txt").read_text() == "old"


def test_an_existing_folder_needs_overwrite(tmp_path):
    target = make(tmp_path / "a")
    with pytest.raises(StorageError, match="--overwrite"):
        check_target(target, overwrite=False)
    check_target(target, overwrite=True)


@pytest.mark.parametrize("stranger", ["notes.md", "folder", "link.png"])
def test_a_folder_of_someone_else_is_never_replaced(tmp_path, stranger):
    target = make(tmp_path / "a")
    if stranger == "folder":
        (target / stranger).mkdir()
    elif stranger == "link.png":
        (target / stranger).symlink_to(tmp_path)
    else:
        (target / stranger).write_text("mine")
    with pytest.raises(StorageError, match=f"'{stranger}'"):
        check_target(target, overwrite=True)


def test_places_that_are_not_folders(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(make(tmp_path / "elsewhere"))
    for name in ("file", "link"):
        with pytest.raises(StorageError, match="not a folder"):
            check_target(tmp_path / name, overwrite=True)
    with pytest.raises(StorageError, match="cannot be made"):
        check_target(tmp_path / "file" / "a", overwrite=False)


def test_a_place_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="cannot be made"):
        check_target(tmp_path / "a" / "b", overwrite=False)


def test_saved_fits(tmp_path):
    target = make(tmp_path / "a")
    assert saved_fits(target) == [target / "reml"]
    assert saved_fits(target / "reml") == [target / "reml"]
    with pytest.raises(StorageError, match="no saved fit"):
        saved_fits(tmp_path / "nowhere")
