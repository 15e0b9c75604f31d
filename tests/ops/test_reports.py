"""What the dashboard says of every queue."""

from __future__ import annotations

from flowd.broker.server_time import server_time
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.ops import Queries
from flowd.ops.reports import queue_report
from tests.support.email_job import RecordingHandler, email
from tests.support.monitor import Monitor
from tests.support.queues import MakeQueue


async def test_report_asks_each_question_once(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """The view and the findings are of one look at the queue."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder) as queue:
        await queue.enqueue(email(), delay=60.0)
    async with connected(Address.of(redis_url)) as connection:
        queries = Queries(connection, stream, "senders")
        now = await server_time(connection)
        with Monitor(redis_url) as monitor:
            report = await queue_report(queries, now, lease=30.0, runs=1)
            sent = monitor.sent()

    assert report.view is not None
    assert report.view.delayed == 1
    assert sent["ZRANGE"] == 1  # when the first job is due
    assert sent["HGET"] == 3  # the pause, the names of schedules, what was removed
    assert sent["XLEN"] == 2  # the stream, and dead letters
    assert sent["ZCARD"] == 2  # delayed jobs, and those at the gate
