"""Private temp folders and the locks that keep them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowd.embedded.lock import FileLock
from flowd.embedded.scratch import Scratch


def test_a_lock_has_one_owner(tmp_path: Path) -> None:
    """A second `take` gets nothing until the first owner lets go."""
    first = FileLock.take(tmp_path / "lock")
    assert first
    assert FileLock.take(tmp_path / "lock") is None
    first.release()
    second = FileLock.take(tmp_path / "lock")
    assert second
    assert not first.held
    first.release()
    assert second.held
    second.release()


def test_a_folder_is_private_and_goes(tmp_path: Path) -> None:
    """A scratch folder is for its user alone and leaves nothing when removed."""
    scratch = Scratch()
    (scratch.path / "data").touch()
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    assert scratch.owned
    scratch.remove()
    assert not scratch.path.exists()
    assert not scratch.owned
    scratch.remove()


def test_makers_and_sweepers_do_not_meet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Folders made and swept by many threads at once are all whole and locked."""
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
    monkeypatch.setattr("flowd.embedded.scratch._LONGEST_PARENT", 1000)
    with ThreadPoolExecutor(8) as pool:
        made = [work.result() for work in [pool.submit(Scratch) for _ in range(60)]]
    assert {scratch.path for scratch in made} == set(tmp_path.iterdir())
    for scratch in made:
        assert FileLock.take(scratch.path / "lock") is None
        scratch.remove()
