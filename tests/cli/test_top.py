"""`flowd top`, driven by Textual's pilot against a real server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import RichLog

from flowd import Queue, Reject
from flowd.cli.table import Table
from flowd.cli.top_view import TopView
from flowd.cli.top_widgets import Confirmation, Rows
from flowd.embedded import Server
from jobs.email import Email
from tests.support.cluster import Cluster
from tests.support.dead_letters import bury
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.program import Program
from tests.support.raw import Raw
from tests.support.waiting import wait_until

SIZES = pytest.mark.parametrize("width", [80, 120])


def rows(view: TopView, name: str) -> list[list[str]]:
    """The cells of a table, the head first."""
    table = view.query_one(f"#{name}", Rows)
    head = [str(column.label).strip() for column in table.ordered_columns]
    found = [table.get_row_at(at) for at in range(table.row_count)]
    return [head, *([str(cell).strip() for cell in row] for row in found)]


def cell(view: TopView, name: str, head: str) -> str:
    """A cell of the first row of a table."""
    heads, first, *_ = rows(view, name)
    return first[heads.index(head)]


async def shows(pilot: Pilot[None], is_there: Callable[[], bool]) -> None:
    """Wait until it is on the screen."""
    while not is_there():
        await pilot.pause(0.02)


@SIZES
async def test_top_shows_queues_workers_and_running_jobs(
    redis_url: str, stream: str, width: int
) -> None:
    """Whole ids and no more columns than fit; the rate comes with the second look."""
    recorder = RecordingHandler(closed=True)
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream), concurrency=2
    ) as queue:
        ids = await queue.enqueue_bulk(email(str(number)) for number in range(5))
        handle = queue.run()
        view = TopView(redis_url, 0.05)
        async with view.run_test(size=(width, 34)) as pilot:
            await shows(pilot, lambda: len(rows(view, "running")) == 3)
            await shows(pilot, lambda: "slots" in rows(view, "workers")[0])
            await shows(pilot, lambda: rows(view, "workers")[1][3] == "2/2")
            await shows(pilot, lambda: cell(view, "queues", "done/s") == "0.0")
            shown = rows(view, "queues")
            jobs = rows(view, "running")
            workers = rows(view, "workers")
            for name in ("queues", "workers", "running"):
                assert view.query_one(f"#{name}", Rows).virtual_size.width <= width
        recorder.gate.set()
        await queue.drain()
        await handle.shutdown()
    assert shown[1][0] == stream
    assert shown[1][shown[0].index("running")] == "2/2"
    assert {row[0] for row in jobs[1:]} == set(ids[:2])
    assert workers[1][1] == handle.consumer


async def test_rows_with_one_key_are_all_shown(redis_url: str) -> None:
    """Groups that share a stream by mistake may run one job twice."""
    view = TopView(redis_url, 60.0)
    async with view.run_test(size=(80, 34)):
        table = view.query_one("#running", Rows)
        table.show(Table(("job", "consumer"), [["1-0", "a"], ["1-0", "b"]]), "kk", 80)
        assert rows(view, "running")[1:] == [["1-0", "a"], ["1-0", "b"]]
        assert table.chosen == "k"


async def test_cancel_asks_and_then_ends_the_chosen_job(
    redis_url: str, stream: str
) -> None:
    """Only a yes cancels it; the others run on."""
    recorder = RecordingHandler(closed=True)
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream), concurrency=1
    ) as queue:
        (job_id,) = await queue.enqueue_bulk([email("chosen")])
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        view = TopView(redis_url, 0.05)
        async with view.run_test(size=(80, 34)) as pilot:
            await shows(pilot, lambda: len(rows(view, "running")) == 2)
            await pilot.press("c")
            await shows(pilot, lambda: isinstance(view.screen, Confirmation))
            assert isinstance(view.screen, Confirmation)
            assert view.screen.question == f"Cancel job {job_id} of {stream}?"
            await pilot.press("enter")
            await shows(pilot, lambda: not isinstance(view.screen, Confirmation))
            assert recorder.cancelled == []
            await pilot.press("c")
            await shows(pilot, lambda: isinstance(view.screen, Confirmation))
            await pilot.press("y")
            await shows(pilot, lambda: recorder.cancelled == ["chosen"])
        await queue.drain()
        await handle.shutdown()


async def test_redrive_asks_and_then_puts_letters_back(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Those of the queue under the cursor."""
    await bury(redis_url, "another", email("x"))
    await bury(redis_url, stream, email("a"), email("b"))
    view = TopView(redis_url, 0.05)
    async with view.run_test(size=(120, 34)) as pilot:
        await shows(pilot, lambda: len(rows(view, "queues")) == 3)
        order = [row[0] for row in rows(view, "queues")[1:]]
        await pilot.press(*["down"] * order.index(stream))
        await pilot.press("r")
        await shows(pilot, lambda: isinstance(view.screen, Confirmation))
        assert isinstance(view.screen, Confirmation)
        assert view.screen.question == f"Redrive 2 dead letters of {stream}?"
        await pilot.press("y")
        await shows(pilot, lambda: raw("XLEN", stream) == 2)
    assert raw("XLEN", "{another}:senders:dlq") == 1
    assert raw("XLEN", f"{{{stream}}}:senders:dlq") == 0


