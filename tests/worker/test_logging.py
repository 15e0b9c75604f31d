"""What flowd logs: one line for each event, with its numbers as fields."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback

import pytest

from flowd import Context, Queue, Reject
from jobs.email import Email
from tests.support.email_job import EndingHandler, RecordingHandler, email, policy
from tests.support.jobs.vault import Vault
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.secrets import full, leaks


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    """The lines about one kind of event."""
    found = [each for each in caplog.records if vars(each).get("event") == event]
    assert {each.name for each in found} <= {"flowd"}
    return found


def extra(record: logging.LogRecord, *names: str) -> dict[str, object]:
    """Some of the fields of a line."""
    return {name: vars(record)[name] for name in names}


DELIVERY = ("stream", "group", "job_id", "attempt", "deliveries")


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flowd")


async def test_each_delivery_is_one_line(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Done, failed, released or dead-lettered: a line each, and no other."""
    async with make_queue(EndingHandler()) as queue:
        ids = await queue.enqueue_bulk(
            [email("done"), email("retry"), email("reject"), email("snooze")]
        )
        queue.run()
        await queue.drain()

    logged = {
        event: [(vars(each)["job_id"], each.levelname) for each in lines(caplog, event)]
        for event in ("done", "retry", "dead_letter", "release")
    }
    done, retry, rejected, snooze = ids
    assert sorted(logged.pop("done")) == sorted(
        [(done, "INFO"), (retry, "INFO"), (snooze, "INFO")]
    )
    assert logged == {
        "retry": [(retry, "WARNING")],
        "dead_letter": [(rejected, "ERROR")],
        "release": [(snooze, "INFO")],
    }
    # Apart from these only the queue's own beginning and end.
    assert len(caplog.records) == 6 + 2


