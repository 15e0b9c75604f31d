"""Middleware: what runs around enqueues and handlers, and what receives events."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import re
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from flowd import (
    BulkError,
    Context,
    DeadLetters,
    Event,
    Item,
    Job,
    Middleware,
    OptionError,
    Producer,
    Queue,
    Reject,
    Run,
    Send,
    Snooze,
)
from flowd.embedded import Server
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.dead_letters import raw_letters
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, expire, steal
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until, wait_until_blocking


class Diary(Middleware):
    """Notes what it sees, and lets it pass."""

    def __init__(self, name: str = "", notes: list[str] | None = None) -> None:
        self.name = name
        self.notes: list[str] = [] if notes is None else notes
        self.events: list[Event] = []

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        """Note the beginning and the end."""
        self.notes.append(f"{self.name} sends to {stream}")
        ids = await send(items)
        self.notes.append(f"{self.name} sent {len(ids)}")
        return ids

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:
        """Note the beginning, and how it ended."""
        self.notes.append(f"{self.name} runs {ctx.attempt}")
        try:
            return await run()
        except BaseException as error:
            self.notes.append(f"{self.name} saw {type(error).__name__}")
            raise
        finally:
            self.notes.append(f"{self.name} ran")

    def on_event(self, event: Event) -> None:
        """Note it."""
        self.events.append(event)

    def named(self, name: str) -> list[Event]:
        """The events of one name."""
        return [each for each in self.events if each.name == name]


class Tagged(Middleware):
    """Adds a header and a delay."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        """Send others in their place."""
        return await send(
            dataclasses.replace(item, headers={"tag": "x"}, delay=self.delay)
            for item in items
        )


def ids_of(raw: Raw, stream: str) -> list[str]:
    """The entries of a stream."""
    entries = raw("XRANGE", stream, "-", "+")
    assert isinstance(entries, list)
    found: list[str] = []
    for entry in entries:
        assert isinstance(entry, list)
        assert isinstance(entry[0], bytes)
        found.append(entry[0].decode())
    return found


async def ignore(job: Email) -> None:
    """Handle nothing."""


async def test_the_first_is_the_outermost(redis_url: str, stream: str) -> None:
    """Around an enqueue and around a handler alike, and the handler is in the middle."""
    notes: list[str] = []

    async def handle(job: Email) -> None:
        notes.append("handler")

    queue = Queue(
        *(Email, handle),
        url=redis_url,
        policy=policy(stream),
        middleware=[Diary("a", notes), Diary("b", notes)],
    )
    async with queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    sends = [f"a sends to {stream}", f"b sends to {stream}", "b sent 1", "a sent 1"]
    assert notes == [*sends, "a runs 1", "b runs 1", "handler", "b ran", "a ran"]


async def test_the_example_in_the_docstring_runs(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """As it stands there."""
    caplog.set_level(logging.INFO, "flowd.job")
    names = {"Middleware": Middleware, "Job": Job, "Context": Context, "Run": Run}
    made: dict[str, type[Middleware]] = {}
    example = (inspect.getdoc(Middleware) or "").partition("\n\n    class ")[2]
    code = textwrap.dedent(f"    class {example}")
    exec(code, {"time": time, **names}, made)
    async with make_queue(ignore, middleware=[made["Timed"]()]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    assert re.search(r"took \d+\.\d", caplog.text)


async def test_middleware_sees_the_context_of_the_handler(
    make_queue: MakeQueue,
) -> None:
    """The very object, so that what is noted under it is found again."""
    seen: list[Context] = []

    class Recorder(Middleware):
        async def handle(self, job: Job, ctx: Context, run: Run) -> object:
            seen.append(ctx)
            return await run()

    async def handle(job: Email, ctx: Context) -> None:
        seen.append(ctx)

    def in_thread(job: Email, ctx: Context) -> None:
        seen.append(ctx)

    for each in (handle, in_thread):
        async with make_queue(each, middleware=[Recorder()]) as queue:
            await queue.enqueue(email())
            queue.run()
            await queue.drain()
        first, second = seen
        assert first is second
        seen.clear()


async def test_a_plain_function_still_runs_in_a_thread(make_queue: MakeQueue) -> None:
    """What runs around it does not; context variables reach it all the same."""
    threads: list[int] = []

    class Recorder(Middleware):
        async def handle(self, job: Job, ctx: Context, run: Run) -> object:
            threads.append(threading.get_ident())
            return await run()

    def handle(job: Email) -> None:
        threads.append(threading.get_ident())

    async with make_queue(handle, middleware=[Recorder()]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    assert threads[0] == threading.get_ident() != threads[1]


async def test_middleware_decides_how_an_attempt_ends(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An error that it swallows is done; one that it raises is the handler's."""

    class Judge(Middleware):
        async def handle(self, job: Job, ctx: Context, run: Run) -> object:
            try:
                return await run()
            except KeyError:
                return None
            except LookupError as error:
                raise Reject("not found") from error

    async def handle(job: Email) -> None:
        raise KeyError if job.to == "key" else IndexError

    diary = Diary()
    async with make_queue(handle, middleware=[diary, Judge()]) as queue:
        await queue.enqueue_bulk([email("key"), email("index")])
        queue.run()
        await queue.drain()
    (letter,) = raw_letters(raw, stream)
    assert b"not found" in letter
    assert len(diary.named("done")) == len(diary.named("dead_letter")) == 1
    assert diary.notes.count(" saw Reject") == 1


