"""Metrics: what was counted, and what queues hold, as Prometheus reads it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flowd import (
    BulkError,
    Producer,
    Queue,
    Unreachable,
)
from flowd.broker.outage import Outage
from flowd.broker.url import Address
from flowd.embedded import Server
from flowd.metrics import Metrics, exposition
from flowd.metrics.scrape import Place
from flowd.metrics.table import COUNTERS, GAUGES, HISTOGRAMS, INFO, SERVER_UP
from flowd.model.event import EventBus
from jobs.email import Email
from tests.ops.page import OPERATIONS
from tests.support.email_job import EndingHandler, RecordingHandler, email, policy
from tests.support.leases import die_with, steal
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of the test's own."""
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, stream: str = "", **labels: str) -> float | None:
    """What was counted, of the queue on a stream; None if nothing of the kind was."""
    if stream:
        labels |= {"queue": stream, "group": "senders"}
    return metrics.registry.get_sample_value(name, labels)


async def shown(metrics: Metrics, *places: Place) -> dict[tuple[str, str], float]:
    """What is shown of queues: (name, stream) -> value."""
    text = (await exposition(metrics.registry, places)).decode()
    return {
        (sample.name, sample.labels["queue"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "server" in sample.labels and "queue" in sample.labels
        if not {"reason", "state"} & sample.labels.keys()
    }


def of(queue: Queue[Email]) -> Place:
    """Where a queue is."""
    return queue.address, queue.policy.stream, queue.policy.group


async def test_each_way_to_end_is_counted(
    stream: str, metrics: Metrics, make_queue: MakeQueue
) -> None:
    """Done, retry, release and dead letter, and what was enqueued."""
    async with make_queue(EndingHandler(), middleware=[metrics]) as queue:
        await queue.enqueue_bulk([email("a"), email("retry"), email("reject")])
        await queue.enqueue(email("snooze"))
        queue.run()
        await queue.drain()

    def counted(name: str, **labels: str) -> float | None:
        return value(metrics, name, stream=stream, **labels)

    assert counted("flowd_jobs_enqueued_total") == 4
    assert counted("flowd_jobs_done_total") == 3
    assert counted("flowd_jobs_retried_total") == 1
    assert counted("flowd_jobs_released_total") == 1
    assert counted("flowd_jobs_dead_lettered_total", reason="rejected") == 1
    assert counted("flowd_handler_duration_seconds_count", result="returned") == 3
    assert counted("flowd_handler_duration_seconds_count", result="raised") == 3


async def test_counters_begin_at_zero(
    stream: str, metrics: Metrics, make_queue: MakeQueue
) -> None:
    """Or Prometheus would not see the first of anything as an increase."""
    async with make_queue(middleware=[metrics]) as queue:
        queue.run()
        await wait_until(
            lambda: value(metrics, "flowd_jobs_taken_over_total", stream=stream) == 0
        )
        assert value(metrics, "flowd_jobs_done_total", stream=stream) == 0
        for reason in ("failed", "rejected", "undecodable", "crashed"):
            letters = "flowd_jobs_dead_lettered_total"
            assert value(metrics, letters, stream=stream, reason=reason) == 0
        for result in ("returned", "raised", "cancelled"):
            count = "flowd_handler_duration_seconds_count"
            assert value(metrics, count, stream=stream, result=result) == 0


async def test_takeovers_and_lost_leases_are_counted(
    raw: Raw, stream: str, metrics: Metrics, make_queue: MakeQueue
) -> None:
    """By the worker that takes, and by the one that lost; a timeout is a cancelled run."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, middleware=[metrics]) as queue:
        await queue.enqueue(email())
        die_with(raw, stream, "senders", jobs=1)
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        steal(raw, stream, "senders")
        await wait_until(lambda: recorder.cancelled)
        await handle.shutdown(grace=0.0)
    assert value(metrics, "flowd_jobs_taken_over_total", stream=stream) == 1
    assert value(metrics, "flowd_leases_lost_total", stream=stream) == 1
    count = "flowd_handler_duration_seconds_count"
    assert value(metrics, count, stream=stream, result="cancelled") == 1


async def test_every_job_of_a_newer_version_is_counted(
    raw: Raw, stream: str, metrics: Metrics, make_queue: MakeQueue
) -> None:
    """Though the log says it once."""
    async with make_queue(middleware=[metrics]) as queue:
        for _ in range(3):
            raw("XADD", stream, "*", "to", "a", "subject", "b", "_v", "7")
        handle = queue.run()
        await wait_until(
            lambda: value(metrics, "flowd_jobs_too_new_total", stream=stream) == 3
        )
        await handle.shutdown()


async def test_a_reconnect_is_counted(
    own_server: Server, stream: str, metrics: Metrics
) -> None:
    """Of the server, not of each queue on it."""
    async with Queue(
        Email,
        RecordingHandler(),
        url=own_server.url,
        policy=policy(stream),
        middleware=[metrics],
    ) as queue:
        handle = queue.run()
        own_server.kill()
        await wait_until(lambda: queue.failing)
        server = str(queue.address)
        assert value(metrics, "flowd_outages_ended_total", server=server) == 0
        own_server.start()
        await wait_until(lambda: not queue.failing)
        await handle.shutdown()
    assert value(metrics, "flowd_outages_ended_total", server=server) == 1


def test_an_outage_counts_once_however_often_it_is_logged(metrics: Metrics) -> None:
    """Its lines repeat each minute and with each reason; only its end is a reconnect."""
    now = 100.0
    listeners = EventBus()
    listeners.subscribe([metrics.on_event])
    outage = Outage("redis://h", listeners, clock=lambda: now)
    lines: list[str] = []
    listeners.subscribe([lambda event: lines.append(event.name)])
    for at, reason in ((100.0, "refused"), (103.0, "expired"), (200.0, "expired")):
        now = at
        outage.report_failure("reading", "emails", Unreachable(reason))
        outage.report_failure("settling", "emails", Unreachable(reason))
        count = value(metrics, "flowd_outages_ended_total", server="redis://h")
        assert count == 0
    outage.report_recovery("reading", "emails")
    outage.report_recovery("settling", "emails")
    assert lines == ["outage"] * 3 + ["recovery"]
    assert value(metrics, "flowd_outages_ended_total", server="redis://h") == 1


async def test_a_bulk_that_breaks_off_counts_what_was_sent(
    redis_url: str, metrics: Metrics
) -> None:
    """The first round trip, and not what came after."""
    async with Producer(redis_url, middleware=[metrics]) as producer:
        with pytest.raises(BulkError):
            await producer.enqueue_bulk(
                [*[email()] * 600, Email(to="\ud800", subject="")]
            )
    assert value(metrics, "flowd_jobs_enqueued_total", stream="emails") == 500


async def test_queue_contents_are_read_at_each_scrape(
    raw: Raw, stream: str, metrics: Metrics, make_queue: MakeQueue
) -> None:
    """From Redis, so that it is true of all workers, not of this one."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=30.0, concurrency=2) as queue:
        await queue.enqueue_bulk([email()] * 5)
        await queue.enqueue(email(), delay=500)
        raw("XADD", f"{{{stream}}}:senders:dlq", "*", "a", "b")
        handle = queue.run()
        await wait_until(lambda: len(recorder.started) == 2)
        seen = await shown(metrics, of(queue), of(queue))
        await handle.shutdown(grace=0.0)
    assert seen.pop(("flowd_oldest_waiting_seconds", stream)) >= 0
    assert seen == {
        ("flowd_queue_up", stream): 1,
        ("flowd_jobs_waiting", stream): 3,
        ("flowd_jobs_running", stream): 2,
        ("flowd_jobs_parked", stream): 0,
        ("flowd_jobs_dead", stream): 1,
        ("flowd_slots", stream): 2,
        ("flowd_slots_busy", stream): 2,
    }


async def test_unanswered_figures_are_omitted(
    own_server: Server, stream: str, metrics: Metrics
) -> None:
    """A server that hangs costs the time limit, and only its own queues."""
    async with Queue(
        Email, RecordingHandler(), url=own_server.url, policy=policy(stream)
    ) as queue:
        own_server.pause()
        text = await exposition(metrics.registry, [of(queue)], within=0.1)
        own_server.resume()
    own = [line for line in text.decode().splitlines() if stream in line]
    assert len(own) == 1
    assert own[0].startswith("flowd_queue_up{")
    assert own[0].endswith(" 0.0")


async def test_a_server_that_is_not_there_is_down(metrics: Metrics) -> None:
    """Its address is shown without the password."""
    address = Address.of("redis://:hunter2@localhost:1")
    text = await exposition(metrics.registry, [(address, "emails", "senders")])
    assert b"hunter2" not in text
    assert b'queue="emails"' in text


def test_names_keep_to_the_conventions() -> None:
    """A counter ends in `_total`, a time says its unit, and every name is flowd's."""
    every = [*COUNTERS, *HISTOGRAMS, *GAUGES]
    names = [each.name for each in every]
    assert len(set(names)) == len(names)
    for metric in every:
        assert metric.name.startswith("flowd_")
        assert metric.help.endswith(".")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert all(each.name.endswith("_duration_seconds") for each in HISTOGRAMS)


def test_every_metric_is_on_the_page() -> None:
    """And no other; the page says what each is good for."""
    table = OPERATIONS.partition("| metric | labels |")[2].partition("\n\n")[0]
    named = [line.split("`")[1] for line in table.splitlines() if "`flowd_" in line]
    assert named == [
        each.name for each in (INFO, *GAUGES, SERVER_UP, *COUNTERS, *HISTOGRAMS)
    ]
