"""`flowd exporter`: the metrics of a server, asked as Prometheus asks."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from prometheus_client import CollectorRegistry

from flowd import Context, Queue
from flowd.embedded import Server
from flowd.metrics import Metrics, exposition
from jobs.email import Email
from tests.metrics.asking import get
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.program import Program
from tests.support.raw import Raw, Reply
from tests.support.waiting import wait_until


def values(page: str, name: str) -> dict[str, float]:
    """The samples of this name, by their labels."""
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", page, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def number_of(reply: Reply) -> int:
    """A number that is sent as text."""
    assert isinstance(reply, bytes)
    return int(reply)


async def test_exporter_shows_every_queue_without_a_worker(
    tmp_path: Path, own_server: Server
) -> None:
    """Queues that are set up while it runs too; it says so while Redis is away."""
    url = own_server.url
    async with Queue(Email, RecordingHandler(), url=url, stream="first") as queue:
        await queue.enqueue(email())
    with Program(tmp_path, url).start("exporter", "--port", "0") as running:
        here = running.metrics_url()
        page = (await get(here, "/metrics")).body
        assert list(values(page, "flowd_server_up").values()) == [1.0]
        (waiting,) = values(page, "flowd_jobs_waiting").items()
        assert 'group="senders",queue="first"' in waiting[0]
        assert waiting[1] == 1.0
        assert len(values(page, "flowd_info")) == 1
        async with Queue(Email, RecordingHandler(), url=url, stream="second"):
            page = (await get(here, "/metrics")).body
        assert len(values(page, "flowd_jobs_waiting")) == 2
        assert (await get(here, "/readyz")).status == 200
        own_server.kill()
        page = (await get(here, "/metrics")).body
        assert list(values(page, "flowd_server_up").values()) == [0.0]
        assert (await get(here, "/readyz")).status == 503
        assert (await get(here, "/healthz")).status == 200
        running.signal(signal.SIGTERM)
        assert running.end() == 0


def test_exporter_names_the_option_of_a_port_that_is_taken(
    tmp_path: Path, redis_url: str
) -> None:
    """It is wrong usage, in one line."""
    program = Program(tmp_path, redis_url)
    with program.start("exporter", "--port", "0") as running:
        port = running.metrics_url().rpartition(":")[2]
        done = program("exporter", "--port", port)
    assert done.code == 2
    assert f"--port {port}: " in done.err


async def test_delayed_jobs_and_workers_are_shown_by_kind(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Retries apart from what is scheduled, and the states of workers."""
    metrics = Metrics(CollectorRegistry())
    recorder = RecordingHandler()

    async def fail(_: Email, ctx: Context) -> None:
        await recorder(_, ctx)
        raise ValueError("no")

    rules = policy(stream, lease=30.0, backoff=100.0)
    async with Queue(
        Email, fail, url=redis_url, policy=rules, middleware=[metrics]
    ) as queue:
        await queue.enqueue(email(), delay=600.0)
        await queue.enqueue(email())
        handle = queue.run()
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 2)
        await wait_until(lambda: raw("EXISTS", f"{{{stream}}}:senders:workers"))
        place = (queue.address, stream, "senders")
        page = (await exposition(metrics.registry, [place])).decode()
        await handle.shutdown()
    delayed = values(page, "flowd_jobs_delayed")
    assert {
        each.rpartition('reason="')[2].partition('"')[0]: delayed[each]
        for each in delayed
    } == {
        "scheduled": 1.0,
        "released": 0.0,
        "retrying": 1.0,
        "newer_version": 0.0,
    }
    assert sum(values(page, "flowd_workers").values()) == 1.0
    assert "_created" not in page


async def test_time_in_the_queue_counts_from_when_a_job_could_run(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Of a job that waited for an hour it is an hour, whenever it was enqueued before."""
    metrics = Metrics(CollectorRegistry())
    recorder = RecordingHandler()
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream), middleware=[metrics]
    ) as queue:
        await queue.init()
        time = raw("TIME")
        assert isinstance(time, list)
        an_hour_ago = (number_of(time[0]) - 3_600) * 1000
        fields = [each for pair in email().to_fields().items() for each in pair]
        raw("XADD", stream, f"{an_hour_ago}-0", *fields, "_at", "1000")
        queue.run()
        await queue.drain()
    labels = {"queue": stream, "group": "senders"}
    seen = metrics.registry.get_sample_value(
        "flowd_job_wait_duration_seconds_sum", labels
    )
    assert seen is not None
    assert 3_500 < seen < 4_500