async def test_middleware_receives_the_outcome_of_each_delivery(
    stream: str, make_queue: MakeQueue
) -> None:
    """Done, retry, release and dead letter are distinguished, with the job and numbers."""
    diary = Diary()
    snoozes = iter([Snooze(0)])

    async def handle(job: Email, ctx: Context) -> None:
        match job.to, ctx.attempt:
            case "retry", 1:
                raise ValueError("no")
            case "reject", _:
                raise Reject("never")
            case "snooze", _:
                for snooze in snoozes:
                    raise snooze
            case _:
                return

    async with make_queue(handle, middleware=[diary]) as queue:
        done, retry, reject, snooze = await queue.enqueue_bulk(
            [email("done"), email("retry"), email("reject"), email("snooze")]
        )
        queue.run()
        await queue.drain()

    assert sorted(each.job_id for each in diary.named("done")) == sorted(
        [done, retry, snooze]
    )
    (failed,), (buried,) = diary.named("retry"), diary.named("dead_letter")
    assert (failed.job_id, failed.stream, failed.attempt) == (retry, stream, 1)
    assert failed.details["error"] == "ValueError: no"
    assert (buried.job_id, buried.details["reason"]) == (reject, "rejected")
    assert [each.job_id for each in diary.named("release")] == [snooze]
    assert diary.events[0].name == "started"
    assert diary.events[-1].name == "ended"


