"""An answer of another shape than the command has ends the connection, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import pytest

from flowd import OutcomeUnknown, Queue, ServerError
from flowd.broker.commands import EnqueueCommand, MoveToDeadLetter
from flowd.broker.connection import Connection
from flowd.broker.dead_letters import newest_letter, purge, read_letters, redrive
from flowd.broker.extension import EnqueueCall
from flowd.broker.idempotency import Idempotency
from flowd.broker.registry import listed_queues
from flowd.broker.scripts import Part
from flowd.broker.server_time import server_time
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery, Entry
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.proxy import proxy_to
from tests.support.waiting import wait_until

_FIELDS: Final = {b"to": b"a"}
_PLAIN: Final = EnqueueCommand(_FIELDS, 3)
_KEYED: Final = EnqueueCommand(_FIELDS, 3, key="k", key_ttl=60.0)
_HELD: Final = Delivery(Entry(b"1-1", 1, _FIELDS, 1), 0.0)
_LETTERS: Final = (("1-1", "1-1"), ("1-2", "1-2"))

Ask = Callable[[Stream, Queries], Awaitable[object]]


def keyed(stream: Stream) -> EnqueueCall:
    """A call that stores two jobs under one key."""
    call = EnqueueCall(stream=stream, jobs=[_KEYED, _KEYED], lasts=0.0)
    return Idempotency().on_enqueue(call)


ASKED: Final[dict[str, Ask]] = {
    "init": lambda stream, _: stream.init("0"),
    "add": lambda stream, _: stream.add(_FIELDS),
    "enqueue plain": lambda stream, _: stream.enqueue([_PLAIN, _PLAIN]),
    "enqueue keyed": lambda stream, _: keyed(stream).send(),
    "read": lambda stream, _: stream.read("me", 5),
    "settle": lambda stream, _: stream.settle(
        "me", [_HELD], [MoveToDeadLetter(_HELD, [])]
    ),
    "renew": lambda stream, _: stream.renew("me", [(b"1-1", 1)]),
    "maintain with a part": lambda stream, _: stream.maintain(
        "me",
        lease=9,
        takeovers=5,
        cursor=b"0-0",
        parts=[Part("maintain_event_feed", args=["channel"])],
    ),
    "maintain": lambda stream, _: stream.maintain(
        "me", lease=9, takeovers=5, cursor=b"0-0"
    ),
    "forget consumer": lambda stream, _: stream.forget_consumer("me"),
    "reap": lambda stream, _: stream.reap(9.0),
    "letters": lambda stream, _: read_letters(stream, "-", "+", 5),
    "last letter": lambda stream, _: newest_letter(stream),
    "redrive": lambda stream, _: redrive(stream, _LETTERS),
    "purge": lambda stream, _: purge(stream, "1-1", "1-1", None),
    "remaining": lambda stream, _: stream.remaining(),
    "listed queues": lambda _, queries: listed_queues(queries.connection),
    "rows": lambda _, queries: queries.waiting(5),
    "sizes": lambda _, queries: queries.sizes(),
    "groups": lambda _, queries: queries.groups(),
    "silences": lambda _, queries: queries.silences(5),
    "first due": lambda _, queries: queries.first_due(),
    "consumers": lambda _, queries: queries.consumers(),
    "server time": lambda _, queries: server_time(queries.connection),
}

SHAPES: Final[Sequence[bytes]] = (
    b":7\r\n",
    b"$1\r\nx\r\n",
    b"$2\r\n\xff\xff\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*1\r\n$1\r\nx\r\n",
    b"*1\r\n*0\r\n",
    b"*1\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
    b"*2\r\n:1\r\n$1\r\nx\r\n",
    b"*2\r\n$-1\r\n$-1\r\n",
    b"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n",
    b"*1\r\n*2\r\n$1\r\nx\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*1\r\n$1\r\nx\r\n",
    b"*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
    b"*8\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
    b"*1\r\n-ERR inside\r\n",
    b"+FINE\r\n+FINE\r\n+FINE\r\n+FINE\r\n+FINE\r\n",
    b":1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n",
    b"*1\r\n:1\r\n" * 6,
    b"?what\r\n",
)


@pytest.mark.parametrize("asked", ASKED)
async def test_an_answer_of_another_shape_is_a_server_error(
    redis_url: str, stream: str, asked: str
) -> None:
    """Never an error of ours; and the connection it came on is not used again."""
    wanted = b"$" if asked in ("listed queues", "server time") else stream.encode()
    refused = 0
    async with (
        proxy_to(redis_url) as proxy,
        aclosing(Connection(Address.of(proxy.url))) as connection,
    ):
        queue, queries = Stream(connection, stream, "us"), Queries(
            connection, stream, "us"
        )
        for shape in SHAPES:
            await connection.call("PING")
            before = connection.serial
            # What comes before the answers to a transaction is as it should be.
            before_it = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n" * (asked == "enqueue plain")
            proxy.forge(wanted, before_it + shape)
            (outcome,) = await asyncio.gather(
                asyncio.wait_for(ASKED[asked](queue, queries), 10),
                return_exceptions=True,
            )
            proxy.forge(b"", b"")
            await connection.call("PING")
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, ServerError), (shape, outcome)
            if isinstance(outcome, OutcomeUnknown):
                refused += 1
                assert connection.serial > before

    assert refused > len(SHAPES) // 2


async def test_a_worker_survives_answers_of_another_shape(
    redis_url: str, stream: str
) -> None:
    """Its loops go on as after an outage, and every job runs to its end."""
    recorder = RecordingHandler()
    async with proxy_to(redis_url) as proxy:
        queue = Queue(Email, recorder, url=proxy.url, policy=policy(stream))
        await queue.init()
        handle = queue.run()
        for number, shape in enumerate(SHAPES):
            proxy.forge(stream.encode(), shape)
            await asyncio.sleep(0.02)
            proxy.forge(b"", b"")
            while True:
                try:
                    await queue.enqueue(email(str(number)), key=f"{number}")
                    break
                except OutcomeUnknown:
                    pass
            await wait_until(
                lambda: str(number) in recorder.done  # noqa: B023 - awaited here
            )
        assert not handle.ended
        await queue.drain()
        await queue.aclose()

    assert set(recorder.done) == {str(number) for number in range(len(SHAPES))}
