"""Mistakes of a first program: each message says what is wrong and what to write."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable, Iterable
from typing import cast

import pytest

from flowd import (
    Durable,
    Item,
    Middleware,
    NotDurable,
    OptionError,
    Policy,
    Producer,
    Queue,
    QueueGroup,
    StreamShared,
    SyncProducer,
    Unreachable,
)
from flowd.testing import MemoryQueue, RecordingProducer, RecordingSyncProducer
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

NOWHERE = "redis://127.0.0.1:1"

INSTANCE = r"enqueue an instance of a class that flowd-gen wrote, as Email\(\.\.\.\)"
NO_JOBS = [
    ({"to": "a"}, rf"job is 'dict'; {INSTANCE}"),
    ("Email", rf"job is 'str'; {INSTANCE}"),
    (None, rf"job is 'NoneType'; {INSTANCE}"),
    (Email, r"Email'>; enqueue an instance of the class, as Email\(\.\.\.\)"),
]


async def handle(job: Email) -> None:
    """Accept every job."""


@pytest.mark.parametrize(("given", "message"), NO_JOBS)
async def test_an_object_that_is_no_job_is_refused(given: object, message: str) -> None:
    """A dict, a text or the class itself: the message says to enqueue an instance."""
    job = cast("Email", given)
    async with Producer(NOWHERE) as producer:
        with pytest.raises(OptionError, match=message):
            await producer.enqueue(job)
    queue = Queue(Email, handle, url=NOWHERE)
    with pytest.raises(OptionError, match=message):
        await queue.enqueue(job)
    await queue.aclose()
    blocking = SyncProducer(NOWHERE)
    with pytest.raises(OptionError, match=message):
        blocking.enqueue(job)
    blocking.close()


@pytest.mark.parametrize("given", [email(), Email, Item(email()), 3])
async def test_bulk_of_one_job_is_refused(given: object) -> None:
    """`enqueue_bulk(job)` says to use `enqueue`, and sends nothing."""
    jobs = cast("Iterable[Email]", given)
    message = "must be an iterable of jobs, as a list; for one job use enqueue"
    async with Producer(NOWHERE) as producer:
        with pytest.raises(OptionError, match=message):
            await producer.enqueue_bulk(jobs)
    queue = Queue(Email, handle, url=NOWHERE)
    with pytest.raises(OptionError, match=message):
        await queue.enqueue_bulk(jobs)
    await queue.aclose()
    blocking = SyncProducer(NOWHERE)
    with pytest.raises(OptionError, match=message):
        blocking.enqueue_bulk(jobs)
    blocking.close()
    for fake in (RecordingProducer(), MemoryQueue(Email, handle)):
        with pytest.raises(OptionError, match=message):
            await fake.enqueue_bulk(jobs)
    with pytest.raises(OptionError, match=message):
        RecordingSyncProducer().enqueue_bulk(jobs)


def test_a_handler_that_was_called_is_refused() -> None:
    """`Queue(Email, handle(job))`: the message names the function, and nothing leaks."""
    called = handle(email())
    with pytest.raises(
        OptionError, match="was called; pass the function handle itself"
    ):
        Queue(Email, called, url=NOWHERE)  # type: ignore[arg-type]
    assert inspect.getcoroutinestate(called) == "CORO_CLOSED"


async def test_a_forgotten_init_is_no_lost_group(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """`run` without `init` sets the group up, names `init`, and reports no lost jobs."""
    handler = RecordingHandler()
    queue = make_queue(handler)
    await queue.enqueue(email())
    queue.run()
    await wait_until(lambda: handler.done)
    await queue.aclose()

    said = events(caplog.records)
    assert said.count("group_created") == 1
    assert not {"group_recreated", "outage"} & {*said}
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "call `await queue.init()` before `run()`" in line.getMessage()


def test_a_missing_field_names_the_fields_that_are_there() -> None:
    """The error of an incomplete entry lists the fields of the entry."""
    with pytest.raises(ValueError, match=r"Email\.subject.*fields present: 'to'"):
        Email.from_fields({b"to": b"a@b.c"})


NO_CLASSES = [
    (
        email(),
        r"Email\(\.\.\.\)'; must be a class that .* the class Email itself, not an",
    ),
    (handle, "must be a class that flowd-gen wrote; it comes first, and the handler"),
    ([Email], "must be a class that flowd-gen wrote"),
    ("emails", "must be a class that flowd-gen wrote"),
    (None, "must be a class that flowd-gen wrote"),
    (dict, "must be a class that flowd-gen wrote, and has no SPEC"),
]


@pytest.mark.parametrize("rules", [None, Policy(stream="s")])
@pytest.mark.parametrize(("given", "message"), NO_CLASSES)
def test_an_object_that_is_no_job_class_is_refused(
    given: object, message: str, rules: Policy | None
) -> None:
    """The job class is checked before the handler is compared with it."""
    job_class = cast("type[Email]", given)
    with pytest.raises(OptionError, match=f"^job_class is .*{message}"):
        Queue(job_class, handle, url=NOWHERE, policy=rules)
    with pytest.raises(OptionError, match=f"^job_class is .*{message}"):
        MemoryQueue(job_class, handle, policy=rules)


def test_a_run_without_a_loop_says_how_to_start_one() -> None:
    """A process that did not fork reads nothing of forks."""
    queue = Queue(Email, handle, url=NOWHERE)
    with pytest.raises(OptionError) as caught:
        queue.run()
    assert str(caught.value) == (
        "there is no running event loop; call it inside a coroutine that was started"
        " with asyncio.run"
    )


async def test_a_run_in_a_forked_child_names_the_fork() -> None:
    """The child of a process whose loop runs reads why that loop is not its own."""
    queue = Queue(Email, handle, url=NOWHERE)
    receive, send = os.pipe()
    if not (child := os.fork()):
        try:
            queue.run()
        except OptionError as error:
            os.write(send, str(error).encode())
        finally:
            os._exit(0)
    os.close(send)
    await asyncio.to_thread(os.waitpid, child, 0)
    said = os.read(receive, 1_000).decode()
    os.close(receive)
    assert "a forked child has no part in its parent's loop" in said


async def test_a_second_group_is_named_with_its_stream(
    redis_url: str, stream: str
) -> None:
    """The error names stream and both groups and what to do, and no Lua."""
    first = Queue(Email, handle, url=redis_url, stream=stream, group="senders")
    second = Queue(Email, handle, url=redis_url, stream=stream, group="auditors")
    async with first:
        with pytest.raises(StreamShared) as caught:
            await second.init()
        await second.aclose()
    said = str(caught.value)
    assert said.startswith(
        f"stream {stream} of group auditors is also read by group senders; "
    )
    assert "use one group per stream" in said
    assert not [each for each in ("SHARED", "script", "ERR") if each in said]


async def test_an_unprovable_disk_is_said_in_one_sentence(redis_url: str) -> None:
    """The versions are those of WAITAOF, also where the server does not know it."""
    async with Producer(redis_url) as producer:
        with pytest.raises(NotDurable) as caught:
            await producer.enqueue(email(), durable=True)
    said = str(caught.value)
    assert "durable=True needs Redis 7.2 or Valkey 8 with appendonly yes" in said
    assert "Durable(fsync=False, replicas=1)" in said
    assert "6.2" not in said


def test_a_proof_of_nothing_is_refused() -> None:
    """Without fsync at least one replica has to have the job."""
    with pytest.raises(OptionError, match="must be at least 1 without fsync"):
        Durable(fsync=False)


async def test_a_url_is_no_client() -> None:
    """`redis="redis://..."` names `url=`, and shows no password."""
    client = cast("None", "redis://me:hunter2@localhost")
    makers: list[Callable[[], object]] = [
        lambda: Queue(Email, handle, redis=client),
        lambda: Producer(redis=client),
        lambda: SyncProducer(redis=client),
    ]
    for make in makers:
        with pytest.raises(OptionError, match="a URL is given as url=") as caught:
            make()
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", [print, Middleware, 3, None])
def test_middleware_must_be_a_list(given: object) -> None:
    """One object without a list is refused as an option."""
    middleware = cast("list[Middleware]", given)
    with pytest.raises(OptionError, match="must be a list of objects whose class"):
        Queue(Email, handle, url=NOWHERE, middleware=middleware)
    with pytest.raises(OptionError, match="must be a list of objects whose class"):
        Producer(NOWHERE, middleware=middleware)


def test_a_group_takes_a_list_of_queues() -> None:
    """A class, one queue, and queues that are not in a list are refused as options."""
    queue = Queue(Email, handle, url=NOWHERE)
    for wrong in ((Email,), (queue,), (queue, queue), (3,), ([queue], queue)):
        first, *more = cast("tuple[list[Queue[Email]], ...]", wrong)
        with pytest.raises(OptionError, match="must be a list of Queue objects"):
            QueueGroup(first, *more)


def takes_nothing() -> None:
    """A handler without a job."""


def takes_three(job: Email, ctx: object, more: int) -> None:
    """A handler that wants too much."""


@pytest.mark.parametrize(
    ("given", "takes"),
    [(takes_nothing, "no argument"), (takes_three, "job, ctx, more")],
)
def test_a_handler_of_other_arguments_is_named(
    given: Callable[..., object], takes: str
) -> None:
    """The message has its module and line, and what it takes."""
    line = given.__code__.co_firstlineno
    with pytest.raises(OptionError) as caught:
        Queue(Email, given, url=NOWHERE)
    assert str(caught.value).endswith(
        "must be a function of (job) or of (job, ctx);"
        f" {given.__name__} ({__name__}:{line}) takes {takes}"
    )


async def test_tls_to_a_plain_server_asks_whether_it_speaks_tls() -> None:
    """A server that takes the connection and stays silent may be one without TLS."""
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(
        lambda _, writer: held.append(writer), "127.0.0.1", 0
    )
    port = silent.sockets[0].getsockname()[1]
    async with Producer(f"rediss://127.0.0.1:{port}", connect_timeout=2.5) as producer:
        with pytest.raises(Unreachable, match="does the server speak TLS"):
            await producer.enqueue(email())
    for writer in held:
        writer.close()
    silent.close()


async def test_interrupted_wait_for_a_server_shows_no_error_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log had the reason; the traceback of a Ctrl-C is not one of the connection."""
    queue = Queue(Email, handle, url=NOWHERE)
    setting_up = asyncio.create_task(queue.init())
    await wait_until(lambda: "outage" in events(caplog.records))
    setting_up.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await setting_up
    await queue.aclose()
    assert raised.value.__context__ is None


async def test_delay_of_none_is_no_delay(redis_url: str, raw: Raw, stream: str) -> None:
    """What an optional value of the caller's is, `enqueue` and `Item` accept."""
    async with Queue(Email, handle, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email(), delay=None, at=None)
        await queue.enqueue_bulk([Item(email(), delay=None)])
    assert raw("XLEN", stream) == 2
