"""A primary, replicas and sentinels on loopback, for tests that fail them over."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from flowd.embedded import Server
from tests.support.certificates import certificates
from tests.support.ports import free_port
from tests.support.raw import Raw, RawError, Reply
from tests.support.servers import over_tls
from tests.support.waiting import wait_until_blocking

__all__ = ["DOWN_AFTER", "NAME", "Sentinels", "port_of"]

NAME: Final = "jobs"
"""Of the primary, as the sentinels know it."""

# A sentinel waits a second, or this if it is less, before it asks a new primary whether it
# is there: with a second or less it takes that one for down, behind every failover.
DOWN_AFTER: Final = 1.6
"""Seconds after which a silent server counts as down."""

# As of a server: the kernel ends it when the tests end in whatever way.
_BOUND_TO_PARENT: Final = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit()
os.execv(sys.argv[2], sys.argv[2:])
"""


class Sentinels:
    """One primary, some replicas, and sentinels that watch over them.

    Args:
        binary: the server's program, which is a sentinel too.
        options: of each server.
        replicas: how many.
        sentinels: how many; most of them have to agree.
        tls: whether all of them speak it, with clients and with each other.
    """

    def __init__(
        self,
        binary: Path,
        *options: str,
        replicas: int = 2,
        sentinels: int = 3,
        tls: bool = False,
    ) -> None:
        self._stack = ExitStack()
        self._binary = binary
        self._logs: list[Path] = []
        self._tls = tls
        quick = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5", *options)
        self.servers = [self._server(*quick)]
        first = port_of(self.servers[0].url)
        follow = ("--replicaof", "127.0.0.1", str(first))
        self.servers += [self._server(*quick, *follow) for _ in range(replicas)]
        self.ports = [free_port() for _ in range(sentinels)]
        self.processes: list[subprocess.Popen[bytes]] = []
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        parts = urlsplit(self.url_of(self.ports[0]))
        query = f"?{parts.query}" if parts.query else ""
        self.url = f"{parts.scheme}+sentinel://{hosts}/{NAME}{query}"

    def __enter__(self) -> Self:
        """Start them, and return when all know each other."""
        try:
            for server in self.servers:
                self._stack.enter_context(server)
            for server in self.servers[1:]:
                with Raw(server.url) as raw:
                    wait_until_blocking(partial(_is_linked, raw))
            for port in self.ports:
                self._start_sentinel(port)
            for port in self.ports:
                wait_until_blocking(partial(self._is_ready, port))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self.close()

    @property
    def primary(self) -> Server:
        """The server that the sentinels name."""
        return self._named(self.ports[0])

    def url_of(self, port: int) -> str:
        """Where a sentinel is, by its port."""
        return certificates().url(port) if self._tls else f"redis://127.0.0.1:{port}"

    def ask(self, *words: str) -> Reply:
        """Ask the first sentinel that answers."""
        for port in self.ports:
            with suppress(OSError), Raw(self.url_of(port)) as raw:
                return raw("SENTINEL", *words)
        raise ConnectionError("no sentinel answers")

    def failover(self, *how: str) -> Server:
        """Order a failover; returns the new primary when all sentinels name it.

        Raises:
            RawError: the server does not know how.
        """
        before = self.primary
        wait_until_blocking(lambda: self._try_failover(*how))
        return self.wait_for_another(before)

    def wait_for_another(self, before: Server) -> Server:
        """Return the new primary when all sentinels name one that is not `before`."""
        for port in self.ports:
            wait_until_blocking(partial(self._names_another, port, before))
        return self.primary

    @property
    def agree(self) -> bool:
        """Whether all sentinels name the same primary."""
        return len({self._named(port).url for port in self.ports}) == 1

    @property
    def switches(self) -> int:
        """How many failovers there were so far, ordered or not."""
        return max(log.read_text("utf-8").count("+switch-master") for log in self._logs)

    def close(self) -> None:
        """Stop them all."""
        for process in self.processes:
            process.kill()
            process.wait()
        for server in self.servers:
            if server.alive:
                server.resume()
        self._stack.close()

    def _server(self, *options: str) -> Server:
        if not self._tls:
            return Server(*options, binary=self._binary, tcp=True)
        among = ("--tls-replication", "yes")
        return over_tls(free_port(), *among, *options, binary=self._binary)

    def _listening(self, port: int) -> str:
        """The lines of a sentinel's configuration that say where it is."""
        if not self._tls:
            return f"port {port}\n"
        options = ("--tls-replication", "yes", *certificates().options(port))
        pairs = zip(options[::2], options[1::2], strict=True)
        lines = (f"{name.removeprefix('--')} {value}\n" for name, value in pairs)
        return f"port 0\n{''.join(lines)}"

    def _try_failover(self, *how: str) -> bool:
        try:
            self.ask("FAILOVER", NAME, *how)
        except RawError as error:
            if str(error).startswith("ERR "):
                raise
            return False  # one is under way, or there was one just now
        return True

    def _named(self, port: int) -> Server:
        with Raw(self.url_of(port)) as raw:
            place = raw("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        assert isinstance(place, list)
        assert isinstance(place[1], bytes)
        number = int(place[1])
        return next(each for each in self.servers if port_of(each.url) == number)

    def _names_another(self, port: int, before: Server) -> bool:
        return self._named(port) is not before

    def _is_ready(self, port: int) -> bool:
        with suppress(OSError), Raw(self.url_of(port)) as raw:
            flat = raw("SENTINEL", "MASTER", NAME)
            assert isinstance(flat, list)
            known = dict(zip(flat[::2], flat[1::2], strict=True))
            return (known[b"num-slaves"], known[b"num-other-sentinels"]) == (
                b"%d" % (len(self.servers) - 1),
                b"%d" % (len(self.ports) - 1),
            )
        return False

    def _start_sentinel(self, port: int) -> None:
        folder = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="flowd-sentinel-")
        )
        file = Path(folder) / "sentinel.conf"
        self._logs.append(Path(folder) / "log")
        watched = f"{NAME} 127.0.0.1 {port_of(self.servers[0].url)}"
        file.write_text(
            f"{self._listening(port)}bind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n"
            f"sentinel monitor {watched} {len(self.ports) // 2 + 1}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER * 1000:.0f}\n"
            f"sentinel failover-timeout {NAME} 3000\n"
            f"sentinel parallel-syncs {NAME} 1\n",
            "utf-8",
        )
        bound = (sys.executable, "-I", "-S", "-c", _BOUND_TO_PARENT, str(os.getpid()))
        command = (*bound, str(self._binary), str(file), "--sentinel")
        self.processes.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        )


def _is_linked(raw: Raw) -> bool:
    return raw.info("master_link_status") == "up"


def port_of(url: str) -> int:
    """The port of a URL of one server."""
    port = urlsplit(url).port
    assert port is not None
    return port
