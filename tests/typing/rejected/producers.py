"""What a producer, middleware and the helpers for tests refuse."""

from __future__ import annotations

from flowd import Durable, Item, Job, Middleware, Producer, SyncProducer
from flowd.testing import MemoryQueue, RecordingProducer, round_trip
from jobs.crawl import Crawl
from jobs.email import Email

EMAIL = Email(to="a@b.c", subject="hi")

Email("a@b.c", "hi")  # error: [call-arg]
Email(to="a@b.c")  # error: [call-arg]
Email(to=1, subject="hi")  # error: [arg-type]
EMAIL.to = "x"  # error: [misc]
Item({"to": "a@b.c"})  # error: [type-var]
Durable(replicas="one")  # error: [arg-type]
Producer(middleware=[print])  # error: [list-item]


async def produce(producer: Producer) -> None:
    await producer.enqueue({"to": "a@b.c"})  # error: [arg-type]
    await producer.enqueue(Email)  # error: [arg-type]
    await producer.enqueue(EMAIL, delay="5 minutes")  # error: [arg-type]
    await producer.enqueue(EMAIL, at="2031-05-01")  # error: [arg-type]
    await producer.enqueue(EMAIL, key=17)  # error: [arg-type]
    await producer.enqueue(EMAIL, durable="yes")  # error: [arg-type]
    await producer.enqueue(EMAIL, queue="emails")  # error: [call-arg]
    await producer.enqueue(EMAIL, "id")  # error: [call-arg]
    await producer.enqueue_bulk(EMAIL)  # error: [arg-type]
    await producer.enqueue_bulk([EMAIL, "more"])  # error: [list-item]


def produce_in_sync(producer: SyncProducer) -> None:
    producer.enqueue("a@b.c")  # error: [arg-type]
    producer.enqueue(EMAIL, delay="5 minutes")  # error: [arg-type]


class Wrong(Middleware):
    """Its handler takes no context."""

    async def handle(self, job: Job) -> object:  # error: [override]
        return job


async def crawl(job: Crawl) -> None:
    del job


MemoryQueue(Email, crawl)  # error: [arg-type]
RecordingProducer().jobs("Email")  # error: [arg-type]
crawled: Crawl = round_trip(EMAIL)  # error: [assignment]
