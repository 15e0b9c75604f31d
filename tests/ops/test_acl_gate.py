"""The rights that the page on security adds for a queue with policies are enough."""

from __future__ import annotations

import asyncio
import re

from flowd import (
    Concurrency,
    Debounce,
    Fair,
    Gate,
    Item,
    Priority,
    Producer,
    Queue,
    Rate,
    Reject,
    Unique,
)
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.deadletter import DeadLetters
from flowd.embedded import Server
from flowd.ops.limits import key_limits, reset_limit, set_limit
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.ops.page import OPERATIONS, make_users, url_of
from tests.support.email_job import policy
from tests.support.events import Seen
from tests.support.gated import gated
from tests.support.leases import pending
from tests.support.raw import Raw
from tests.support.waiting import wait_until

STREAM, GROUP = "emails", "senders"
ONE = Gate(
    concurrency=Concurrency(per=("to",), limit=1),
    rate=Rate(limit=1000, every=1, burst=100),
    fair=Fair(per=("to",)),
    priority=Priority(),
    unique=Unique(fields=("subject",), again="last"),
)
OTHER = Gate(
    concurrency=Concurrency(per=("to",), limit=1, ordered=True),
    unique=Unique(fields=("subject",)),
)
QUIET = Gate(debounce=Debounce(fields=("to",), wait=0.05))


def add_rights(raw: Raw) -> None:
    """Type in what the page says of queues with policies, word for word."""
    make_users(raw)
    blocks = re.findall(r"```text\n(ACL .+?)```", OPERATIONS, re.DOTALL)
    (block,) = [each for each in blocks if "+zscore" in each]
    for line in filter(None, block.splitlines()):
        raw(*line.split())


async def work_through(gate: Gate, server: Server) -> int:
    """Enqueue and run in every way; returns how many jobs ran to their end."""
    job, done, seen = gated(gate), 0, Seen()

    async def work(each: Email) -> None:
        nonlocal done
        if each.subject == "bad" and not done:
            raise Reject("bad")
        if each.subject == "gone":
            delete_entries(server)
        await asyncio.sleep(0.01)
        done += 1

    rules = policy(STREAM)
    worker, admin = url_of(server, "worker"), url_of(server, "admin")
    async with (
        Producer(url_of(server, "producer")) as producer,
        Queue(job, work, url=worker, policy=rules, middleware=[seen]) as queue,
    ):
        queue.run()
        await producer.enqueue(job(to="b", subject="bad"))
        await queue.drain()
        for number in range(20):
            await producer.enqueue(job(to="a", subject=f"{number % 15}"))
        delay = 0.05 if gate is OTHER else 0.0  # the others refuse one
        await producer.enqueue_bulk([Item(job(to="a", subject="late"), delay=delay)])
        async with connected(Address.of(admin)) as connection:
            queries = Queries(connection, STREAM, GROUP)
            await key_limits(queries)
            if gate.concurrency is not None:
                await set_limit(queries, {"to": "a"}, 1)
                await key_limits(queries)
                await reset_limit(queries, {"to": "a"})
        await queue.drain()
        async with DeadLetters(job, admin, stream=STREAM, group=GROUP) as letters:
            await letters.redrive_all(when_free=True)
        await queue.drain()
        if gate.concurrency is not None:
            await producer.enqueue(job(to="c", subject="gone"))
            await wait_until(lambda: seen.named("gate_healed"))
        await queue.drain()
        assert queue.failing is None
    return done


def delete_entries(server: Server) -> None:
    """What runs holds its slot, and its entry is nowhere: another client deleted it."""
    with Raw(server.url) as raw:
        for each in pending(raw, STREAM, GROUP):
            raw("XACK", STREAM, GROUP, each.id)
            raw("XDEL", STREAM, each.id)


async def test_listed_rights_are_enough_for_a_gate(own_server: Server) -> None:
    """Each role does all of its work on queues with every policy."""
    with Raw(own_server.url) as raw:
        add_rights(raw)
    assert await work_through(ONE, own_server) >= 15
    assert await work_through(OTHER, own_server) >= 16
    assert await work_through(QUIET, own_server) >= 2
