"""Follow what happens in a queue, as its workers tell it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeGuard

import redis.exceptions
from redis.asyncio.connection import AbstractConnection

from flowd.broker.outage import RECONNECT
from flowd.broker.refusals import refusal
from flowd.broker.url import Address
from flowd.errors import FatalError, ServerError

__all__ = ["Told", "follow"]

_SILENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Told:
    """One event, as the worker told it: anybody who may publish could have written it."""

    at: datetime
    """When it was heard."""

    event: str
    """As `Event.name`; `left_out` if the worker could not tell all."""

    job: str
    """The job id; empty if it concerns the queue."""

    attempt: int
    consumer: str
    text: str


async def follow(
    address: Address, channel: str, lost: Callable[[str], object]
) -> AsyncGenerator[Told]:
    """What is told from now on, for ever; a connection that was lost is made again.

    Args:
        address: the server.
        channel: that of the queue, `Keys.tail`.
        lost: told once for each outage, and why.

    Raises:
        FatalError: the server refuses, and will until somebody changes something.
    """
    failures = 0
    while True:
        try:
            connection = await address.connection("flowd-tail")
            async with aclosing(_messages(connection, channel)) as messages:
                async for message in messages:
                    failures = 0
                    for line in message.splitlines():
                        if (told := _read(line)) is not None:
                            yield told
        except (redis.exceptions.RedisError, ServerError, OSError) as error:
            # redis-py wraps what the server answered to the login.
            cause = error.__cause__
            said = cause if isinstance(cause, redis.exceptions.RedisError) else error
            answer = error if isinstance(error, FatalError) else refusal(said)
            if isinstance(answer, FatalError):
                raise answer from None
            if not failures:
                lost(f"{address} fails, trying again: {answer}")
            failures += 1
        await asyncio.sleep(RECONNECT.delay(failures))


async def _messages(
    connection: AbstractConnection, channel: str
) -> AsyncGenerator[bytes]:
    """What the server sends; an empty message says that it is there."""
    connect: Callable[[], Awaitable[None]] = connection.connect
    send: Callable[..., Awaitable[None]] = connection.send_command
    try:
        await connect()
        asked = True
        await send("SUBSCRIBE", channel)
        while True:
            reply = await _next(connection.read_response)
            if reply is None and asked:
                raise redis.exceptions.ConnectionError("no answer in time")
            asked = reply is None
            if asked:
                # To subscribe again changes nothing, is answered, and takes no right
                # that the first time did not.
                await send("SUBSCRIBE", channel)
            elif _is_list(reply):
                last = reply[-1]
                yield last if isinstance(last, bytes) else b""
    finally:
        await connection.disconnect(nowait=True)


async def _next(read: Callable[..., Awaitable[object]]) -> object:
    """The next answer or message; None if there was none for a while."""
    return await read(disable_decoding=True, timeout=_SILENCE)


def _read(line: bytes) -> Told | None:
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
    return Told(datetime.now(UTC), event, job, attempt, consumer, text)


def _is_list(reply: object) -> TypeGuard[Sequence[object]]:
    return isinstance(reply, list)


def _is_object(said: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(said, dict)
