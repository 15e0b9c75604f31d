"""The URLs `embedded:` and `embedded:PATH`: who serves them, and who connects."""

from __future__ import annotations

import atexit
import logging
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from flowd.embedded.folder import SCHEME, claim, record, recorded
from flowd.embedded.lock import FileLock
from flowd.embedded.probe import listens, shutdown_orphan
from flowd.embedded.process import Server
from flowd.errors import FatalError, Unreachable, WrongAddress
from flowd.log import log

__all__ = ["is_embedded", "open_embedded"]

_JOIN_PATIENCE: Final = 10.0
_POLL: Final = 0.005
_AGAIN: Final = 0.5


def is_embedded(url: str) -> bool:
    """Whether `open_embedded` is to be asked where this URL's server is."""
    return url.startswith(SCHEME) and not url.startswith(f"{SCHEME}//")


def open_embedded(url: str) -> str:
    """Return the unix socket to connect to, starting the server if it does not run.

    Ask again before every connection: the server may have ended with its owner, and
    the next to ask becomes the owner. Safe from any thread; blocks for as long as a
    server takes to start (well below 0.1 s without data to load).

    Args:
        url: `embedded:` for a throw-away server of this process (and of children
            forked later, while this process lives), or `embedded:PATH` for a folder
            whose jobs are kept. A relative PATH is that of the first call, whatever
            the current folder is later; `~` is expanded.

    Raises:
        WrongAddress: PATH cannot be a folder of this user's, or has other things in it.
        FatalError: no server was found, or it does not start.
        Unreachable: another process serves PATH but cannot be reached; it may pass.
    """
    if not is_embedded(url):
        raise WrongAddress("url", url, "write embedded: or embedded:PATH, without //")
    path = url.removeprefix(SCHEME)
    with _here.guard:
        return _here.keep(_folder(path)) if path else _here.throw_away()


@cache
def _folder(path: str) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise WrongAddress("url", SCHEME + path, f"not a path: {error}") from error


@dataclass
class _Embedded:
    """What this process serves."""

    guard: Lock = field(default_factory=Lock)
    thrown: Server | None = None
    inherited: str = ""
    """Where the throw-away server of the process that forked this one listens."""
    kept: dict[Path, Server] = field(default_factory=dict[Path, Server])
    exits: ExitStack = field(default_factory=ExitStack)
    ending: bool = False
    """Whether the program ends, which must not wait for another's server."""

    def throw_away(self) -> str:
        if self.inherited and listens(self.inherited):
            return self.inherited
        if self.thrown is None:
            self.thrown = self.exits.enter_context(Server("--appendonly", "no"))
            log(logging.INFO, "serving throw-away jobs; for development and tests")
        elif not listens(self.thrown.socket):
            log(
                logging.WARNING,
                "the throw-away server died and its jobs with it; a new one",
            )
            self.thrown.restart()
        return self.thrown.socket

    def keep(self, folder: Path) -> str:
        if server := self.kept.get(folder):
            if not listens(server.socket):
                log(logging.WARNING, "the server of %s died; starting it again", folder)
                server.restart()
            return server.socket
        deadline = time.monotonic() + _JOIN_PATIENCE
        while (lock := claim(folder)) is None:
            socket = recorded(folder)
            if socket and listens(socket):
                return socket
            if self.ending or time.monotonic() > deadline:
                raise Unreachable(
                    f"another process holds {folder / 'lock'}, but no server answers at "
                    f"{socket!r}; end that process, or use another folder (containers "
                    f"cannot share one)"
                )
            time.sleep(_POLL)
        return self._serve(folder, lock)

    def _serve(self, folder: Path, lock: FileLock) -> str:
        with ExitStack() as undo:
            undo.callback(lock.release)
            # The last owner's server may not be dead yet, or, off Linux, not dying.
            former = recorded(folder)
            if former and not shutdown_orphan(former):
                raise FatalError(
                    f"a server without an owner has {folder} open and does not end when "
                    f"asked to at {former}; kill it and try again"
                )
            options = ("--appendonly", "yes", "--appendfsync", "everysec")
            server = undo.enter_context(Server(*options, folder=folder))
            record(folder, server.socket)
            self.exits.enter_context(undo.pop_all())
        log(
            logging.INFO,
            "serving %s; for development and programs on one machine",
            folder,
        )
        self.kept[folder] = server
        Thread(
            target=self._revive,
            args=(folder, server),
            name="flowd-embedded",
            daemon=True,
        ).start()
        return server.socket

    def _revive(self, folder: Path, server: Server) -> None:
        """Start it again whenever it dies: others need it while its owner asks nothing."""
        while True:
            server.join()
            with self.guard:
                if self.kept.get(folder) is not server:
                    return
                if not server.alive:
                    self._restart(folder, server)
            time.sleep(_AGAIN)  # a server that dies at once must not keep a CPU busy

    def _restart(self, folder: Path, server: Server) -> None:
        log(logging.WARNING, "the server of %s died; starting it again", folder)
        try:
            server.restart()
        except FatalError as error:
            log(logging.ERROR, "it does not start: %s", error)

    def close(self) -> None:
        self.ending = True
        with self.guard:
            self.thrown = None
            self.kept.clear()
            self.exits.close()

    def forget(self) -> None:
        """Start afresh in a forked child: what its parent serves is not its own."""
        if self.thrown:
            self.inherited = self.thrown.socket
        self.guard = Lock()
        self.thrown = None
        self.kept = {}
        self.exits = ExitStack()


_here: Final = _Embedded()
atexit.register(_here.close)
os.register_at_fork(after_in_child=_here.forget)
