"""The folder of `embedded:PATH`: whose it is, and where its server listens."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from flowd.embedded.lock import FileLock
from flowd.errors import WrongAddress

__all__ = ["SCHEME", "claim", "record", "recorded"]

SCHEME: Final = "embedded:"

_LOCK: Final = "lock"
_RECORD: Final = "socket"
_DATA: Final = ("appendonlydir", "appendonly.aof", "dump.rdb")
_IGNORED: Final = frozenset(
    {
        *(_LOCK, _RECORD, "server.log", *_DATA),
        *(".gitignore", ".gitkeep", ".keep", ".DS_Store", "lost+found"),
    }
)
"""What may be in a folder before its first server, or after one that did not start."""


def claim(folder: Path) -> FileLock | None:
    """Lock the folder, made if it is missing; None while another process holds it.

    Raises:
        WrongAddress: it cannot be a folder of this user's, or is one of other things.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if foreign := _foreign(folder):
            raise _refused(
                folder,
                f"there are other things in that folder ({foreign}), and no data of a"
                " server: name a new or empty folder, as embedded:data",
            )
        return FileLock.take(folder / _LOCK)
    except OSError as error:
        raise _refused(folder, _why(folder, error)) from error


def record(folder: Path, socket: str) -> None:
    """Write down where the folder's server listens."""
    (folder / _RECORD).write_text(socket)


def recorded(folder: Path) -> str:
    """Where the folder's owner, or the last one, put the socket; maybe nowhere."""
    try:
        return (folder / _RECORD).read_text()
    except FileNotFoundError:
        return ""


def _foreign(folder: Path) -> str:
    """The first thing in a folder that no server has used; empty for none."""
    found = {each.name for each in folder.iterdir()}
    if found.intersection(_DATA):
        return ""
    return min(found - _IGNORED, default="")


def _why(folder: Path, error: OSError) -> str:
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "a file has that name, or that of a folder above it: name another folder"
    said = (error.strerror or f"{error}").lower()
    return (
        f"cannot write in {folder}: {said}: change its rights, or name another folder"
    )


def _refused(folder: Path, rule: str) -> WrongAddress:
    return WrongAddress("url", f"{SCHEME}{folder}", rule)
