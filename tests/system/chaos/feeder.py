"""A producer that does not give up, and records the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import chain

from flowd import BulkError, Item, OutcomeUnknown, Queue, ServerError
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.raw import Raw
from tests.system.chaos.history import Accepted
from tests.system.chaos.plan import Wish

__all__ = ["feed"]

_PAUSE = 0.05


async def feed(
    url: str, stream: str, wishes: Sequence[Wish], seconds: float
) -> list[Accepted]:
    """Enqueue everything, evenly over the time, whatever happens to the server.

    Under a key an attempt is repeated until it was answered. Without one it is made
    again only if nothing was sent; else its outcome is unknown.
    """
    accepted: list[Accepted] = []
    began = time.monotonic()
    async with Queue(
        Email, RecordingHandler(), url=url, policy=policy(stream), connect_timeout=0.5
    ) as queue:
        for start in range(0, len(wishes), 20):
            accepted += await _enqueue(queue, url, stream, wishes[start : start + 20])
            due = began + seconds * (start + 20) / len(wishes)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    return accepted


async def _enqueue(
    queue: Queue[Email], url: str, stream: str, wishes: Sequence[Wish]
) -> list[Accepted]:
    keyed = [wish for wish in wishes if wish.keyed]
    at = time.time()
    ids = await _insist(queue, keyed)
    # Every tenth once more, as by a producer that missed the answer.
    await _insist(queue, keyed[::10])
    accepted = [Accepted(w, i, at) for w, i in zip(keyed, ids, strict=True)]
    for wish in wishes:
        if wish.subject and not wish.keyed:
            accepted.append(await _once(queue, wish))
        elif not wish.subject:
            accepted.append(await _foreign(url, stream, wish))
    return accepted


async def _insist(queue: Queue[Email], wishes: Sequence[Wish]) -> list[str]:
    items = [Item(_job(wish), key=wish.name, delay=wish.delay) for wish in wishes]
    while True:
        try:
            return await queue.enqueue_bulk(items)
        except BulkError:
            await asyncio.sleep(_PAUSE)


async def _once(queue: Queue[Email], wish: Wish) -> Accepted:
    while True:
        at = time.time()
        try:
            return Accepted(wish, await queue.enqueue(_job(wish), delay=wish.delay), at)
        except OutcomeUnknown:
            return Accepted(wish, None, at)
        except ServerError:
            await asyncio.sleep(_PAUSE)


async def _foreign(url: str, stream: str, wish: Wish) -> Accepted:
    """An entry that another program appends, and that is no job."""
    flat = list(chain.from_iterable(wish.fields.items()))
    while True:
        try:
            raw = Raw(url)
        except OSError:
            await asyncio.sleep(_PAUSE)
            continue
        at = time.time()
        try:
            with raw:
                reply = raw("XADD", stream, "*", *flat)
        except (OSError, ConnectionError):
            return Accepted(wish, None, at)
        assert isinstance(reply, bytes)
        return Accepted(wish, reply.decode(), at)


def _job(wish: Wish) -> Email:
    return Email(to=wish.name, subject=wish.subject)
