"""Spans, as OpenTelemetry's SDK collects them in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from flowd import (
    BulkError,
    Context,
    DeadLetters,
    EncodeError,
    Item,
    OptionError,
    Producer,
    Queue,
    Reject,
    Snooze,
    SyncProducer,
)
from flowd.conventions import server_of
from flowd.tracing import Tracing
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.jobs.export import Export, Region
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until


class Traced:
    """A middleware and the spans that it ends."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(self.provider)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Those whose name begins with `name`, in the order of their end."""
        ended = self._exporter.get_finished_spans()
        return [each for each in ended if each.name.startswith(name)]


@pytest.fixture
def traced() -> Traced:
    """Spans of the test's own."""
    return Traced()


def context_of(span: ReadableSpan) -> SpanContext:
    """Which span of which trace it is."""
    context = span.get_span_context()
    assert context is not None
    return context


def trace_of(span: ReadableSpan) -> int:
    """The trace a span is in."""
    return context_of(span).trace_id


def span_id(span: ReadableSpan) -> int:
    """The id of a span."""
    return context_of(span).span_id


def attributes(span: ReadableSpan) -> dict[str, object]:
    """What is said of a span."""
    return dict(span.attributes or {})


async def test_an_attempt_belongs_to_the_enqueue(
    redis_url: str, raw: Raw, stream: str, traced: Traced
) -> None:
    """As its child and by a link; both are named and described by the conventions."""

    async def handle(job: Email) -> None:
        with traced.provider.get_tracer("user").start_as_current_span("inside"):
            pass

    async with Queue(
        *(Email, handle),
        url=redis_url,
        policy=policy(stream),
        middleware=[traced.tracing],
    ) as queue:
        job_id = await queue.enqueue(email())
        ((_, fields),) = raw.entries(stream)
        handle_ = queue.run()
        await queue.drain()
    (sent,), (ran,), (inside,) = map(traced.spans, ("send", "process", "inside"))

    propagated = f"00-{trace_of(sent):032x}-{span_id(sent):016x}-0"
    assert fields[b"_traceparent"][:-1] == propagated.encode()
    assert (sent.name, sent.kind) == (f"send {stream}", SpanKind.PRODUCER)
    assert (ran.name, ran.kind) == (f"process {stream}", SpanKind.CONSUMER)
    assert ran.parent is not None
    assert ran.parent.span_id == ran.links[0].context.span_id == span_id(sent)
    assert inside.parent is not None
    assert inside.parent.span_id == span_id(ran)
    assert trace_of(sent) == trace_of(ran)
    common = {
        "messaging.system": "flowd",
        "messaging.destination.name": stream,
        "messaging.message.id": job_id,
    }
    assert attributes(sent) == common | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    assert attributes(ran) == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "senders",
        "messaging.client.id": handle_.consumer,
        "flowd.job.attempt": 1,
        "flowd.job.deliveries": 1,
    }
    assert ran.status.status_code is StatusCode.UNSET


