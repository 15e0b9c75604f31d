"""A child as its parent sees it, from its start to its end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from flowd.cli.processes.messages import (
    LIMIT,
    Family,
    FromChild,
    FromParent,
    from_line,
    line,
)
from flowd.log import log

__all__ = ["Child", "Command"]

_LAST_MESSAGES: Final = 2.0
"""Seconds after its end for messages that are still to be read."""


@dataclass(frozen=True, slots=True)
class Command:
    """How children are started."""

    arguments: Sequence[str]
    """What follows `flowd`."""

    folder: str
    """Looked up anew for each, so that a link to a release may have moved."""

    environment: Mapping[str, str]


class Child:
    """One process. Its methods are called in one thread, in the loop that it began in.

    Args:
        command: starts it.
        slot: which of the N it is, from 1.
        generation: how many times SIGHUP has come before it.
        changed: is called after each change of the attributes.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self,
        command: Command,
        slot: int,
        generation: int,
        changed: Callable[[], None],
    ) -> None:
        self.slot = slot
        self.generation = generation
        self.loaded = False
        """Whether the user's code is loaded; from then on it reads messages."""
        self.ready = False
        """Whether it was ready once."""
        self.retire = ""
        """Why it asked to be replaced."""
        self.large_after: float | None = None
        """Seconds after which it was above `--max-rss`, if that is why."""
        self.killed = False
        """Whether `kill` ended it."""
        self.counted: Sequence[Family] = ()
        """Its metrics, as it last sent them."""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its exit code, as `subprocess` has it, once all its messages were read."""
        self.began = time.monotonic()
        self._changed = changed
        self._stop_sent: FromParent | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[FromChild]] = {}
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                number = theirs.fileno()
                self._process = subprocess.Popen(
                    (
                        *(sys.executable, "-m", "flowd", *command.arguments),
                        *("--supervised", str(number)),
                    ),
                    cwd=command.folder,
                    env=command.environment,
                    pass_fds=(number,),
                    # A group of its own: Ctrl-C is for the parent, which passes it on.
                    process_group=0,
                )
        except BaseException:
            ours.close()
            raise
        self._exited = asyncio.Event()
        reading = asyncio.create_task(self._read(ours))
        self._ending = asyncio.create_task(self._end(reading))

    def __str__(self) -> str:
        return f"process {self.slot} (pid {self._process.pid})"

    def reap(self) -> None:
        """Look whether it has ended; to be called on SIGCHLD."""
        if self._process.poll() is not None:
            self._exited.set()

    def stop(self, grace: float, times: int, name: str = "") -> None:
        """Ask it to shut down.

        Args:
            grace: seconds for running jobs.
            times: which request this is, from 1; the child acts once on each.
            name: the signal that caused it; empty if the child was replaced.
        """
        self._stop_sent = {"stop": grace, "times": times, "signal": name}
        if self.loaded and self._writer is not None:
            self._writer.write(line(self._stop_sent))
        else:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.killed = True
        self._process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal that does not end it."""
        self._process.send_signal(number)

    async def ask(
        self, *, within: float, counted: bool = False, queues: bool = False
    ) -> FromChild | None:
        """Its answer to a question about its state; None without one in time.

        Args:
            within: seconds to wait.
            counted: ask for its metrics as well.
            queues: ask for what its queues hold as well, which it reads from Redis.
        """
        if not self.loaded or self._writer is None:
            return None
        number = next(self._numbers)
        question: FromParent = {"ask": number, "counted": counted, "queues": queues}
        answer: asyncio.Future[FromChild] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._writer.write(line(question))
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._answers[number]

    async def _read(self, ours: socket.socket) -> None:
        reader, self._writer = await asyncio.open_unix_connection(
            sock=ours, limit=LIMIT
        )
        with suppress(OSError):
            while text := await reader.readline():
                self._receive(cast("FromChild", from_line(text)))

    def _receive(self, message: FromChild) -> None:
        self.counted = message.get("counted", self.counted)
        self.retire = message.get("retire", self.retire)
        self.large_after = message.get("large_after", self.large_after)
        if "state" in message:
            self.loaded = True
            if message["state"] == "ready":
                self.ready = True
                log(logging.INFO, "%s is ready", self)
            if (
                self._stop_sent is not None
                and not self.ready
                and self._writer is not None
            ):
                # The signal may have come before there was a handler for it.
                self._writer.write(line(self._stop_sent))
        answer = self._answers.get(message.get("answer", 0))
        if answer is not None and not answer.done():
            answer.set_result(message)
        self._changed()

    async def _end(self, reading: asyncio.Task[None]) -> None:
        await self._exited.wait()
        # What it forked may keep its end of the pair open.
        await asyncio.wait([reading], timeout=_LAST_MESSAGES)
        reading.cancel()
        if self._writer is not None:
            self._writer.close()
        code = self._process.returncode
        assert code is not None
        self.ended.set_result(code)
        self._changed()
