"""The rights that the page on security lists are enough, and no more than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

import pytest

from flowd import (
    AccessDenied,
    Claimer,
    Context,
    Durable,
    Item,
    NotDurable,
    Producer,
    Queue,
    Reject,
    StreamShared,
)
from flowd.embedded import Server
from flowd.model.keys import Keys
from flowd.ops.rights import ROLES as COMMANDS
from flowd.ops.rights import right
from jobs.email import Email
from tests.ops.page import granted, knows, refused, url_of
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import consumers, die_with
from tests.support.program import LIMIT, Program
from tests.support.raw import Raw
from tests.support.waiting import wait_until

STREAM, GROUP = "emails", "senders"

# Said and asked at each connect; without the right nothing else is lacking. Before Redis 7
# a subcommand that is refused has the name of its command.
INTRODUCTION = {"client", "client|setinfo"}
WORKERS_INTRODUCTION = {*INTRODUCTION, "client|info", "client|kill"}


async def produce(url: str) -> None:
    """Enqueue in every way there is."""
    async with Producer(url) as producer:
        await producer.enqueue(email("plain"))
        first = await producer.enqueue(email("keyed"), key="a")
        assert await producer.enqueue(email("again"), key="a") == first
        await producer.enqueue(email("delayed"), delay=0.1)
        await producer.enqueue_bulk(
            [email("bulk"), Item(email("both"), delay=0.1, key="b")]
        )
        wish = Durable(fsync=False, replicas=1, timeout=0.001)
        with pytest.raises(NotDurable, match="0 of 1 replicas"):
            await producer.enqueue(email("replica"), durable=wish)


EASY = 10
TOGETHER = f"""for n = 1, {EASY} do
  redis.call('XADD', KEYS[1], '*', 'to', 'easy', 'subject', 'x')
end"""

JOBS = {"plain", "keyed", "delayed", "bulk", "both", "replica"}


class Handler:
    """Fails in every way once, then succeeds; `held` runs until it is cancelled.

    Each says how far it is, but for `easy`, which does nothing.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.done: list[str] = []

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        if job.to == "easy":
            self.done.append(job.to)
            return
        await ctx.progress(0.5, job.to)
        first = job.to not in self.started
        self.started.append(job.to)
        if job.to == "reject":
            raise Reject("no")
        if job.to == "held":
            await asyncio.Event().wait()
        if first:
            raise ValueError(job.to)
        self.done.append(job.to)


async def work(url: str, raw: Raw) -> Handler:
    """Run, retry, bury, take over, promote, renew, reconnect, release and leave."""
    handler = Handler()
    queue = Queue(
        *(Email, handler),
        url=url,
        policy=policy(STREAM, lease=10.0, backoff=0.05),
        claimer=Claimer(interval=0.05),
        block=0.05,
    )
    await queue.init()
    other = Queue(Email, handler, url=url, group="auditors")
    with pytest.raises(StreamShared):
        await other.init()
    await other.aclose()
    die_with(raw, STREAM, GROUP, jobs=1)
    handle = queue.run()
    await queue.drain()
    # They come in one read, and are deleted by where they end.
    raw("EVAL", TOGETHER, 1, STREAM)
    await wait_until(lambda: handler.done.count("easy") == EASY)
    for to in ("reject", "held"):
        raw("XADD", STREAM, "*", "to", to, "subject", "x")
    await wait_until(lambda: "held" in handler.started)
    raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for to in ("one", "two"):
        raw("XADD", STREAM, "*", "to", to, "subject", "x", "_id", "the same")
    await wait_until(lambda: {"one", "two"} <= set(handler.done))
    await handle.shutdown(grace=0.0)
    await queue.aclose()
    return handler


def used(raw: Raw) -> set[str]:
    """Every command that was carried out, in scripts as well, as `xinfo|groups`."""
    lines = raw("INFO", "commandstats")
    assert isinstance(lines, bytes)
    names = (line.partition(":")[0] for line in lines.decode().splitlines())
    return {name.removeprefix("cmdstat_") for name in names if "cmdstat" in name}


def idle_rights(raw: Raw, role: str) -> set[str]:
    """What a role was granted and did not use; 6.2 counts no subcommands."""
    whole = used(raw)
    return {
        name
        for name in granted(role)
        if name not in whole and name.partition("|")[0] not in whole
    }


async def bury(url: str, *keys: str) -> None:
    """Leave a dead letter for each idempotency key."""

    def reject(job: Email) -> None:
        raise Reject("no")

    async with Queue(Email, reject, url=url) as queue:
        for key in keys:
            await queue.enqueue(email(key), key=key)
        queue.run()
        await queue.drain()


