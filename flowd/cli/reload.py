"""`flowd run --reload`: a worker that starts anew whenever its code changes."""

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


def run_and_reload(words: Sequence[str], folder: Path) -> int:
    """Run `flowd` with these words, and again after each change below `folder`.

    A change stops the worker as SIGTERM does, so that its jobs end or are handed back.
    So does a signal, which also ends this.

    Returns:
        The exit code of the last worker.
    """
    stop = threading.Event()
    worker = _Worker(words)

    def on_signal(*_: object) -> None:
        stop.set()
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # The worker has no terminal whose end it would hear of; with nohup nobody has.
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
            print_note(f"{names} changed, starting anew")
            worker.stop()
            worker.wait()
        # Not before somebody watches: a change meanwhile would go unseen.
        if (changed or not worker.started) and not stop.is_set():
            worker.start()
    # A signal that came while a worker was started has not reached it.
    worker.stop_once()
    return worker.wait()


class _Worker:
    """The worker's process; there is one at a time."""

    def __init__(self, words: Sequence[str]) -> None:
        # Without compiled files (-B): Python takes a file that was changed within the
        # second, and is as long as before, for the one that it has compiled.
        self._command = [sys.executable, "-B", "-m", "flowd", *words]
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False

    @property
    def started(self) -> bool:
        """Whether there was one."""
        return self._process is not None

    def start(self) -> None:
        """Start one."""
        # In a group of its own: Ctrl-C is for us, and two signals mean hurry.
        self._process = subprocess.Popen(self._command, process_group=0)
        self._told = False

    def stop(self) -> None:
        """Tell it to end; told again, it hurries."""
        if self._process is not None:
            self._told = True
            self._process.terminate()

    def stop_once(self) -> None:
        """Tell it to end if it was not told."""
        if not self._told:
            self.stop()

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return 0 if self._process is None else self._process.wait()
