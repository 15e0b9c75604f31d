"""SIGUSR1: log where each handler stands, with its task's stack or its thread's.

The stacks are read in a thread of their own: a handler that blocks the event loop is what is
looked for, and a signal may come while a line of the log is being written.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, TypeGuard

from flowd.log import log
from flowd.model.delivery import Delivery
from flowd.model.text import printable
from flowd.worker.loop_monitor import thread_frames
from flowd.worker.shared import running_queues

__all__ = ["log_stacks", "place_of", "stacks_on_signal"]

_DEEPEST: Final = 50
_OWN: Final = (
    *("flowd/worker/executor.py", "flowd/worker/runner.py"),
    *("flowd/worker/handler.py", "/threading.py"),
)


@contextmanager
def stacks_on_signal() -> Generator[None]:
    """Log where handlers stand on each SIGUSR1; only in the main thread, else nothing.

    A handler of the application for that signal stays.
    """
    usual = threading.current_thread() is threading.main_thread()
    if not usual or signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGUSR1, _received)
    signal.siginterrupt(signal.SIGUSR1, False)
    try:
        yield
    finally:
        # Not the default, which ends the process: a late signal must not.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _received(_: int, __: FrameType | None) -> None:
    with suppress(RuntimeError):  # there are as many threads as the system allows
        threading.Thread(target=log_stacks, name="flowd-stacks", daemon=True).start()


_HANDLER: Final = _received.__code__


def log_stacks() -> None:
    """Log, for every handler that runs in this process, for how long, and where it stands."""
    queues = running_queues()
    found = [
        (queue, each) for queue in queues for each in list(queue.in_flight.running)
    ]
    slots = ", ".join(
        f"{each.stream.keys.stream} as {each.consumer}" for each in queues
    )
    log(
        logging.WARNING,
        "SIGUSR1: %d handlers run in %s",
        len(found),
        slots or "no queue",
        extra={"event": "stack"},
    )
    threads = {each.name: each.ident for each in threading.enumerate()}
    frames = thread_frames()
    now = time.monotonic()
    for queue, delivery in found:
        ident = threads.get(delivery.thread_name) if delivery.in_thread else None
        frame = frames.get(ident) if ident is not None else None
        stack = _of_thread(frame) if frame is not None else _of_task(delivery, frames)
        log(
            logging.WARNING,
            "%s %s attempt %d has run for %.1f s in %s:\n%s",
            queue.stream.keys.stream,
            printable(delivery.job_id),
            delivery.attempt,
            now - delivery.began,
            queue.handler,
            "".join(stack).rstrip() or "  it has not begun, or has just ended",
            extra={
                "event": "stack",
                "stream": queue.stream.keys.stream,
                "group": queue.stream.group,
                "job_id": delivery.job_id,
                "attempt": delivery.attempt,
            },
        )


def place_of(task: asyncio.Task[object]) -> str:
    """Where a task stands, in the outermost function that is not flowd's own."""
    for frame, line in _awaited(task):
        if not _is_own(frame):
            file = Path(frame.f_code.co_filename).name
            return f"{frame.f_code.co_qualname}, {file}:{line}"
    return task.get_name()


def _of_thread(frame: FrameType) -> list[str]:
    return _shown(traceback.walk_stack(frame), reverse=True)


def _of_task(delivery: Delivery, frames: dict[int, FrameType]) -> list[str]:
    """Where the handler awaits, through the tasks that it awaits; or what it runs now."""
    task = delivery.task
    if task is None or task.done():
        return []
    with suppress(RuntimeError):
        if asyncio.current_task(task.get_loop()) is task:
            # It holds the loop: its coroutine says only where it was called.
            for frame in frames.values():
                stack = _below_signal(list(traceback.walk_stack(frame)))
                if any(
                    _name(each) == "_process" and _is_own(each) for each, _ in stack
                ):
                    return _shown(stack, reverse=True)
    return _shown(_awaited(task), reverse=False)


def _below_signal(stack: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """A stack, the innermost first, without what runs because of the signal itself."""
    own = [at for at, (frame, _) in enumerate(stack) if frame.f_code is _HANDLER]
    return stack[own[-1] + 1 :] if own else stack


def _awaited(task: object) -> Iterator[tuple[FrameType, int]]:
    """The frames of a task, the outermost first, and those of what it waits for."""
    seen = 0
    waiting: object = getattr(task, "get_coro", lambda: None)()
    while waiting is not None and seen < _DEEPEST:
        seen += 1
        frame = _attribute(waiting, "cr_frame", "gi_frame", "ag_frame")
        if isinstance(frame, FrameType):
            yield frame, frame.f_lineno
        waiting = _attribute(waiting, "cr_await", "gi_yieldfrom", "ag_await")
    # A task that is awaited gives no coroutine; what the handler's waits for has it.
    inner: object = getattr(task, "_fut_waiter", None)
    several: object = getattr(inner, "_children", None)
    for each in several if _is_list(several) else [inner]:
        if _is_task(each):
            yield from _awaited(each)


def _is_list(found: object) -> TypeGuard[list[object]]:
    return isinstance(found, list)


def _is_task(found: object) -> TypeGuard[asyncio.Task[object]]:
    return isinstance(found, asyncio.Task)


def _attribute(thing: object, *names: str) -> object:
    return next(
        (found for each in names if (found := getattr(thing, each, None))), None
    )


def _shown(stack: Iterable[tuple[FrameType, int]], *, reverse: bool) -> list[str]:
    """The lines of a stack below flowd's own that call the handler, the innermost last."""
    ordered = list(stack)
    if reverse:
        ordered.reverse()
    own = [at for at, (frame, _) in enumerate(ordered) if _is_own(frame)]
    users = [
        each
        for each in ordered[own[-1] + 1 if own else 0 :]
        if each[0].f_code.co_filename != __file__
    ]
    return traceback.StackSummary.extract(iter(users[-_DEEPEST:])).format()


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.replace("\\", "/").endswith(_OWN)


def _name(frame: FrameType) -> str:
    return frame.f_code.co_name