async def test_record_of_a_done_job_says_its_class_and_duration(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The duration is the handler's, without the time until it is settled."""
    caplog.set_level(logging.INFO, "flowd")
    took = 0.0

    async def handle(_: Email) -> None:
        nonlocal took
        began = time.monotonic()
        await asyncio.sleep(0.05)
        took = time.monotonic() - began

    async with Queue(Email, handle, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (record,) = lines(caplog, "done")
    said = vars(record)
    assert said["job"] == "Email"
    assert said["duration"] >= took
    assert record.getMessage().endswith(f" done in {said['duration']:.3f} s")


async def test_a_line_says_what_its_fields_say(
    stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """The text is for people, the fields are for programs."""

    async def fail(job: Email) -> None:
        raise ConnectionError("no route")

    async with make_queue(fail, max_retries=1) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (retry,), (dead,) = lines(caplog, "retry"), lines(caplog, "dead_letter")

    assert extra(retry, *DELIVERY, "error", "after") == {
        "stream": stream,
        "group": "senders",
        "job_id": job_id,
        "attempt": 1,
        "deliveries": 1,
        "error": "ConnectionError: no route",
        "after": 0.001,
    }
    assert extra(dead, "attempt", "deliveries", "error", "reason") == {
        "attempt": 2,
        "deliveries": 2,
        "error": "ConnectionError: no route",
        "reason": "failed",
    }
    assert dead.getMessage() == (
        f"{stream} {job_id} attempt 2 dead-lettered (failed): ConnectionError: no route"
    )


async def test_a_queue_says_when_it_begins_and_ends(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the name under which it takes entries."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, stream=stream, concurrency=3
    ) as queue:
        handle = queue.run()
        await queue.drain()
    (started,), (ended,) = lines(caplog, "started"), lines(caplog, "ended")

    assert started.getMessage() == (f"{stream} runs up to 3 jobs as {handle.consumer}")
    assert ended.getMessage() == f"{stream} has ended"
    assert vars(started)["consumer"] == vars(ended)["consumer"] == handle.consumer


async def test_payloads_are_in_no_line(
    raw: Raw, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Neither of jobs that are done nor of those that fail."""

    async def handle(job: Email, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError

    async with make_queue(handle) as queue:
        await queue.enqueue(Email(to="a-person", subject="a-subject"))
        queue.run()
        await queue.drain()

    logged = repr([vars(each) for each in caplog.records])
    assert lines(caplog, "done")
    assert "a-person" not in logged
    assert "a-subject" not in logged


async def test_a_line_is_one_line(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Whatever an error says: no second line, nothing that a terminal obeys, no flood."""

    async def fail(job: Email) -> None:
        raise ValueError("first\nsecond\r\x1b[31mred\u202e\x00" + "x" * 10_000)

    async with make_queue(fail, max_retries=1) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    for record in (*lines(caplog, "retry"), *lines(caplog, "dead_letter")):
        text = record.getMessage()
        assert text.isprintable()
        assert r"first\nsecond\r\x1b[31mred\u202e\x00" in text
        assert len(text) < 800


async def test_disabled_log_formats_no_line(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At WARNING a job that is done leaves no line."""
    caplog.set_level(logging.WARNING, "flowd")
    async with Queue(Email, RecordingHandler(), url=redis_url, stream=stream) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert not caplog.records


def test_the_library_configures_no_logging() -> None:
    """Handlers, levels and formats are the application's."""
    logger = logging.getLogger("flowd")
    assert logger.propagate
    assert not logger.handlers


async def test_logging_that_raises_stops_nothing(
    capsys: pytest.CaptureFixture[str], make_queue: MakeQueue
) -> None:
    """The queue starts, fails a job and ends; the error is on standard error."""

    def clash(record: logging.LogRecord) -> bool:
        raise ValueError(record.name)

    async def fail(job: Email) -> None:
        raise ConnectionError("no route")

    logger = logging.getLogger("flowd")
    logger.addFilter(clash)
    try:
        async with make_queue(fail, max_retries=0) as queue:
            await queue.enqueue(email())
            queue.run()
            await queue.drain()
    finally:
        logger.removeFilter(clash)

    assert (
        "dead-lettered (failed): ConnectionError: no route" in capsys.readouterr().err
    )


async def test_a_set_up_of_logging_silences_no_error(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """`dictConfig` disables loggers that are there already; flowd's still logs."""

    async def fail(job: Email) -> None:
        raise ValueError

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        logging.getLogger("flowd").disabled = True
        queue.run()
        await queue.drain()

    assert lines(caplog, "dead_letter")


async def test_failures_carry_their_error_and_a_constant_template(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """An error tracker groups by `msg` and `exc_info`: neither holds what one job says."""
    raised: list[Exception] = []

    async def fail(job: Email) -> None:
        raised.append(ConnectionError(f"100% {job.to}"))
        raise raised[-1]

    async with make_queue(fail, max_retries=1) as queue:
        await queue.enqueue_bulk([email("one"), email("two")])
        queue.run()
        await queue.drain()

    retries, dead = lines(caplog, "retry"), lines(caplog, "dead_letter")
    assert {each.msg for each in retries} == {"%sfailed, next attempt in %.1f s: %s"}
    assert {each.msg for each in dead} == {"%sdead-lettered (%s): %s"}
    shown = [each.exc_info for each in (*retries, *dead)]
    assert {id(each[1]) for each in shown if each} == {id(each) for each in raised}
    for record, info in zip((*retries, *dead), shown, strict=True):
        assert info
        assert info[0] is ConnectionError
        (frame,) = traceback.extract_tb(info[2])
        assert frame.name == "fail"
        assert f"ConnectionError: {info[1]}" in record.getMessage()


async def test_rejections_and_undecodable_jobs_carry_their_error(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Every dead letter that an error made has it in its record."""

    async def reject(job: Email) -> None:
        raise Reject("never")

    async with make_queue(reject) as queue:
        queue.run()
        await queue.enqueue(email())
        raw("XADD", stream, "*", "to", "x")
        await queue.drain()

    kinds = {
        str(vars(each)["reason"]): each.exc_info[0].__name__
        for each in lines(caplog, "dead_letter")
        if each.exc_info and each.exc_info[0]
    }
    assert kinds == {"rejected": "Reject", "undecodable": "DecodeError"}


async def test_secrets_are_in_no_record_of_a_failure(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A stand-in of the same name takes the error's place: no frames, causes or values."""

    async def fail(job: Vault) -> None:
        cause = KeyError(job.token)
        raise ConnectionError(f"refused: {job.token}") from cause

    rules = policy(stream, max_retries=1)
    async with Queue(Vault, fail, url=redis_url, policy=rules) as queue:
        await queue.enqueue(full())
        queue.run()
        await queue.drain()

    records = (*lines(caplog, "retry"), *lines(caplog, "dead_letter"))
    assert len(records) == 2
    for record in records:
        assert record.exc_info
        kind, error, frames = record.exc_info
        assert kind
        assert error
        assert kind.__name__ == "ConnectionError"
        assert (error.__cause__, error.__context__) == (None, None)
        while frames:
            assert not leaks(repr(frames.tb_frame.f_locals))
            frames = frames.tb_next
        assert not leaks(logging.Formatter().format(record) + repr(vars(record)))


async def test_an_error_that_is_no_text_can_be_written(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Lone surrogates, in the error or its cause, cost no log file the record."""

    async def fail(job: Email) -> None:
        raise FileNotFoundError("x") from ValueError("\udcff.txt")

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    (dead,) = lines(caplog, "dead_letter")
    assert dead.exc_info
    assert dead.exc_info[2]
    assert logging.Formatter().format(dead).encode()