async def test_every_attempt_is_a_span_of_the_same_trace(
    redis_url: str, stream: str, traced: Traced, make_queue: MakeQueue
) -> None:
    """After a retry with a delay, and after a dead letter was redriven."""
    runs: list[int] = []

    async def handle(job: Email, ctx: Context) -> None:
        runs.append(ctx.attempt)
        if len(runs) < 3:
            raise ConnectionError("no route")

    async with make_queue(handle, max_retries=1, middleware=[traced.tracing]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            assert await dead.redrive_all() == 1
        await queue.drain()
    (sent,) = traced.spans("send")
    ran = traced.spans("process")

    assert [attributes(each)["flowd.job.attempt"] for each in ran] == [1, 2, 1]
    assert {trace_of(each) for each in ran} == {trace_of(sent)}
    assert {each.links[0].context.span_id for each in ran} == {span_id(sent)}
    failed = ran[0]
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes(failed)["error.type"] == "ConnectionError"
    (event,) = failed.events
    assert event.name == "exception"
    assert (event.attributes or {})["exception.message"] == "no route"


async def test_a_labelled_field_is_an_attribute(
    redis_url: str, stream: str, traced: Traced
) -> None:
    """Of the attempt, with the server where the middleware was given its address."""

    async def handle(job: Export) -> None:
        pass

    tracing = Tracing(traced.provider, url="rediss://user:secret@redis.example.org/2")
    rules = dataclasses.replace(Export.SPEC.policy, stream=stream)
    async with Queue(
        Export, handle, url=redis_url, policy=rules, middleware=[tracing]
    ) as queue:
        await queue.enqueue(Export(to="a", region=Region.US))
        queue.run()
        await queue.drain()
    sent, ran = traced.spans()
    assert attributes(ran)["flowd.job.region"] == "us"
    for span in (sent, ran):
        assert attributes(span)["server.address"] == "redis.example.org"
        assert attributes(span)["server.port"] == 6379
        assert "secret" not in str(attributes(span))


async def test_a_bulk_that_breaks_off_says_what_broke_it(
    redis_url: str, traced: Traced
) -> None:
    """The type of the cause: that a bulk broke off says nothing of why."""
    async with Producer(redis_url, middleware=[traced.tracing]) as producer:
        with pytest.raises(BulkError):
            await producer.enqueue_bulk([email(), Email(to="\ud800", subject="")])
    (sent,) = traced.spans()
    assert attributes(sent)["error.type"] == "EncodeError"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"server.address": "h", "server.port": 6379}),
        ("redis://[::1]:70/1", {"server.address": "::1", "server.port": 70}),
        ("unix:///run/redis.sock?db=1", {"server.address": "/run/redis.sock"}),
        ("redis://", {"server.address": "localhost", "server.port": 6379}),
        ("redis+cluster://h:1", {}),
        ("redis+sentinel://h:1/main", {}),
        ("embedded:", {}),
        (None, {}),
    ],
)
def test_the_server_is_named_where_there_is_one(
    url: str | None, expected: dict[str, object]
) -> None:
    """Behind sentinels, on a cluster and embedded it is found at each connect."""
    assert server_of(url) == expected


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("redis://:secret@h:port", "must be as redis://"),
        ("redis://:secret@a:1,b:2/0", "a comma is in the URL of many hosts alone"),
        ("localhost:6379", "must start with redis://"),
        ("", "must start with redis://"),
        (b"redis://:secret@h", "must be text"),
    ],
)
def test_a_url_that_a_queue_does_not_take_is_refused(url: object, rule: str) -> None:
    """When the middleware is made, and without the password of the URL."""
    with pytest.raises(OptionError, match=rule) as caught:
        Tracing(url=url)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


async def test_a_bulk_is_one_span(redis_url: str, traced: Traced) -> None:
    """With the number of its jobs, each of which carries it."""
    async with Producer(redis_url, middleware=[traced.tracing]) as producer:
        await producer.enqueue_bulk([email()] * 3)
    (sent,) = traced.spans()
    assert attributes(sent)["messaging.batch.message_count"] == 3


async def test_the_callers_span_is_the_parent(redis_url: str, traced: Traced) -> None:
    """So that a request and the jobs that it enqueues are one trace."""
    tracer = traced.provider.get_tracer("user")
    async with Producer(redis_url, middleware=[traced.tracing]) as producer:
        with tracer.start_as_current_span("request"):
            await producer.enqueue(email())
    sent, request = traced.spans()
    assert sent.parent is not None
    assert sent.parent.span_id == span_id(request)


async def test_a_trace_that_the_job_has_is_kept(
    redis_url: str, raw: Raw, traced: Traced
) -> None:
    """As with an outbox, which sends what another request stored."""
    before = f"00-{1:032x}-{2:016x}-01"
    async with Producer(redis_url, middleware=[traced.tracing]) as producer:
        await producer.enqueue_bulk([Item(email(), headers={"traceparent": before})])
    ((_, fields),) = raw.entries("emails")
    assert fields[b"_traceparent"] == before.encode()


async def test_a_trace_never_refuses_a_job(
    redis_url: str, raw: Raw, traced: Traced
) -> None:
    """A job with as many headers as there may be is sent without the span."""
    headers = {f"h{number}": "x" for number in range(8)}
    async with Producer(redis_url, middleware=[traced.tracing]) as producer:
        await producer.enqueue_bulk([Item(email(), headers=headers)])
    ((_, fields),) = raw.entries("emails")
    assert b"_h7" in fields
    assert b"_traceparent" not in fields