def administer(url: str, folder: Path) -> Mapping[str, str]:
    """Run every command of an operator that ends; returns what each printed."""
    flowd = Program(folder, url)
    printed: dict[str, str] = {}

    def run(*words: str) -> str:
        done = flowd(*words)
        assert not done.err, done.err
        printed[" ".join(words[:2])] = done.out
        return done.out

    run("stats")
    run("consumers")
    run("jobs", "list", "--stream", STREAM)
    run("jobs", "show", "later", "--stream", STREAM)
    run("jobs", "enqueue", "jobs.email:Email", "to=a", "subject=hi")
    letters = ("--stream", STREAM)
    first = run("dlq", "list", *letters).splitlines()[1].split()[0]
    run("dlq", "show", first, *letters)
    run("dlq", "redrive", first, *letters)
    run("dlq", "purge", "--all", "--yes", *letters)
    run("jobs", "run-now", "later", "--stream", STREAM)
    run("jobs", "cancel", "later", "--stream", STREAM)
    run("pause", STREAM)
    run("resume", STREAM)
    run("doctor")
    return printed


async def test_a_producer_may_enqueue(own_server: Server, guarded: Raw) -> None:
    """It may do what it needs, and uses every right that it has."""
    await produce(url_of(own_server, "producer"))
    idle = idle_rights(guarded, "producer")

    assert not idle
    assert refused(guarded) <= INTRODUCTION
    assert guarded("XLEN", STREAM) == 4
    assert guarded("ZCARD", f"{{{STREAM}}}:delayed") == 2


async def test_a_producer_may_wait_for_the_disk(
    own_server: Server, guarded: Raw
) -> None:
    """With the lines for newer servers it may ask for a proof."""
    if not knows(guarded, "WAITAOF"):
        pytest.skip("this server has no WAITAOF")
    async with Producer(url_of(own_server, "producer")) as producer:
        await producer.enqueue(email(), durable=True)

    assert not refused(guarded)


async def test_a_worker_may_work(own_server: Server, guarded: Raw) -> None:
    """It may do what it needs, and uses every right that it has."""
    await produce(url_of(own_server, "producer"))
    guarded("CONFIG", "RESETSTAT")
    with Raw(own_server.url) as follower:
        follower("SUBSCRIBE", Keys(STREAM, GROUP).tail)
        handler = await work(url_of(own_server, "worker"), guarded)
    idle = idle_rights(guarded, "worker")

    assert not idle
    assert refused(guarded) <= WORKERS_INTRODUCTION
    assert sorted(handler.done) == sorted([*JOBS, *["easy"] * EASY, "one", "two"])
    assert guarded("XLEN", f"{{{STREAM}}}:{GROUP}:dlq") == 1
    assert [fields[b"to"] for _, fields in guarded.entries(STREAM)] == [b"held"]
    assert consumers(guarded, STREAM, GROUP) == ["dead"]
    assert guarded("SMEMBERS", "flowd:queues") == [f"{STREAM}\n{GROUP}".encode()]


async def test_a_worker_survives_a_server_that_forgot(
    own_server: Server, guarded: Raw
) -> None:
    """It may send its scripts again, and set up a group that is gone."""
    recorder = RecordingHandler()
    url = url_of(own_server, "worker")
    async with Queue(Email, recorder, url=url, policy=policy(STREAM)) as queue:
        queue.run()
        guarded("SCRIPT", "FLUSH")
        guarded("FLUSHALL")
        await produce(url_of(own_server, "producer"))
        await queue.drain()

    assert set(recorder.done) == JOBS
    assert refused(guarded) <= WORKERS_INTRODUCTION


@pytest.mark.limit(240.0)
async def test_an_admin_may_administer(
    own_server: Server, guarded: Raw, tmp_path: Path
) -> None:
    """It may do what it needs, and uses every right that it has."""
    await bury(own_server.url, "a", "b", "c")
    guarded("ZADD", f"{{{STREAM}}}:delayed", 1, "later")
    guarded("XADD", STREAM, "*", "to", "running", "subject", "x")
    die_with(guarded, STREAM, GROUP, jobs=1)
    guarded("CONFIG", "RESETSTAT")
    url = url_of(own_server, "admin")
    printed = await asyncio.to_thread(administer, url, tmp_path)
    with Program(tmp_path, url).start("tail", "--stream", STREAM):
        await wait_until(lambda: guarded.calls("subscribe"), within=LIMIT)
    explains = knows(guarded, "ACL|DRYRUN")
    idle = idle_rights(guarded, "admin") - (set() if explains else {"acl|dryrun"})

    assert not idle
    assert printed["dlq purge"] == "2 jobs deleted\n"
    assert guarded("EXISTS", *(f"{{{STREAM}}}:key:{key}" for key in "abc")) == 1
    assert "cannot be seen" not in printed["doctor"]
    assert ("user admin may administer" in printed["doctor"]) is explains


