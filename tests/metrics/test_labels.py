"""Labels of a job's own: `label = true` on a field of its schema."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flowd import BulkError, Middleware, Queue, Reject
from flowd.metrics import Metrics
from flowd.metrics.scrape import text_of
from flowd.metrics.table import DURATION, ENQUEUED, WAIT
from flowd.model.labels import TAKEN, labels_of
from jobs.email import Email
from tests.support.email_job import email
from tests.support.jobs.export import Export, Plan, Region
from tests.support.queues import MakeQueue

ENQUEUED_TOTAL = "flowd_jobs_enqueued_total"
DURATION_COUNT = "flowd_handler_duration_seconds_count"
WAIT_COUNT = "flowd_job_wait_duration_seconds_count"


def export(region: Region = Region.EU, plan: Plan | None = None) -> Export:
    """A job of the test."""
    return Export(to="ann@example.org", region=region, plan=plan)


async def _never(job: Export) -> None:
    raise AssertionError(job)


def series(metrics: Metrics, name: str) -> dict[tuple[str, str, str], float]:
    """What Prometheus reads that is above 0: (queue, region, plan) -> value."""
    text = text_of(metrics.registry).decode()
    return {
        (
            sample.labels["queue"],
            sample.labels.get("region", "-"),
            sample.labels.get("plan", "-"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.value
    }


async def test_values_of_a_labelled_field_are_labels(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """Of what was enqueued, how long it waited and ran; a queue without labels has none."""
    metrics = Metrics(CollectorRegistry())
    rules = dataclasses.replace(Export.SPEC.policy, stream=f"{stream}:exports")

    async def handle(job: Export) -> None:
        if job.region is Region.US:
            raise Reject("no")

    middleware: list[Middleware] = [metrics]
    async with (
        make_queue(middleware=middleware) as plain,
        Queue(
            Export, handle, url=redis_url, policy=rules, middleware=middleware
        ) as queue,
    ):
        await plain.enqueue(email())
        await queue.enqueue_bulk([export(), export(plan=Plan.PAID), export(Region.US)])
        await queue.enqueue(export())
        for each in (plain, queue):
            each.run()
        await plain.drain()
        await queue.drain()

    expected = {
        (stream, "-", "-"): 1.0,
        (rules.stream, "eu", ""): 2.0,
        (rules.stream, "eu", "paid"): 1.0,
        (rules.stream, "us", ""): 1.0,
    }
    for name in (ENQUEUED_TOTAL, DURATION_COUNT, WAIT_COUNT):
        assert series(metrics, name) == expected, name
    assert (
        metrics.registry.get_sample_value(
            DURATION_COUNT,
            {
                "queue": rules.stream,
                "group": rules.group,
                "result": "raised",
                "region": "us",
                "plan": "",
            },
        )
        == 1
    )


async def test_labels_of_a_bulk_that_broke_off_are_of_what_was_stored(
    redis_url: str, stream: str
) -> None:
    """What comes behind the fault is in no series."""
    metrics = Metrics(CollectorRegistry())
    wrong = dataclasses.replace(export(), to=7)  # type: ignore[arg-type]
    rules = dataclasses.replace(Export.SPEC.policy, stream=stream)
    async with Queue(
        Export, _never, url=redis_url, policy=rules, middleware=[metrics]
    ) as queue:
        with pytest.raises(BulkError) as caught:
            await queue.enqueue_bulk([export(), wrong, export(Region.US)])
    stored = len(caught.value.ids)
    assert sum(series(metrics, ENQUEUED_TOTAL).values()) == stored
    assert (stream, "us", "") not in series(metrics, ENQUEUED_TOTAL)


def test_values_outside_of_the_enum_are_one_empty_label() -> None:
    """A field that was set to anything else makes no series of its own."""
    job = export()
    assert labels_of(job) == {"region": "eu", "plan": ""}
    for value in ("eu", "anything", 7, None):
        broken = dataclasses.replace(job, region=value)  # type: ignore[arg-type]
        assert labels_of(broken)["region"] == ""
    assert labels_of(email()) == {}
    assert not Email.SPEC.labels


def test_names_of_flowds_labels_are_taken() -> None:
    """The generator refuses a label that a metric with labels of jobs has itself."""
    for metric in (ENQUEUED, DURATION, WAIT):
        assert TAKEN.issuperset(metric.labels)


def test_a_second_object_in_one_registry_is_refused() -> None:
    """As for the metrics without labels of jobs."""
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)