async def test_pause_asks_and_the_key_then_resumes(redis_url: str, stream: str) -> None:
    """The chosen queue and no other; what it asks is what it does."""
    recorder = RecordingHandler()
    async with (
        Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue,
        Queue(Email, recorder, url=redis_url, policy=policy("another")),
    ):
        view = TopView(redis_url, 0.05)
        async with view.run_test(size=(120, 34)) as pilot:
            await shows(pilot, lambda: len(rows(view, "queues")) == 3)
            order = [row[0] for row in rows(view, "queues")[1:]]
            await pilot.press(*["down"] * order.index(stream))

            async def order_it(question: str, key: str) -> None:
                await pilot.press("p")
                await shows(pilot, lambda: isinstance(view.screen, Confirmation))
                assert isinstance(view.screen, Confirmation)
                assert view.screen.question == question
                await pilot.press(key)
                await shows(pilot, lambda: not isinstance(view.screen, Confirmation))

            def paused() -> list[str]:
                text = [" ".join(row) for row in rows(view, "queues")[1:]]
                return [row.split()[0] for row in text if "paused" in row]

            await order_it(f"Pause {stream}?", "n")
            await order_it(f"Pause {stream}?", "y")
            await shows(pilot, lambda: paused() == [stream])
            # What has a problem comes first, so the cursor may have moved with it.
            assert view.query_one("#queues", Rows).chosen.startswith(stream)
            await order_it(f"Resume {stream}?", "y")
            await shows(pilot, lambda: paused() == [])
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    assert len(recorder.done) == 1


async def test_failures_of_the_chosen_queue_are_followed(
    redis_url: str, stream: str
) -> None:
    """As they happen, and with control characters escaped."""

    async def fail(_: Email) -> None:
        raise Reject("\x1b[2Jno [red]thanks[/red]")

    async with Queue(Email, fail, url=redis_url, policy=policy(stream)) as queue:
        handle = queue.run()
        view = TopView(redis_url, 0.05)
        async with view.run_test(size=(120, 34)) as pilot:
            failures = view.query_one("#failures", RichLog)

            def text() -> str:
                return "\n".join(line.text for line in failures.lines)

            await shows(pilot, lambda: f"failures of {stream}" in text())
            while "dead-lettered" not in text():
                await queue.enqueue(email())
                await pilot.pause(0.1)
            said = text().replace("\n", "")
        await handle.shutdown()
    assert "\\x1b[2Jno [red]thanks[/red]" in said


async def test_top_survives_an_outage(own_server: Server) -> None:
    """It says so on its first line, and goes on."""
    async with Queue(Email, RecordingHandler(), url=own_server.url):
        pass
    view = TopView(own_server.url, 0.05)
    async with view.run_test(size=(80, 34)) as pilot:
        await shows(pilot, lambda: len(rows(view, "queues")) == 2)
        own_server.kill()
        await shows(pilot, lambda: "trying again" in view.status)
        assert view.failed is None


def test_top_needs_a_terminal(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a pipe it would be nothing but escapes; an error says what to use."""
    program = Program(tmp_path_factory.mktemp("top"), "redis://localhost:1")
    done = program("top")
    assert (done.code, done.out) == (2, "")
    assert "flowd stats prints into a pipe" in done.err


async def test_a_queue_whose_node_is_away_keeps_its_row(loose_cluster: Cluster) -> None:
    """So the cursor stays on the queue that was chosen; the others are shown as they are."""
    names = [f"queue{number}" for number in range(100)]
    node = loose_cluster.owner(names[0])
    other = next(each for each in names if loose_cluster.owner(each) is not node)
    for name in (names[0], other):
        await bury(loose_cluster.url, name, email())
    view = TopView(loose_cluster.url, 0.05)
    async with view.run_test(size=(120, 34)) as pilot:
        await shows(pilot, lambda: len(rows(view, "queues")) == 3)
        order = [row[0] for row in rows(view, "queues")[1:]]
        await pilot.press(*["down"] * order.index(names[0]))
        table = view.query_one("#queues", Rows)
        await shows(pilot, lambda: table.chosen.startswith(f"{names[0]}\n"))
        node.kill()
        await shows(pilot, lambda: "cannot be seen" in str(rows(view, "queues")))
        assert len(rows(view, "queues")) == 3
        assert table.chosen.startswith(f"{names[0]}\n")
