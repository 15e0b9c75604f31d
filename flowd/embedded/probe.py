"""Finding out who listens on a unix socket, without a client library."""

from __future__ import annotations

import socket
import time
from typing import Final

__all__ = ["flush", "listens", "ping", "shutdown_orphan"]

_PATIENCE: Final = 1.0
_POLL: Final = 0.002


def listens(path: str) -> bool:
    """Whether a server has this socket open, be it busy, loading or paused."""
    try:
        _connect(path).close()
    except OSError:
        return False
    return True


def ping(path: str) -> str:
    """Return the reply to PING, as `+PONG` or `-LOADING …`; empty without an answer."""
    try:
        return _ask(path, b"PING\r\n")
    except OSError:
        return ""


def flush(path: str) -> None:
    """Delete all that a server holds; raises OSError without an answer in time."""
    _ask(path, b"FLUSHALL\r\n")


def shutdown_orphan(path: str) -> bool:
    """Stop a server that outlived its owner; False when it does not go within 2 s.

    Call it only while holding the lock of the server's folder: then the server has no owner.
    """
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        try:
            _ask(path, b"SHUTDOWN NOSAVE\r\n")
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return True
        except OSError:
            pass  # it is on its way out, or hangs: the deadline decides
        time.sleep(_POLL)
    return False


def _connect(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.settimeout(_PATIENCE)
        peer.connect(path)
    except BaseException:
        peer.close()
        raise
    return peer


def _ask(path: str, command: bytes) -> str:
    with _connect(path) as peer:
        peer.sendall(command)
        return peer.recv(128).decode(errors="replace")
