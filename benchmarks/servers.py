"""The server under every benchmark, and what it reports of its work."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from flowd.embedded import Server
from flowd.embedded.binary import find_binary
from tests.support.servers import MATRIX

__all__ = ["Probe", "binary", "running"]


class Probe:
    """A server and a client that looks into it.

    Attributes:
        url: where it listens, on a port of 127.0.0.1.
        client: to ask it.
        socket: where it listens as well.
    """

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.socket = server.socket
        # Its annotations name every shape that an answer may have in any protocol.
        self.client: Any = redis.Redis(unix_socket_path=server.socket)

    @property
    def name(self) -> str:
        """What it is, as `Redis 7.0.15`."""
        info = self.client.info("server")
        name = info.get("server_name", "redis").capitalize()
        return f"{name} {info.get('valkey_version', info['redis_version'])}"

    def cpu(self) -> float:
        """CPU seconds that the server has used."""
        info = self.client.info("cpu")
        seconds: float = info["used_cpu_user"] + info["used_cpu_sys"]
        return seconds

    def stored(self) -> int:
        """Bytes of all keys with their values."""
        keys = list(self.client.scan_iter(count=1_000))
        with self.client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.memory_usage(key, samples=0)
            return sum(size or 0 for size in pipeline.execute())


@contextmanager
def running() -> Generator[Probe, None, None]:
    """Start a server that writes nothing to disk: redis-server of the PATH, or any."""
    with Server("--appendonly", "no", binary=binary(), tcp=True) as server:
        probe = Probe(server)
        try:
            yield probe
        finally:
            probe.client.close()


def binary() -> Path:
    """The program of every server: redis-server of the PATH, or any."""
    on_path = next(row for row in MATRIX if row.name == "path")
    return on_path.find() or find_binary()
