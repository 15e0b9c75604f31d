"""Work that blocks, done where neither a busy executor nor the end of the program waits.

Handlers may fill the event loop's executor (`asyncio.to_thread`) for as long as they run,
and Python waits for its threads when a program ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, TypeVar, cast

__all__ = ["in_thread"]

R = TypeVar("R")


async def in_thread(work: Callable[..., R], *args: Hashable) -> R:
    """Do it in a daemon thread of its own; those who ask for the same meanwhile share it.

    A caller that is cancelled stops waiting, and the work continues. So a resolver that
    hangs holds one thread for each name, however often it is asked.

    Raises:
        Exception: what `work` raises.
        OSError: the system gives no thread.
    """
    # A forked child has its parent's entries, and none of its threads.
    what = (os.getpid(), work, args)
    mine = Future[R]()
    done = cast("Future[R]", _under_way.setdefault(what, mine))
    if done is mine:
        done.set_running_or_notify_cancel()  # else one cancelled caller would cancel all
        thread = threading.Thread(
            target=_run,
            args=(what, done, work, args),
            name="flowd-blocking",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # there are as many as the system allows
            del _under_way[what]
            done.set_exception(OSError(errno.EAGAIN, str(error)))
    return await asyncio.wrap_future(done)


def _run(
    what: Hashable, done: Future[R], work: Callable[..., R], args: tuple[Hashable, ...]
) -> None:
    try:
        result = work(*args)
    except BaseException as error:  # carried over to those that wait
        del _under_way[what]
        done.set_exception(error)
    else:
        del _under_way[what]
        done.set_result(result)


_under_way: Final[dict[Hashable, object]] = {}
