"""Processes that open an embedded URL, so that tests can end them in every way."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final, Self

from tests.support.raw import Raw

__all__ = ["Opener", "raw_client", "server_pid"]

_PROGRAM: Final = """
import sys
from flowd.embedded import open_embedded

url, *statements = sys.argv[1:]
for statement in statements:
    exec(statement)
print(open_embedded(url), flush=True)
for _ in sys.stdin:
    print(open_embedded(url), flush=True)
"""


class Opener:
    """A process that opens a URL at once, and again each time it is asked.

    Args:
        url: what it opens.
        statements: Python that it runs before.
        environment: variables it gets besides the test's own.
    """

    def __init__(self, url: str, *statements: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _PROGRAM, url, *statements],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | environment,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        """Do nothing: it runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end if it still runs, its server with it, and reap it."""
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def opened(self) -> str:
        """Return the next socket that it was given."""
        assert self._process.stdout
        assert self._process.stderr
        if line := self._process.stdout.readline():
            return line.removesuffix("\n")
        raise AssertionError(self._process.stderr.read())

    def open_again(self) -> str:
        """Make it open its URL once more and return the socket."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.opened()

    def exit(self) -> None:
        """Let it end as a program does; it must not have complained."""
        _, complaints = self._process.communicate()
        assert not complaints, complaints
        assert self._process.returncode == 0

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()


def raw_client(socket: str) -> Raw:
    """Return a client of the server that listens at `socket`; close it with `with`."""
    return Raw(f"unix://{socket}")


def server_pid(socket: str) -> int:
    """Return the process id of the server that listens at `socket`."""
    with raw_client(socket) as raw:
        return int(raw.info("process_id"))
