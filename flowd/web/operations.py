"""Changes of many letters or jobs: they go on whether their page is open or not."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from flowd.errors import FlowdError
from flowd.log import log
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.model.text import count_of, printable
from flowd.ops.jobs import JobView
from flowd.ops.letters import move

__all__ = ["Operation", "OperationState", "Operations", "Verb", "move_letters"]

Verb: TypeAlias = Literal["redrive", "purge", "cancel", "delete", "clear", "run"]
"""The first two are for dead letters, the others for jobs that have not ended."""

OperationState: TypeAlias = Literal["running", "done", "stopped", "failed"]

_DONE: Final[Mapping[Verb, str]] = {
    "redrive": "redriven",
    "purge": "purged",
    "cancel": "cancelled",
    "delete": "deleted",
    "clear": "deleted",
    "run": "due now",
}
_AT_ONCE: Final = 4
_KEPT: Final = 50
_NAMED: Final = 50


@dataclass(slots=True, kw_only=True)
class Operation:
    """Letters or jobs that are moved, or would be."""

    id: str = ""
    """Given when it is started."""

    verb: Verb
    stream: str
    group: str
    which: str
    """Which letters or jobs, in words."""

    user: str
    dry: bool
    rate: float | None
    """How many in a second, at most."""

    total: int
    """How many letters or jobs it may take."""

    moved: int = 0
    marked: int = 0
    """Running jobs that their workers will cancel."""

    missed: int = 0
    """Jobs that had ended or moved before they were reached, or that run."""

    state: OperationState = "running"
    error: str = ""
    """Why it failed."""

    refused: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Letter or job and reason, of the first 50."""

    sample: list[Letter[Job]] = field(default_factory=list[Letter[Job]])
    """The first 50 letters that a dry run would move."""

    jobs: list[JobView] = field(default_factory=list[JobView])
    """The first 50 jobs of a dry run."""

    @property
    def noun(self) -> str:
        """What is moved."""
        return "letter" if self.verb in ("redrive", "purge") else "job"

    @property
    def word(self) -> str:
        """What becomes of one."""
        return _DONE[self.verb]

    @property
    def done_word(self) -> str:
        """What happened to one."""
        return f"would be {self.word}" if self.dry else self.word

    def refuse(self, name: str, reason: str) -> None:
        """Count a letter or a job that was refused; `name` is its id."""
        self.refused += 1
        if len(self.refusals) < _NAMED:
            self.refusals.append((name, reason))

    def try_jobs(self, jobs: Sequence[JobView]) -> None:
        """Count the jobs that a dry run would take."""
        self.moved += len(jobs)
        self.jobs += jobs[: _NAMED - len(self.jobs)]


class Operations:
    """What was started in this process; the last 50 are remembered."""

    def __init__(self) -> None:
        self._all: dict[str, Operation] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)

    @property
    def running(self) -> int:
        """How many have not ended."""
        return len(self._tasks)

    @property
    def is_full(self) -> bool:
        """Whether as many run as may run at once."""
        return self.running >= _AT_ONCE

    def latest(self) -> list[Operation]:
        """The newest first."""
        return [*reversed(self._all.values())]

    def get(self, operation_id: str) -> Operation | None:
        """The one with this id."""
        return self._all.get(operation_id)

    async def start(
        self, operation: Operation, work: Awaitable[None], *, wait: float
    ) -> None:
        """Begin an operation.

        Args:
            operation: gets its id here.
            work: does it.
            wait: seconds; a short one has ended when this returns.
        """
        operation.id = f"{next(self._numbers)}"
        self._all[operation.id] = operation
        for old in [*self._all][:-_KEPT]:
            if old not in self._tasks:
                del self._all[old]
        task = asyncio.create_task(self._run(operation, work))
        self._tasks[operation.id] = task
        await asyncio.wait([task], timeout=wait)

    async def stop(self, operation_id: str) -> None:
        """End it after the step that is under way."""
        task = self._tasks.get(operation_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def aclose(self) -> None:
        """Stop all."""
        for each in [*self._tasks]:
            await self.stop(each)

    async def _run(self, operation: Operation, work: Awaitable[None]) -> None:
        try:
            await work
            operation.state = "done"
        except asyncio.CancelledError:
            operation.state = "stopped"  # the task ends with this
        except FlowdError as error:
            operation.state, operation.error = "failed", f"{error}"
        except (
            Exception
        ) as error:  # a bug: the page says so, and the task has no reader
            operation.state = "failed"
            operation.error = f"{type(error).__name__}: {error}"
            raised = (type(error), error, error.__traceback__)
            log(logging.ERROR, "web: a bug ended a %s", operation.verb, raised=raised)
        finally:
            del self._tasks[operation.id]
            _log_end(operation)


async def move_letters(
    operation: Operation,
    picked: AsyncGenerator[Letter[Job]],
    step: Callable[[Letter[Job]], Awaitable[object]],
) -> None:
    """Take a step with each letter, and count it.

    Raises:
        Exception: as `flowd.ops.letters.move`.
    """
    async with (
        aclosing(picked),
        aclosing(move(picked, step, rate=operation.rate)) as moved,
    ):
        async for letter, error in moved:
            if error is not None:
                operation.refuse(letter.id, f"{error}")
                continue
            operation.moved += 1
            if operation.dry and len(operation.sample) < _NAMED:
                operation.sample.append(letter)


def _log_end(operation: Operation) -> None:
    if operation.dry:
        return
    log(
        logging.INFO,
        "web: %s: %s of %s (%s) %s, %s refused: %s",
        printable(operation.user),
        count_of(operation.moved + operation.marked, operation.noun),
        printable(operation.stream),
        printable(operation.group),
        operation.done_word,
        operation.refused,
        operation.state,
    )
