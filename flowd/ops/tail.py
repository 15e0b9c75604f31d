"""Follow the events of a queue that its workers publish."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeGuard

from flowd.broker.connection import log_in, pack
from flowd.broker.outage import RECONNECT
from flowd.broker.protocol import Call, RedisProtocol
from flowd.broker.url import Address
from flowd.errors import FatalError, OutcomeUnknown, ServerError

__all__ = ["TailEvent", "follow"]

_SILENCE: Final = 10.0
"""Seconds after which the server is asked whether it is there."""

_SILENCE_OF_NODE: Final = 2.0
"""Likewise, and whether the queue is at another node by now, which would not say so."""


@dataclass(frozen=True, slots=True)
class TailEvent:
    """One event as a worker published it; any client with the right to publish can forge one."""

    at: datetime
    """When it was received."""

    event: str
    """As `Event.name`; `left_out` if the worker could not publish all."""

    job: str
    """The job id; empty if it concerns the queue."""

    attempt: int
    consumer: str
    text: str


async def follow(
    address: Address, channel: str, lost: Callable[[str], object]
) -> AsyncGenerator[TailEvent]:
    """The events from now on, without an end; reconnects after a lost connection.

    Args:
        address: the server.
        channel: that of the queue, `Keys.tail`.
        lost: called once for each outage, with the reason.

    Raises:
        FatalError: Redis refuses, and an operator must change something.
    """
    failures = 0
    silence = _SILENCE_OF_NODE if address.is_cluster else _SILENCE
    while True:
        try:
            at = address.at(channel)
            async with aclosing(_messages(at, channel, silence)) as messages:
                async for message in messages:
                    failures = 0
                    for line in message.splitlines():
                        if (event := _read(line)) is not None:
                            yield event
        except FatalError:
            raise
        except (ServerError, OSError) as error:
            if not failures:
                lost(f"{address} fails, trying again: {error}")
            failures += 1
        await asyncio.sleep(RECONNECT.delay(failures))


async def _messages(
    address: Address, channel: str, silence: float
) -> AsyncGenerator[bytes]:
    """What the server sends; an empty message says that it is there."""
    received = asyncio.Queue[object]()

    def gone(_: object, sent: Sequence[Call], ready: Sequence[Call], why: str) -> None:
        received.put_nowait(ConnectionError(why))
        for call in (*sent, *ready):
            call.fail(OutcomeUnknown(why))

    # A node of a cluster publishes to all; but workers ask their own who listens there.
    protocol = RedisProtocol(gone)
    await log_in(protocol, address, "flowd-tail")
    protocol.listen(received.put_nowait)
    try:
        asked, reply = False, None
        while True:
            if reply is None:
                if asked:
                    raise ConnectionError("no answer in time")
                if await address.leads_elsewhere(protocol):
                    return
                # To subscribe again changes nothing, is answered, and takes no right
                # that the first time did not.
                protocol.write(pack(("SUBSCRIBE", channel)))
            asked = reply is None
            reply = await _next(received, silence)
            if isinstance(reply, Exception):
                raise reply
            if _is_list(reply):
                yield reply[-1] if isinstance(reply[-1], bytes) else b""
    finally:
        protocol.close("it was closed here")


async def _next(received: asyncio.Queue[object], silence: float) -> object:
    """The next answer or message; None if there was none for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(silence):
            return await received.get()
    return None


def _read(line: bytes) -> TailEvent | None:
    """What a line says; None if no worker wrote it."""
    try:
        said: object = json.loads(line)
    except ValueError:
        return None
    if not _is_object(said):
        return None
    attempt = said.get("attempt")
    words = [said.get(name) for name in ("event", "job", "consumer", "text")]
    texts = [word for word in words if isinstance(word, str)]
    if not isinstance(attempt, int) or len(texts) < len(words):
        return None
    event, job, consumer, text = texts
    return TailEvent(datetime.now(UTC), event, job, attempt, consumer, text)


def _is_list(reply: object) -> TypeGuard[Sequence[object]]:
    return isinstance(reply, list)


def _is_object(said: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(said, dict)
