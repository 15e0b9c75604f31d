"""Measurements, as OpenTelemetry's SDK collects them in memory."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)

from flowd import BulkError, Middleware, Producer, Queue
from flowd.metering import Metering
from jobs.email import Email
from tests.support.email_job import EndingHandler, RecordingHandler, email
from tests.support.jobs.export import Export, Region
from tests.support.queues import MakeQueue
from tests.support.waiting import wait_until

Point: TypeAlias = tuple[float, dict[str, object]]

SENT = "messaging.client.sent.messages"
OPERATION = "messaging.client.operation.duration"
CONSUMED = "messaging.client.consumed.messages"
PROCESS = "messaging.process.duration"
WAIT = "flowd.job.wait.duration"
SETTLED = "flowd.job.settled"


class Metered:
    """A middleware and what it measured."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])
        self.metering = Metering(self.provider)

    def metrics(self) -> dict[str, Metric]:
        """By name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Point]:
        """How many, of a counter or a histogram, with their attributes."""
        metric = self.metrics().get(name)
        found: list[Point] = []
        for point in metric.data.data_points if metric else ():
            match point:
                case NumberDataPoint(value=count) | HistogramDataPoint(count=count):
                    found.append((count, dict(point.attributes or {})))
                case _:
                    raise AssertionError(point)
        return found

    def count(self, name: str, **attributes: object) -> float:
        """How many have these attributes, whose names have `_` for `.`."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return sum(
            count for count, own in self.points(name) if wanted.items() <= own.items()
        )


@pytest.fixture
def metered() -> Metered:
    """Measurements of the test's own."""
    return Metered()


async def test_names_and_attributes_are_those_of_the_conventions(
    stream: str, metered: Metered, make_queue: MakeQueue
) -> None:
    """Of the enqueue and of the attempt, with the units of the conventions."""
    async with make_queue(middleware=[metered.metering]) as queue:
        await queue.enqueue_bulk([email(), email()])
        queue.run()
        await queue.drain()

    common = {"messaging.system": "flowd", "messaging.destination.name": stream}
    sent = common | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    ran = common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "senders",
    }
    assert metered.points(SENT) == [(2, sent)]
    assert metered.points(OPERATION) == [(1, sent)]
    for name in (CONSUMED, PROCESS, WAIT):
        assert metered.points(name) == [(2, ran)]
    units = {name: metric.unit for name, metric in metered.metrics().items()}
    assert units == {
        SENT: "{message}",
        OPERATION: "s",
        CONSUMED: "{message}",
        PROCESS: "s",
        WAIT: "s",
        SETTLED: "{job}",
    }
    known = {SENT, OPERATION, CONSUMED, PROCESS}
    assert {name for name in units if name.startswith("messaging.")} == known


async def test_each_way_to_end_is_counted_once(
    metered: Metered, make_queue: MakeQueue
) -> None:
    """What became of jobs, and which attempts were errors."""
    async with make_queue(EndingHandler(), middleware=[metered.metering]) as queue:
        for name in ("done", "retry", "reject", "snooze"):
            await queue.enqueue(email(name))
        queue.run()
        await queue.drain()

    settled = {
        str(own["flowd.job.outcome"]): count for count, own in metered.points(SETTLED)
    }
    assert settled == {"done": 3, "retried": 1, "dead_lettered": 1, "released": 1}
    assert metered.count(SETTLED, flowd_job_reason="rejected") == 1
    errors = {own.get("error.type"): count for count, own in metered.points(PROCESS)}
    assert errors == {None: 4, "ConnectionError": 1, "Reject": 1}
    assert metered.count(CONSUMED) == 6


async def test_a_shutdown_is_no_error_in_metrics(
    metered: Metered, make_queue: MakeQueue
) -> None:
    """The job is released and runs elsewhere."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, middleware=[metered.metering]) as queue:
        await queue.enqueue(email())
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        await handle.shutdown(grace=0.0)
    ((count, own),) = metered.points(PROCESS)
    assert count == 1
    assert "error.type" not in own


async def test_a_bulk_that_breaks_off_counts_what_was_stored(
    redis_url: str, metered: Metered
) -> None:
    """And says why it broke off, in the duration of the call."""
    async with Producer(redis_url, middleware=[metered.metering]) as producer:
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk([email(), Email(to="\ud800", subject="")])
    assert metered.count(SENT) == len(caught.value.ids)
    assert metered.count(OPERATION, error_type="EncodeError") == 1


async def test_labels_of_a_job_are_attributes(
    redis_url: str, stream: str, metered: Metered
) -> None:
    """Of what was sent, waited and ran; the server's address as it was given."""

    async def handle(job: Export) -> None:
        pass

    metering = Metering(metered.provider, url="unix:///run/redis.sock")
    middleware: list[Middleware] = [metering]
    rules = dataclasses.replace(Export.SPEC.policy, stream=stream)
    async with Queue(
        Export, handle, url=redis_url, policy=rules, middleware=middleware
    ) as queue:
        await queue.enqueue_bulk(
            Export(to="a", region=each) for each in (Region.EU, Region.US, Region.US)
        )
        queue.run()
        await queue.drain()
    for name in (SENT, CONSUMED, PROCESS, WAIT):
        assert metered.count(name, flowd_job_region="us") == 2, name
        assert metered.count(name, flowd_job_region="eu") == 1, name
        assert metered.count(name, server_address="/run/redis.sock") == 3, name
