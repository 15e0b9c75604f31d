"""Run `python -m flowd` in a process that is forked from one with its imports done.

Most of what a short command costs is its imports, of redis-py above all: a third of a second,
in tests that run hundreds of commands. So each process of tests starts this file once as a
program, which imports and then forks for each command. The fork gets the command's folder,
environment, arguments and standard streams, runs the module `flowd` as `__main__`, and ends
as a Python process ends.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

_AT_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""Variables that a process reads once, when it starts."""


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fork of this machine's processes is as good as a new process."""
    return sys.platform == "linux" and _read_at_start(environment) == _started_with()[1]


def run(
    words: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    text: str,
    limit: float,
) -> tuple[int, str, str]:
    """Run the command to its end; returns its exit code and what it printed.

    Args:
        words: its arguments.
        folder: in which it runs.
        environment: of the process.
        text: what it reads from its standard input.
        limit: seconds after which it is killed.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    # In a file, because words may be longer than a message.
    request = os.memfd_create("request")
    with os.fdopen(request, "w", encoding="utf-8", closefd=False) as file:
        json.dump([[*words], str(folder), dict(environment)], file)
    pipes = [os.pipe() for _ in range(4)]
    (stdin, writes), (reads_out, out), (reads_err, err), (reads_end, end) = pipes
    given = (request, stdin, out, err, end)
    socket.send_fds(_started_with()[0], [b"!"], given)
    for each in given:
        os.close(each)
    with (
        os.fdopen(reads_out, encoding="utf-8") as output,
        os.fdopen(reads_err, encoding="utf-8") as errors,
        os.fdopen(reads_end, encoding="ascii") as ended,
        ThreadPoolExecutor(4) as pool,
    ):
        pid = int(ended.readline())
        pool.submit(_write, writes, text)
        printed = pool.submit(output.read), pool.submit(errors.read)
        try:
            code = pool.submit(ended.read).result(limit)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired([*words], limit) from None
        return int(code), printed[0].result(), printed[1].result()


def _write(descriptor: int, text: str) -> None:
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # it ended without reading all of it


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(_AT_START)
    }


@cache
def _started_with() -> tuple[socket.socket, dict[str, str]]:
    """The program that forks, and what its environment said when it started."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = dict(os.environ)
    with theirs:
        program = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
            # The forks keep these streams, and Python makes them for what they are now.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    atexit.register(program.wait)
    atexit.register(ours.close)  # it ends by this, or when this process is killed
    return ours, _read_at_start(environment)


def _serve(control: socket.socket) -> None:
    """Fork for each request; returns in a process that is to run its command."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait are not waited for
    while True:
        message, descriptors, *_ = socket.recv_fds(control, 1, 5)
        if not message:
            sys.exit()
        if os.fork() == 0:
            break
        for each in descriptors:
            os.close(each)
    control.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, *streams, end = descriptors
    if pid := os.fork():
        for each in (request, *streams):
            os.close(each)
        os.write(end, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(end, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(end)
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    with os.fdopen(request, encoding="utf-8") as file:
        file.seek(0)
        words, folder, environment = json.load(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.path[0] = folder
    sys.argv[1:] = words


if __name__ == "__main__":
    import_module("flowd.cli")
    gc.freeze()  # a fork that collects would copy all of it, for a tenth of a second
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("flowd", run_name="__main__", alter_sys=True)
