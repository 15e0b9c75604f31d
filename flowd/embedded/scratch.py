"""Private temp folders that are swept away once their owner is dead."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from flowd.embedded.lock import FileLock
from flowd.embedded.probe import shutdown_orphan

__all__ = ["Scratch"]

_PREFIX: Final = "flowd-server-"
_LONGEST_PARENT: Final = 70
"""Bytes; leaves room for the folder and the socket below the limit of 100."""


class Scratch:
    """A new folder (mode 700) in the system's temp folder, locked by its maker.

    Making one also removes those of dead owners, after stopping any server that still
    listens in them.

    Attributes:
        path: the folder.
        socket: where a server of this folder listens; below 100 bytes.
    """

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > _LONGEST_PARENT:
            parent = "/tmp"  # noqa: S108 - the folder made in it is private
        _sweep(Path(parent))
        self.path, self._lock = _make(parent)
        self.socket = str(self.path / "socket")

    @property
    def owned(self) -> bool:
        """Whether this process made it (a forked child did not) and it is there."""
        return self._lock.held

    def remove(self) -> None:
        """Remove the folder and all in it; does nothing in a forked child."""
        if self.owned:
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.release()


def _make(parent: str) -> tuple[Path, FileLock]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            lock = FileLock.take(path / "lock")
        except FileNotFoundError:
            continue  # swept by another process before it was locked
        if lock is None:
            continue  # being swept
        if path.exists():
            return path, lock
        lock.release()  # swept between opening and locking


def _sweep(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            lock = FileLock.take(path / "lock")
        except OSError:
            continue  # another process was faster
        if lock is None:
            continue  # in use
        if shutdown_orphan(str(path / "socket")):
            shutil.rmtree(path, ignore_errors=True)
        lock.release()
