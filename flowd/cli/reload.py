"""`flowd run --reload`: restart the worker whenever its code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from watchfiles import PythonFilter, watch

from flowd.cli.output import print_note

__all__ = ["run_and_reload"]

_LOOK_UP: Final = 200
"""Milliseconds after which the watcher says that nothing has changed."""


def run_and_reload(arguments: Sequence[str], folder: Path) -> int:
    """Run `flowd` with these arguments, and again after each change below `folder`.

    A change stops the worker as SIGTERM does: its jobs end or are released. A signal
    does the same, and ends this function as well.

    Returns:
        The exit code of the last worker.
    """
    stop = threading.Event()
    worker = _Worker(arguments)

    def on_signal(*_: object) -> None:
        stop.set()
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # The worker has no terminal, so it gets no SIGHUP; under nohup ignore it too.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    changes = watch(
        folder,
        watch_filter=PythonFilter(),
        stop_event=stop,
        rust_timeout=_LOOK_UP,
        yield_on_timeout=True,
    )
    for changed in changes:
        if changed:
            names = ", ".join(sorted(Path(path).name for _, path in changed))
            print_note(f"{names} changed, restarting")
            worker.stop()
            worker.wait()
        # Not before the watch begins: a change in between would be missed.
        if (changed or not worker.started) and not stop.is_set():
            worker.start()
    # A signal that came while a worker was started has not reached it.
    worker.stop_once()
    return worker.wait()


class _Worker:
    """The worker's process; there is one at a time."""

    def __init__(self, arguments: Sequence[str]) -> None:
        # Without bytecode files (-B): Python would not notice a file that was changed
        # within the same second and kept its length.
        self._command = [sys.executable, "-B", "-m", "flowd", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_sent = False

    @property
    def started(self) -> bool:
        """Whether there was one."""
        return self._process is not None

    def start(self) -> None:
        """Start one."""
        # In its own process group: Ctrl-C must not reach it as a second signal.
        self._process = subprocess.Popen(self._command, process_group=0)
        self._stop_sent = False

    def stop(self) -> None:
        """Send SIGTERM; a second one ends the grace period."""
        if self._process is not None:
            self._stop_sent = True
            self._process.terminate()

    def stop_once(self) -> None:
        """Send SIGTERM, unless it was sent before."""
        if not self._stop_sent:
            self.stop()

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return 0 if self._process is None else self._process.wait()
