"""One server process, from its start to its end, and never longer than its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from threading import Event, Thread
from typing import Final, Self
from urllib.parse import quote

from flowd.embedded.binary import find_binary
from flowd.embedded.probe import flush, ping
from flowd.embedded.scratch import Scratch
from flowd.embedded.words import last_words
from flowd.errors import FatalError

__all__ = ["Server"]

_POLL: Final = 0.002
_START_PATIENCE: Final = 10.0
_STOP_PATIENCE: Final = 5.0

# Runs in the new process just before the server replaces it: the kernel is to kill it
# when its parent dies (prctl 1 is PR_SET_PDEATHSIG), unless the parent is dead already.
# A program of its own, because code between fork and exec may deadlock under threads.
_BOUND_TO_PARENT: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Server:
    """A real server on a private unix socket, for as long as its owner lives.

    On Linux the kernel kills it with its owner; elsewhere it is stopped by the next
    flowd process that starts a server. A terminal's Ctrl-C does not reach it.

    Args:
        options: more of the server's command line, as `"--maxmemory", "10mb"`.
        binary: the program; None finds one (`FLOWD_SERVER_BINARY`, the extra
            `server`, the PATH).
        folder: where it keeps its data, and keeps it after `close`; None means a
            temp folder that `close` removes.
        tcp: also listen on a free port of 127.0.0.1.

    Attributes:
        folder: where its data and its log are.
        socket: the socket's path, below 100 bytes.
        url: what a Redis client connects to, with `tcp` the port.

    Raises:
        FatalError: no binary was found.
        OptionError: `FLOWD_SERVER_BINARY` is not a program.
    """

    def __init__(
        self,
        *options: str,
        binary: Path | None = None,
        folder: Path | None = None,
        tcp: bool = False,
    ) -> None:
        self._binary = binary or find_binary()
        self._scratch = Scratch()
        self._kept = folder is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = Event()
        self._ended.set()
        self.folder = folder or self._scratch.path
        self.socket = self._scratch.socket
        port = _free_port() if tcp else 0
        self.url = (
            f"redis://127.0.0.1:{port}" if tcp else f"unix://{quote(self.socket)}"
        )
        self._command = (
            *(str(self._binary), "--port", str(port), "--bind", "127.0.0.1"),
            *("--unixsocket", self.socket, "--unixsocketperm", "700"),
            *("--save", "", *options),
        )

    def __enter__(self) -> Self:
        """Start it; what cannot start leaves nothing behind."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs (a paused one does)."""
        return not self._ended.is_set()

    @property
    def pid(self) -> int:
        """The id of the process, or of the last one."""
        if self._process is None:
            raise RuntimeError("the server was never started: call start() first")
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it answers, its data loaded.

        Raises:
            FatalError: it ended at once or does not answer; says what its log says.
        """
        began: Future[subprocess.Popen[bytes]] = Future()
        self._ended = Event()
        keeper = Thread(
            target=self._keep,
            args=(began, self._ended),
            name="flowd-server",
            daemon=True,
        )
        keeper.start()
        try:
            self._process = began.result()
        except OSError as error:
            raise FatalError(f"cannot start {self._binary}: {error}") from error
        self._wait_until_ready()

    def restart(self) -> None:
        """Stop it if it runs and start it again in the same folder and place."""
        self.terminate()
        self.start()

    def terminate(self) -> None:
        """Let it write what it has to and end; kills it when it takes over 5 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: it keeps its connections and answers none."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused one."""
        os.kill(self.pid, signal.SIGCONT)

    def join(self) -> None:
        """Return when the process has ended, however that came."""
        self._ended.wait()

    def flush(self) -> None:
        """Delete all that it holds, in every database."""
        flush(self.socket)

    def close(self) -> None:
        """Stop it and remove its temp folder; does nothing in a forked child."""
        if self._kept:
            self.terminate()
        else:
            self.kill()
        self._scratch.remove()

    def _keep(self, began: Future[subprocess.Popen[bytes]], ended: Event) -> None:
        # The kernel counts the *thread* that spawned as the parent, so the one that
        # does lives as long as the server; it also reaps it.
        command = self._command
        if sys.platform == "linux":
            bound = (sys.executable, "-I", "-S", "-c", _BOUND_TO_PARENT)
            command = (*bound, str(os.getpid()), *command)
        try:
            with self._log.open("wb") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    start_new_session=True,
                )
        except OSError as error:
            ended.set()
            began.set_exception(error)
            return
        began.set_result(process)
        process.wait()
        ended.set()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_PATIENCE
        while not (reply := ping(self.socket)) or reply.startswith("-LOADING"):
            if reply:
                deadline = time.monotonic() + _START_PATIENCE
            late = time.monotonic() > deadline
            if late:
                self.kill()
            if self._ended.wait(_POLL):
                what = "does not answer" if late else "ended at once"
                # The log of a temp folder is removed with it.
                where = f" (its log: {self._log})" if self._kept else ""
                raise FatalError(
                    f"the server {self._binary} in {self.folder} {what}:"
                    f" {last_words(self._log)}{where}"
                )

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or not self._scratch.owned:
            return
        self._process.send_signal(number)
        if not self._ended.wait(_STOP_PATIENCE):
            self._process.kill()
            self._ended.wait()

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