@pytest.mark.parametrize("again", [False, True])
async def test_a_worker_that_may_not_ask_for_groups_is_refused(
    own_server: Server, guarded: Raw, *, again: bool
) -> None:
    """Without the right it would not see a second group; at a restart as at first."""
    guarded("ACL", "SETUSER", "worker", "-xinfo")
    if again:
        guarded("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM")
    queue = Queue(Email, RecordingHandler(), url=url_of(own_server, "worker"))
    with pytest.raises(AccessDenied, match=r"(?i)xinfo.groups"):
        await queue.init()
    await queue.aclose()


async def test_a_worker_that_may_no_longer_ask_for_groups_settles_nothing(
    own_server: Server, guarded: Raw
) -> None:
    """It ends with the name of the command; what a second group has to read stays."""
    recorder = RecordingHandler(closed=True)
    queue = Queue(
        Email, recorder, url=url_of(own_server, "worker"), policy=policy(STREAM)
    )
    await queue.init()
    handle = queue.run()
    guarded("XADD", STREAM, "*", "to", "a", "subject", "x")
    await wait_until(lambda: recorder.started)
    guarded("ACL", "SETUSER", "worker", "-xinfo")
    guarded("XGROUP", "CREATE", STREAM, "auditors", "0")
    recorder.gate.set()
    with pytest.raises(AccessDenied, match=r"(?i)xinfo.groups"):
        await handle.wait()
    with pytest.raises(AccessDenied):
        await queue.aclose()

    assert guarded("XLEN", STREAM) == 1


async def test_enqueueing_worker_needs_both_roles(
    own_server: Server, guarded: Raw
) -> None:
    """A worker whose handlers enqueue has enough with the producer's lines."""
    rights = [f"+{each}" for each in granted("producer")]
    guarded("ACL", "SETUSER", "worker", *rights)
    url = url_of(own_server, "worker")
    await produce(url)
    async with Queue(Email, recorder := RecordingHandler(), url=url) as queue:
        queue.run()
        await queue.enqueue(email("own"), key="c")
        await queue.drain()

    assert set(recorder.done) == {*JOBS, "own"}


@pytest.mark.parametrize(
    ("stream", "patterns"),
    [("a{b}", "~a{b} ~a{b}:*"), ("shop.mail", "~shop.* ~{shop.*}:*"), ("any", "~*")],
)
async def test_other_key_patterns_are_enough(
    own_server: Server, guarded: Raw, stream: str, patterns: str
) -> None:
    """Braces in a name, a common beginning, and all queues: as the page says."""
    for role in ("producer", "worker"):
        guarded("ACL", "SETUSER", role, "resetkeys", "~flowd:queues", *patterns.split())
    recorder = RecordingHandler()
    rules = policy(stream)
    async with (
        Queue(
            Email, recorder, url=url_of(own_server, "worker"), policy=rules
        ) as worker,
        aclosing(
            Queue(Email, recorder, url=url_of(own_server, "producer"), policy=rules)
        ) as producer,
    ):
        worker.run()
        await producer.enqueue(email("plain"))
        await producer.enqueue(email("delayed"), delay=0.05, key="a")
        await worker.drain()

    assert sorted(recorder.done) == ["delayed", "plain"]


async def test_another_database_takes_a_right(own_server: Server, guarded: Raw) -> None:
    """With `+select` a producer may use the database that its URL names."""
    url = f"{url_of(own_server, 'producer')}?db=1"
    async with Producer(url) as producer:
        with pytest.raises(AccessDenied, match="select"):
            await producer.enqueue(email())
        guarded("ACL", "SETUSER", "producer", "+select")
        await producer.enqueue(email())

    guarded("SELECT", 1)
    assert guarded("XLEN", STREAM) == 1


@pytest.mark.parametrize(
    ("role", "verb"),
    [("producer", "enqueue"), ("worker", "work"), ("admin", "administer")],
)
def test_the_doctor_knows_the_same_roles(role: str, verb: str) -> None:
    """What `flowd doctor` looks for is what the page grants."""
    assert {right(command) for command in COMMANDS[verb]} == granted(role)
