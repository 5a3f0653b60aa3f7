"""Locks: one at a time, nothing left in a folder, nothing held where there are none."""

import errno
import fcntl
import sys

import pytest

from ecg_jax.storage.lock import locked


def test_one_at_a_time(tmp_path):
    for path in (tmp_path, tmp_path / "file"):
        for _ in range(2):
            with locked(path, wait=False):
                with pytest.raises(BlockingIOError), locked(path, wait=False):
                    pass
                with locked(tmp_path / "other", wait=False):
                    pass
    assert {path.name for path in tmp_path.iterdir()} == {"file", "other"}


def test_a_locked_folder_holds_no_more_files(tmp_path):
    tmp_path.chmod(0o500)
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o700)


def test_a_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with locked(tmp_path, wait=False), locked(tmp_path, wait=False):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path, wait=False), locked(tmp_path / "file"):
        pass
