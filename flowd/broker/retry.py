"""Send again while the server is away: for a time, or until it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flowd.broker.idempotency import RECEIPT
from flowd.broker.outage import RECONNECT, Outage
from flowd.errors import (
    NotDurable,
    NotReady,
    OutcomeUnknown,
    QueueFull,
    ServerError,
    Unreachable,
)

__all__ = ["call_until_available", "call_with_retry"]

R = TypeVar("R")


async def call_with_retry(
    send: Callable[[], Awaitable[R]], patience: float, *, repeatable: bool = False
) -> R:
    """Send until it is answered, or until `patience` seconds are over.

    Args:
        send: one try.
        patience: in seconds.
        repeatable: the server recognizes what an earlier try has stored.

    Raises:
        ServerError: the worst that may be true of all tries: once the answer of one was
            lost, OutcomeUnknown, whatever ended the last.
    """
    until = time.monotonic() + patience
    lost: OutcomeUnknown | None = None
    failures = 0
    while True:
        try:
            return await send()
        except ServerError as error:
            if isinstance(error, OutcomeUnknown) and repeatable:
                lost = lost or error
            elif not _passes(error):
                raise _worst(lost, error) from error
            failures += 1
            wait = RECONNECT.delay(failures)
            if time.monotonic() + wait > until:
                raise _worst(lost, error) from error
        await asyncio.sleep(wait)
        if lost is not None and time.monotonic() > until + RECEIPT / 2:
            raise lost  # the process stood still: the server may have forgotten


async def call_until_available(
    send: Callable[[], Awaitable[R]], outage: Outage, what: str, stream: str
) -> R:
    """Send until the server answers, without a limit; what is sent is safe to repeat.

    Args:
        send: one try.
        outage: gets the failures and the recovery.
        what: setting up, draining …
        stream: for which.

    Raises:
        ServerError: the server refuses.
    """
    failures = 0
    try:
        while True:
            try:
                answer = await send()
            except (Unreachable, OutcomeUnknown, NotReady) as error:
                outage.report_failure(what, stream, error)
                failures += 1
            else:
                outage.report_recovery(what, stream)
                return answer
            # Behind the `except`: the traceback of a Ctrl-C shows no error of the server.
            await asyncio.sleep(RECONNECT.delay(failures))
    finally:
        # A cancelled caller must not keep an outage open.
        outage.clear(stream, what)


def _passes(error: ServerError) -> bool:
    """Whether nothing was stored, and the next try may do better."""
    return isinstance(error, Unreachable | NotReady) and not isinstance(
        error, QueueFull
    )


def _worst(lost: OutcomeUnknown | None, error: ServerError) -> ServerError:
    """What to say of a call whose last try ended so, after one without an answer."""
    sure = isinstance(error, NotDurable) and error.ids
    if lost is None or sure or isinstance(error, OutcomeUnknown):
        return error
    return OutcomeUnknown(f"{lost}; and then, when asked again: {error}")