@pytest.mark.parametrize("parent", ["", "nonsense", "00-0-0-00", "\\xff"])
async def test_a_job_without_a_trace_begins_one(
    redis_url: str, raw: Raw, stream: str, traced: Traced, parent: str
) -> None:
    """Also if what it carries is none, and not below the span that started the queue."""

    async def handle(job: Email) -> None:
        pass

    tracer = traced.provider.get_tracer("user")
    with tracer.start_as_current_span("start of the program"):
        async with Queue(
            *(Email, handle),
            url=redis_url,
            policy=policy(stream),
            middleware=[traced.tracing],
        ) as queue:
            raw("XADD", stream, "*", "to", "a", "subject", "b", "_traceparent", parent)
            queue.run()
            await queue.drain()
    (ran,) = traced.spans("process")
    assert ran.parent is None
    assert not ran.links


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (Snooze(500), StatusCode.UNSET, None),
        (Reject("never"), StatusCode.ERROR, "Reject"),
        (SystemExit(1), StatusCode.ERROR, "SystemExit"),
    ],
)
async def test_span_has_the_outcome_of_the_attempt(
    traced: Traced,
    raised: BaseException,
    status: StatusCode,
    kind: str | None,
    make_queue: MakeQueue,
) -> None:
    """A snooze is no error; everything else that is raised is one, by its name."""

    async def handle(job: Email) -> None:
        raise raised

    async with make_queue(handle, max_retries=0, middleware=[traced.tracing]) as queue:
        await queue.enqueue(email())
        handle_ = queue.run()
        await wait_until(lambda: traced.spans("process"))
        await handle_.shutdown()
    (ran,) = traced.spans("process")
    assert ran.status.status_code is status
    assert attributes(ran).get("error.type") == kind


async def test_a_timeout_is_named(traced: Traced, make_queue: MakeQueue) -> None:
    """As what it is, and not as the cancellation by which it comes about."""

    async def handle(job: Email) -> None:
        await asyncio.Event().wait()

    async with make_queue(
        handle, timeout=0.05, max_retries=0, middleware=[traced.tracing]
    ) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (ran,) = traced.spans("process")
    assert attributes(ran)["error.type"] == "timeout"


async def test_a_shutdown_is_no_error(traced: Traced, make_queue: MakeQueue) -> None:
    """The job is released and runs elsewhere."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, middleware=[traced.tracing]) as queue:
        await queue.enqueue(email())
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        await handle.shutdown(grace=0.0)
    (ran,) = traced.spans("process")
    assert ran.status.status_code is StatusCode.UNSET


async def test_an_enqueue_that_fails_is_an_error(
    redis_url: str, traced: Traced
) -> None:
    """By its name, and raised all the same."""
    async with Producer(redis_url, middleware=[traced.tracing]) as producer:
        with pytest.raises(EncodeError):
            await producer.enqueue(Email(to="\ud800", subject=""))
    (sent,) = traced.spans()
    assert sent.status.status_code is StatusCode.ERROR
    assert attributes(sent)["error.type"] == "EncodeError"


def test_missing_extra_is_explained() -> None:
    """The error names the extra, not the missing module."""
    for module, library, package in (
        ("flowd.tracing", "opentelemetry", "opentelemetry-api"),
        ("flowd.metering", "opentelemetry", "opentelemetry-api"),
        ("flowd.metrics", "prometheus_client", "prometheus-client"),
    ):
        program = f"import sys; sys.modules[{library!r}] = None; import {module}"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert done.stderr.endswith(f": pip install {package}\n")


def test_a_view_that_does_not_await_is_the_parent(
    redis_url: str, traced: Traced
) -> None:
    """The span of the thread that enqueues is that of the jobs, in bulk as well."""
    tracer = traced.provider.get_tracer("user")
    with (
        SyncProducer(redis_url, middleware=[traced.tracing]) as producer,
        tracer.start_as_current_span("request"),
    ):
        producer.enqueue(email())
        producer.enqueue_bulk([email()] * 2)
    *sent, request = traced.spans()
    assert [each.parent and each.parent.span_id for each in sent] == [
        span_id(request)
    ] * 2