async def test_an_event_is_its_line_in_the_log(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """The log and a middleware get the same events, in the same order."""
    caplog.set_level(logging.INFO, "flowd")
    diary = Diary()
    async with make_queue(ignore, middleware=[diary]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    assert [str(each) for each in diary.events] == [
        each.getMessage() for each in caplog.records
    ]
    assert [each.level for each in diary.events] == [
        each.levelno for each in caplog.records
    ]


async def test_middleware_receives_events_that_the_log_omits(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A middleware gets every event, whatever the log's level."""
    caplog.set_level(logging.CRITICAL, "flowd")
    diary = Diary()
    async with make_queue(ignore, middleware=[diary]) as queue:
        await queue.enqueue_bulk([email()] * 3)
        queue.run()
        await queue.drain()
    assert len(diary.named("done")) == 3
    assert not caplog.records


async def test_takeover_and_lost_lease_are_logged(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """By the worker that takes, and by the one that lost."""
    diary, recorder = Diary(), RecordingHandler(closed=True)
    async with make_queue(recorder, middleware=[diary]) as queue:
        entry = raw("XADD", stream, "*", "to", "a", "subject", "b", "_attempt", "3")
        assert isinstance(entry, bytes)
        job_id = entry.decode()
        die_with(raw, stream, "senders", jobs=1)
        queue.run()
        await wait_until(lambda: diary.named("takeover"))
        await wait_until(lambda: recorder.started)
        steal(raw, stream, "senders")
        await wait_until(lambda: diary.named("lease_lost"))
        expire(raw, stream, "senders")
        recorder.gate.set()
        await queue.drain()
    (taken, *_), (lost, *_) = diary.named("takeover"), diary.named("lease_lost")
    assert taken.job_id == lost.job_id == job_id
    assert taken.attempt == lost.attempt == 3
    assert " saw CancelledError" in diary.notes


async def test_outage_is_reported_once(own_server: Server, stream: str) -> None:
    """To an object that serves two queues as well; with its end."""
    diary = Diary()
    rules = policy(stream)
    other = policy(f"{stream}-2")
    async with (
        Queue(
            Email, ignore, url=own_server.url, policy=rules, middleware=[diary]
        ) as first,
        Queue(
            Email, ignore, url=own_server.url, policy=other, middleware=[diary]
        ) as second,
    ):
        first.run()
        second.run()
        await wait_until(lambda: len(diary.named("started")) == 2)
        own_server.kill()
        await wait_until(lambda: diary.named("outage"))
        await wait_until(lambda: first.failing)
        why = first.failing
        own_server.start()
        await wait_until(lambda: diary.named("recovery"))
        await wait_until(lambda: not first.failing)
    (outage,), (recovery,) = diary.named("outage"), diary.named("recovery")
    assert outage.details["server"] == recovery.details["server"]
    assert outage.stream == ""
    assert why
    assert "fails: " in why


async def test_blocked_loop_is_reported(make_queue: MakeQueue) -> None:
    """The event arrives although the loop runs nothing else."""
    diary = Diary()

    async def handle(job: Email) -> None:
        wait_until_blocking(lambda: diary.named("loop_lag"))

    async with make_queue(handle, middleware=[diary]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    assert "handle" in str(diary.named("loop_lag")[0].details["handler"])


async def test_failing_subscriber_stops_nothing(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """The log names the subscriber and the event."""

    class Deaf(Middleware):
        def on_event(self, event: Event) -> None:
            if event.name == "done":
                raise ZeroDivisionError

    diary = Diary()
    async with make_queue(ignore, middleware=[Deaf(), diary]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (line,) = (r for r in caplog.records if vars(r)["event"] == "middleware_failed")
    assert "Deaf.on_event failed on the event done" in line.getMessage()
    assert "ZeroDivisionError" in line.getMessage()
    assert diary.named("done")


async def test_headers_travel_with_the_job(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Through a retry and into a dead letter and back, as fields that begin with `_`."""
    seen: list[dict[str, str]] = []

    async def handle(job: Email, ctx: Context) -> None:
        seen.append(dict(ctx.headers))
        raise ValueError

    async with make_queue(handle, max_retries=1, middleware=[Tagged(0.001)]) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
        (letter,) = raw_letters(raw, stream)
        assert letter[letter.index(b"_tag") + 1] == b"x"
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            await dead.redrive_all()
        await queue.drain()

    assert seen == [{"tag": "x"}] * 4


async def test_replaced_job_and_delay_are_sent(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A delay that it gives is kept, and a queue that runs looks at the right time."""
    recorder = RecordingHandler()
    async with make_queue(recorder, middleware=[Tagged(0.2)]) as queue:
        await queue.enqueue(email("one"))
        await queue.enqueue_bulk([email("two"), Item(email("three"), delay=500.0)])
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 3
        queue.run()
        await queue.drain()
        await queue.enqueue_bulk([email("four"), Item(email("five"), delay=500.0)])
        await queue.drain()
    assert sorted(recorder.done) == ["five", "four", "one", "three", "two"]


async def test_a_bulk_is_one_call_for_each_stream(redis_url: str, raw: Raw) -> None:
    """And its iterable is read while it is sent, not before."""
    diary = Diary()
    crawl = Crawl(url="u", priority=1, tags=[])
    many: list[Job] = [*[email()] * 600, crawl, email()]
    async with Producer(redis_url, middleware=[diary]) as producer:
        ids = await producer.enqueue_bulk(iter(many))
    assert len(ids) == 602
    assert raw("XLEN", "emails") == 601
    sent = [each for each in diary.notes if "sent" in each]
    assert sent == [" sent 600", " sent 1", " sent 1"]


async def test_a_bulk_that_breaks_off_names_all_that_is_stored(
    redis_url: str, raw: Raw
) -> None:
    """Also what went to another stream before."""

    def breaking() -> Iterator[Job]:
        yield email()
        for number in range(501):
            yield Crawl(url="u", priority=number, tags=[])
        raise RuntimeError("the source broke")

    async with Producer(redis_url, middleware=[Diary()]) as producer:
        with pytest.raises(BulkError, match="the source broke") as caught:
            await producer.enqueue_bulk(breaking())
    assert isinstance(caught.value.cause, RuntimeError)
    stored = [each for name in ("emails", "crawl") for each in ids_of(raw, name)]
    assert list(caught.value.ids) == stored
    assert len(stored) > 1


@pytest.mark.parametrize("fails", ["raises", "returns nothing"])
async def test_a_bulk_names_what_is_stored_when_middleware_fails_after_it(
    redis_url: str, raw: Raw, fails: str
) -> None:
    """It may fail once it has sent: the jobs are stored nevertheless."""

    class Failing(Middleware):
        async def enqueue(
            self, stream: str, items: Iterable[Item[Job]], send: Send
        ) -> list[str]:
            ids = await send(items)
            if stream == "emails":
                return ids
            if fails == "raises":
                raise RuntimeError("after it has sent")
            return None  # type: ignore[return-value]

    jobs: list[Job] = [email(), Crawl(url="u", priority=1, tags=[])]
    async with Producer(redis_url, middleware=[Failing()]) as producer:
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk(jobs)
    stored = [each for name in ("emails", "crawl") for each in ids_of(raw, name)]
    assert list(caught.value.ids) == stored
    assert len(stored) == 2


async def test_middleware_may_refuse_a_job(redis_url: str, raw: Raw) -> None:
    """What it raises, `enqueue` raises; nothing is sent."""

    class Closed(Middleware):
        async def enqueue(
            self, stream: str, items: Iterable[Item[Job]], send: Send
        ) -> list[str]:
            raise PermissionError(stream)

    async with Producer(redis_url, middleware=[Closed()]) as producer:
        with pytest.raises(PermissionError, match="emails"):
            await producer.enqueue(email())
        with pytest.raises(BulkError, match="emails"):
            await producer.enqueue_bulk([email()])
    assert raw("EXISTS", "emails") == 0


async def test_middleware_may_be_added_until_the_queue_runs(
    stream: str, make_queue: MakeQueue
) -> None:
    """It is the outermost from then on; one that comes later is refused."""
    notes: list[str] = []
    first, late = Diary("first", notes), Diary("late", notes)
    async with make_queue(ignore, middleware=[first]) as queue:
        queue.add_middleware(late)
        assert queue.middleware == (late, first)
        await queue.enqueue(email())
        queue.run()
        with pytest.raises(OptionError, match="before the queue runs"):
            queue.add_middleware(Diary())
        await queue.drain()
    assert notes[0] == f"late sends to {stream}"
    assert notes[-1] == "late ran"
    assert late.named("done")


async def test_job_keeps_one_id(redis_url: str) -> None:
    """A middleware that loses it gets an error."""

    class Sink(Middleware):
        def __init__(self, ids: list[str] | None) -> None:
            self._ids = ids

        async def enqueue(
            self, stream: str, items: Iterable[Item[Job]], send: Send
        ) -> list[str]:
            return self._ids  # type: ignore[return-value]

    nothing: list[str] = []
    for lost in (nothing, None):
        async with Producer(redis_url, middleware=[Sink(lost)]) as producer:
            with pytest.raises(OptionError, match="must return what send returned"):
                await producer.enqueue(email())


def test_a_coroutine_that_would_receive_events_is_refused() -> None:
    """`on_event` is called and not awaited, so nothing of it would run."""

    class Waiting(Middleware):
        async def on_event(self, event: Event) -> None:  # type: ignore[override]
            """Never run."""

    with pytest.raises(OptionError, match="must be a plain function"):
        Producer("redis://localhost", middleware=[Waiting()])


@pytest.mark.parametrize("wrong", [Diary, object(), "diary", ignore])
def test_invalid_middleware_is_refused(wrong: object) -> None:
    """A class in place of an object above all; the message says what it must be."""
    several: list[Middleware] = []
    vars_of: list[object] = several  # type: ignore[assignment]
    vars_of.append(wrong)
    with pytest.raises(OptionError, match=r"derives from flowd\.Middleware"):
        Producer("redis://localhost", middleware=several)


@pytest.mark.parametrize(
    ("headers", "match"),
    [
        ({"Tag": "x"}, "small letters"),
        ({"id": "x"}, "none of flowd's own"),
        ({"deliveries": "1"}, "none of flowd's own"),
        ({"": "x"}, "small letters"),
        ({"a": "\ud800"}, "no form in UTF-8"),
        ({"a": "x" * 2_048}, "2048 bytes"),
        ({f"a{n}": "" for n in range(9)}, "may be 8"),
    ],
)
def test_headers_have_limits(headers: dict[str, str], match: str) -> None:
    """They are for middleware, not for payload, and never flowd's own fields."""
    with pytest.raises(OptionError, match=match):
        Item(email(), headers=headers)


async def test_a_context_says_why_it_is_cancelled(make_queue: MakeQueue) -> None:
    """A timeout, a lost lease and a shutdown are distinguished."""
    seen: list[str] = []

    class Recorder(Middleware):
        async def handle(self, job: Job, ctx: Context, run: Run) -> object:
            try:
                return await run()
            finally:
                seen.append(ctx.cancelled)

    async def handle(job: Email) -> None:
        if job.to == "long":
            await asyncio.Event().wait()

    async with make_queue(
        handle, timeout=0.05, max_retries=0, middleware=[Recorder()]
    ) as queue:
        await queue.enqueue_bulk([email("short"), email("long")])
        queue.run()
        await queue.drain()
    assert seen == ["", "timeout"]
