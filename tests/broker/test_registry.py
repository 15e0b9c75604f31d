"""The list of queues is whole again after the server that has it lost its data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from flowd import FlowdError, Producer, Queue
from flowd.broker.url import Address
from flowd.worker.keeper import Keeper
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.raw import Raw
from tests.support.scheduled import scheduled
from tests.support.sessions import session_to
from tests.support.waiting import wait_until

_LIST = "flowd:queues"


@asynccontextmanager
async def _work(url: str, stream: str) -> AsyncGenerator[None]:
    """A worker that waits for jobs."""
    handler = RecordingHandler()
    async with Queue(Email, handler, url=url, policy=policy(stream)) as queue:
        queue.run()
        yield


@asynccontextmanager
async def _keep(url: str, stream: str) -> AsyncGenerator[None]:
    """A keeper."""
    async with session_to(Address.of(url)) as session:
        keeper = Keeper(session, scheduled(policy=policy(stream)))
        async with _ended(asyncio.create_task(keeper.run())):
            yield


@asynccontextmanager
async def _produce(url: str, stream: str) -> AsyncGenerator[None]:
    """A producer that enqueues one job after the other."""
    handler = RecordingHandler()
    async with Queue(Email, handler, url=url, policy=policy(stream)) as queue:

        async def produce() -> None:
            while True:
                with suppress(FlowdError):
                    await queue.enqueue(email())
                await asyncio.sleep(0.01)

        async with _ended(asyncio.create_task(produce())):
            yield


@asynccontextmanager
async def _ended(task: asyncio.Task[None]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("use", [_work, _keep, _produce])
async def test_a_lost_list_is_written_again(
    redis_url: str,
    raw: Raw,
    stream: str,
    use: Callable[[str, str], AbstractAsyncContextManager[None]],
) -> None:
    """By all that use a queue, also if only the list was lost, as by a node of a cluster."""

    def is_listed() -> bool:
        return raw("SISMEMBER", _LIST, f"{stream}\nsenders") == 1

    async with use(redis_url, stream):
        await wait_until(is_listed)
        raw("DEL", _LIST)
        raw("CLIENT", "KILL", "TYPE", "normal")
        await wait_until(is_listed)


@pytest.mark.one_server
async def test_a_list_that_may_not_be_written_is_tried_once(
    redis_url: str, raw: Raw
) -> None:
    """A user without the right enqueues, and is refused once and not with each job."""
    raw("ACL", "SETUSER", "limited", "on", "nopass", "+@all", "-sadd", "~*", "&*")
    raw("ACL", "LOG", "RESET")
    url = redis_url.replace("://", "://limited:x@")
    try:
        async with Producer(url) as producer:
            for _ in range(20):
                await producer.enqueue(email())
        refused = repr(raw("ACL", "LOG"))
    finally:
        raw("ACL", "DELUSER", "limited")
    assert raw("XLEN", "emails") == 20
    assert "[b'count', 1, " in refused
    assert refused.count("b'count'") == 1
