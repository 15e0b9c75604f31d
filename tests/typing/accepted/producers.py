"""What producers may be given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import redis
import redis.asyncio

from flowd import (
    DeadLetters,
    Durable,
    Item,
    Job,
    Letter,
    Producer,
    Queue,
    SyncProducer,
)
from flowd.web import Dashboard
from jobs.crawl import Crawl
from jobs.email import Email

EMAIL = Email(to="a@b.c", subject="hi", body=None)


def many() -> Iterator[Email | Item[Email]]:
    yield EMAIL
    yield Item(EMAIL, delay=5.0, key="order-17")


async def produce(url: str, client: redis.asyncio.Redis) -> list[str]:
    async with Producer(url, connect_timeout=1.0) as producer:
        ids = [
            await producer.enqueue(EMAIL),
            await producer.enqueue(EMAIL, delay=2.5),
            await producer.enqueue(EMAIL, delay=timedelta(minutes=5)),
            await producer.enqueue(EMAIL, at=datetime.now(UTC)),
            await producer.enqueue(EMAIL, key="order-17", key_ttl=timedelta(days=1)),
            await producer.enqueue(EMAIL, durable=True),
            await producer.enqueue(EMAIL, durable=Durable(replicas=1)),
        ]
        ids += await producer.enqueue_bulk(many(), durable=True)
    async with Producer(redis=client) as other:
        jobs: list[Job] = [EMAIL, Crawl(url="https://example.org", priority=1, tags=[])]
        return ids + await other.enqueue_bulk(jobs)


def produce_in_sync(client: redis.Redis | redis.RedisCluster) -> str:
    with SyncProducer(redis=client) as producer:
        producer.enqueue_bulk([EMAIL, Item(EMAIL, at=datetime.now(UTC))])
        return producer.enqueue(EMAIL, delay=60, key="order-17")


async def send(email: Email) -> None:
    """A handler."""


def share_a_client(client: redis.asyncio.RedisCluster | redis.RedisCluster) -> object:
    clients = Producer(redis=client), DeadLetters(Email, redis=client)
    return Queue(Email, send, redis=client), Dashboard(redis=client), clients


async def redrive(url: str) -> None:
    async with DeadLetters(Email, url) as dead:
        letter: Letter[Email]
        async for letter in dead.list():
            job: Email | None = letter.job
            print(job, letter.reason, letter.attempts)
