"""Ports of loopback for servers that a test starts by itself."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import Final

__all__ = ["free_port"]

# Below those that the system gives to clients, and so is a cluster's second one.
_PORTS: Final = range(11_000, 22_000)


def free_port(*apart: int) -> int:
    """Return a port that is free, and so are those that many numbers above it."""
    while True:
        port = random.choice(_PORTS)
        with ExitStack() as stack:
            try:
                for each in (0, *apart):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + each))
            except OSError:
                continue
            return port
