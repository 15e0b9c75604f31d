"""A lock on a file that ends with its owner, however the owner ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Self

__all__ = ["FileLock"]


class FileLock:
    """Held by one owner on the machine; made by `take`.

    The kernel frees it when the owner ends, so a free lock means a dead owner and no
    process id has to be compared. A forked child does not hold its parent's locks.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Lock the file, made if it is missing; None while another process holds it.

        Raises:
            OSError: the file cannot be opened.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return cls(descriptor)

    @property
    def held(self) -> bool:
        """Whether this process still holds it."""
        return self in _held

    def release(self) -> None:
        """Let go; does nothing when it is not held."""
        if self in _held:
            _held.remove(self)
            os.close(self._descriptor)


_held: Final[set[FileLock]] = set()


def _forget() -> None:
    # A child's copy of the descriptor would keep the lock after its owner's death.
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget)
