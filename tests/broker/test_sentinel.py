"""A primary that sentinels know: failovers cost no job that was proved, and few seconds."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, Protocol, Self, cast

import pytest
import redis
import redis.asyncio

from flowd import (
    AccessDenied,
    Durable,
    FlowdError,
    OptionError,
    OutcomeUnknown,
    Producer,
    Queue,
    SyncProducer,
    Unreachable,
)
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.failover import Load
from tests.support.raw import Raw
from tests.support.sentinels import NAME, Sentinels, port_of
from tests.support.servers import chosen
from tests.support.waiting import RECOVERY, wait_until


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    """1 primary, 2 replicas, 3 sentinels, for tests that leave them whole."""
    with _sentinels() as sentinels:
        yield sentinels


@pytest.fixture
def own_sentinels() -> Iterator[Sentinels]:
    """Likewise, of a test's own."""
    with _sentinels() as sentinels:
        yield sentinels


def _sentinels() -> Sentinels:
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    return Sentinels(program)


PROMOTING: Final = "+failover-state-send-slaveof-noone"
SWITCH: Final = "+switch-master"
ABORTED: Final = "-failover-abort-slave-timeout"

REPLACED: Final = r"is being replaced by 127\.0\.0\.1:"


class _FakeSentinel:
    """A sentinel for which this port of loopback is that of the primary.

    Attributes:
        port: its own.
    """

    def __init__(self, named: int) -> None:
        text = str(named).encode()
        place = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(text), text)
        self._answers = {
            **dict.fromkeys((b"SETNAME", b"LIB-NAME", b"LIB-VER"), b"+OK\r\n"),
            b"ID": b":7\r\n",
            b"GET-MASTER-ADDR-BY-NAME": place,
            b"REPLICAS": b"*0\r\n",
        }
        self._serving: set[asyncio.StreamWriter] = set()
        self._subscribed: dict[bytes, asyncio.StreamWriter] = {}
        self.port = 0

    def hears(self, event: str) -> bool:
        """Whether a client listens for it."""
        return event.encode() in self._subscribed

    def publish(self, event: str, text: str) -> None:
        """Send a message to the client that listens for it."""
        words = (b"message", event.encode(), text.encode())
        bulks = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self._subscribed[words[1]].write(b"*3\r\n" + b"".join(bulks))

    def promotes(self, successor: int, before: int) -> None:
        """Answer from now on that this replica is being promoted."""
        words = ["ip", "127.0.0.1", "port", str(successor), "flags", "slave,promoted"]
        words += ["master-host", "127.0.0.1", "master-port", str(before)]
        bulks = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        self._answers[b"REPLICAS"] = f"*1\r\n*10\r\n{bulks}".encode()

    def hang_up(self) -> None:
        """Close the connections that clients have to it."""
        for each in self._serving:
            each.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._serving.add(writer)
        while line := await reader.readline():
            word = line.strip()
            if word[:1] in (b"+", b"-"):
                self._subscribed[word] = writer
            writer.write(self._answers.get(word.upper(), b""))
        writer.close()
        self._serving.discard(writer)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await wait_until(lambda: not self._serving)


class _Manager(Protocol):
    """redis-py's sentinels, which have no types."""

    def master_for(self, name: str) -> redis.asyncio.Redis: ...

    def slave_for(self, name: str) -> redis.asyncio.Redis: ...


def _manager(ports: Sequence[int]) -> _Manager:
    places = [("127.0.0.1", port) for port in ports]
    made: object = redis.asyncio.Sentinel(places)  # type: ignore[no-untyped-call]
    return cast("_Manager", made)


def _blocking(ports: Sequence[int]) -> _Manager:
    places = [("127.0.0.1", port) for port in ports]
    made: object = redis.Sentinel(places)  # type: ignore[no-untyped-call]
    return cast("_Manager", made)


@pytest.mark.parametrize("scheme", ["url", "asyncio", "blocking"])
async def test_jobs_go_to_the_primary(
    sentinels: Sentinels, scheme: str, stream: str
) -> None:
    """As a URL names it, or a client of `Sentinel.master_for`, which may be a blocking one."""
    match scheme:
        case "url":
            producer = Producer(sentinels.url)
        case "asyncio":
            producer = Producer(redis=_manager(sentinels.ports).master_for(NAME))
        case _:
            producer = Producer(redis=_blocking(sentinels.ports).master_for(NAME))
    async with producer:
        job_id = await producer.enqueue(email())
    with Raw(sentinels.primary.url) as raw:
        ids = [each for each, _ in raw.entries(Email.SPEC.policy.stream)]
    assert job_id in ids


async def test_a_link_to_a_replica_is_not_used(sentinels: Sentinels) -> None:
    """A server that the sentinels name says itself whether it is a primary."""
    replica = next(each for each in sentinels.servers if each is not sentinels.primary)
    async with (
        _FakeSentinel(port_of(replica.url)) as fake,
        Producer(
            f"redis+sentinel://127.0.0.1:{fake.port}/{NAME}", connect_timeout=0.2
        ) as producer,
    ):
        with pytest.raises(FlowdError, match="no primary; its role is slave"):
            await producer.enqueue(email())


async def test_durable_jobs_survive_an_ordered_failover(
    own_sentinels: Sentinels, stream: str
) -> None:
    """Jobs that every replica had are not lost.

    Between the promotion and `+switch-master` the old primary goes on: what is stored there
    is lost without a proof, and what is settled there runs again.
    """
    durable = Durable(fsync=False, replicas=2)
    async with Load(own_sentinels.url, stream, durable=durable) as load:
        await asyncio.to_thread(own_sentinels.failover)
        await load.works()
    assert not load.lost()


async def test_jobs_survive_a_primary_that_is_killed(
    own_sentinels: Sentinels, stream: str
) -> None:
    """What its replicas had; the queue goes on with one of them."""
    durable = Durable(fsync=False, replicas=1)
    async with Load(own_sentinels.url, stream, durable=durable) as load:
        before = own_sentinels.primary
        before.kill()
        await asyncio.to_thread(own_sentinels.wait_for_another, before)
        await load.works()
    assert not load.lost()
    assert not load.twice()


async def test_jobs_survive_a_primary_that_is_cut_off(
    own_sentinels: Sentinels, stream: str
) -> None:
    """A frozen primary keeps its links and answers none: they are dropped, not waited for."""
    durable = Durable(fsync=False, replicas=1)
    async with Load(own_sentinels.url, stream, durable=durable) as load:
        before = own_sentinels.primary
        before.pause()
        await asyncio.to_thread(own_sentinels.wait_for_another, before)
        await load.works()
        before.resume()
        await load.works()
    assert not load.lost()
    assert not load.twice()


async def _waiting_read(connection: Connection) -> asyncio.Future[object]:
    """A read that would wait for minutes, once it is on its way."""
    waiting = connection.call("BLPOP", "nothing", 100, timeout=100.0)
    await wait_until(lambda: connection.client_id)
    return waiting


async def _is_dropped(waiting: asyncio.Future[object], why: str) -> None:
    with pytest.raises(OutcomeUnknown, match=why):
        await asyncio.wait_for(waiting, 2 * RECOVERY)


async def test_links_are_dropped_when_the_primary_is_another(
    own_sentinels: Sentinels,
) -> None:
    """At once: a read that waits for minutes ends, and so does an idle connection."""
    async with _watched(own_sentinels.url) as connection:
        waiting = await _waiting_read(connection)
        after = await asyncio.to_thread(own_sentinels.failover)
        with pytest.raises(FlowdError, match=rf"primary .*:{port_of(after.url)}"):
            await asyncio.wait_for(waiting, 2 * RECOVERY)
        assert await connection.call("SET", "here", 1) == b"OK"
    with Raw(after.url) as raw:
        assert raw("GET", "here") == b"1"


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary and its replica, without sentinels."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    with Server(binary=program, tcp=True) as first:
        follow = ("--replicaof", "127.0.0.1", str(port_of(first.url)))
        with Server(*follow, binary=program, tcp=True) as second:
            yield first, second


@asynccontextmanager
async def _watched(url: str) -> AsyncGenerator[Connection]:
    """A connection of a process that listens to sentinels."""
    address = Address.of(url)
    watch = asyncio.create_task(address.watch() or asyncio.sleep(0))
    try:
        async with aclosing(Connection(address)) as connection:
            yield connection
    finally:
        watch.cancel()
        await asyncio.wait([watch])


@asynccontextmanager
async def _followed(
    primary: Server,
) -> AsyncGenerator[tuple[_FakeSentinel, Connection]]:
    """A sentinel that names a primary, and a connection of a process that listens to it."""
    async with (
        _FakeSentinel(port_of(primary.url)) as fake,
        _watched(f"redis+sentinel://127.0.0.1:{fake.port}/{NAME}") as connection,
    ):
        await wait_until(lambda: fake.hears(ABORTED) and fake.hears(PROMOTING))
        assert await connection.call("SET", "before", 1) == b"OK"
        yield fake, connection


async def test_a_primary_that_is_being_replaced_is_left(
    pair: tuple[Server, Server],
) -> None:
    """At once, because what it stores is lost; for the replica, once that is a primary."""
    first, second = pair
    async with _followed(first) as (fake, connection):
        waiting = await _waiting_read(connection)
        fake.publish(PROMOTING, _promoting(first, second))
        await _is_dropped(waiting, REPLACED)
        setting = connection.call("SET", "here", 1)
        with Raw(second.url) as raw:
            await _until_looked_at(raw)
            assert not setting.done()
            raw("REPLICAOF", "NO", "ONE")
            assert await setting == b"OK"
            assert raw("GET", "here") == b"1"


async def test_a_promotion_that_began_before_the_first_connect_is_asked_for(
    pair: tuple[Server, Server],
) -> None:
    """For a second the sentinels name the old primary, which still says that it is one."""
    first, second = map(port_of, (each.url for each in pair))
    with Raw(pair[1].url) as raw:
        raw("REPLICAOF", "NO", "ONE")
        async with _FakeSentinel(first) as fake:
            fake.promotes(second, first)
            address = Address.of(f"redis+sentinel://127.0.0.1:{fake.port}/{NAME}")
            async with aclosing(Connection(address)) as connection:
                assert await connection.call("SET", "here", 1) == b"OK"
        assert raw("GET", "here") == b"1"


async def test_a_promotion_that_began_while_no_event_was_heard_is_asked_for(
    pair: tuple[Server, Server],
) -> None:
    """A process that loses a sentinel asks it once it is heard again."""
    first, second = map(port_of, (each.url for each in pair))
    async with _followed(pair[0]) as (fake, connection):
        waiting = await _waiting_read(connection)
        fake.promotes(second, first)
        fake.hang_up()
        await _is_dropped(waiting, REPLACED)


async def test_a_link_to_another_server_is_dropped_at_a_switch(
    pair: tuple[Server, Server],
) -> None:
    """`+switch-master` ends what leads elsewhere, without a word before it."""
    first, second = map(port_of, (each.url for each in pair))
    async with _followed(pair[0]) as (fake, connection):
        waiting = await _waiting_read(connection)
        place = "127.0.0.1"
        fake.publish(SWITCH, f"other {place} {first} {place} 1")
        fake.publish(SWITCH, f"{NAME} {place} {second} {place} {first}")
        fake.publish(SWITCH, f"{NAME} {place} {first} {place} {second}")
        await _is_dropped(waiting, f"the primary is {place}:{second}")


async def test_a_failover_that_is_given_up_leads_back(
    pair: tuple[Server, Server],
) -> None:
    """Messages about another primary mean nothing."""
    first, second = pair
    async with _followed(first) as (fake, connection):
        fake.publish(PROMOTING, _promoting(first, second).replace(NAME, "other"))
        fake.publish(PROMOTING, "slave that means nothing 1")
        fake.publish(PROMOTING, _promoting(first, second))
        await wait_until(lambda: not connection.carrier)
        setting = connection.call("SET", "here", 1)
        fake.publish(ABORTED, f"master other 127.0.0.1 {port_of(first.url)}")
        with Raw(second.url) as raw:
            await _until_looked_at(raw)
        assert not setting.done()
        fake.publish(ABORTED, f"master {NAME} 127.0.0.1 {port_of(first.url)}")
        assert await setting == b"OK"
        with Raw(first.url) as raw:
            assert raw("GET", "here") == b"1"


def _promoting(first: Server, second: Server) -> str:
    before, to = port_of(first.url), port_of(second.url)
    return f"slave 127.0.0.1:{to} 127.0.0.1 {to} @ {NAME} 127.0.0.1 {before}"


async def _until_looked_at(replica: Raw) -> None:
    """Return when it was asked again whether it is a primary by now."""

    def times() -> int:
        found = re.search(rb"cmdstat_role:calls=(\d+)", _commands(replica))
        return int(found[1]) if found else 0

    before = times()
    await wait_until(lambda: times() >= before + 3)


def _commands(replica: Raw) -> bytes:
    answer = replica("INFO", "commandstats")
    assert isinstance(answer, bytes)
    return answer


async def test_a_primary_without_its_replicas_is_asked_for_again(
    own_sentinels: Sentinels, stream: str
) -> None:
    """NOREPLICAS may mean that it was cut off, and that another has taken its place."""
    before = own_sentinels.primary
    with Raw(before.url) as raw:
        raw("CONFIG", "SET", "min-replicas-to-write", "3")
    address = Address.of(own_sentinels.url)
    async with aclosing(Connection(address)) as connection:
        with pytest.raises(FlowdError, match="NOREPLICAS"):
            await connection.call("SET", "here", 1)
        after = await asyncio.to_thread(own_sentinels.failover)
        assert await connection.call("SET", "here", 1) == b"OK"
    with Raw(after.url) as raw:
        assert raw("GET", "here") == b"1"


async def test_a_sentinel_that_is_away_is_passed_over(own_sentinels: Sentinels) -> None:
    """The next one is asked, also if the first takes the connection and is silent."""
    own_sentinels.processes[0].kill()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = own_sentinels.url.replace("://", f"://127.0.0.1:{port},")
        async with Producer(url) as producer:
            await producer.enqueue(email())


async def test_a_name_that_no_sentinel_knows_is_said(sentinels: Sentinels) -> None:
    """With the sentinels that were asked."""
    url = sentinels.url.replace(f"/{NAME}", "/nobody")
    async with Producer(url, connect_timeout=0.1) as producer:
        with pytest.raises(Unreachable, match="knows no primary 'nobody'"):
            await producer.enqueue(email())


def test_a_blocking_producer_finds_the_primary(sentinels: Sentinels) -> None:
    """As one of asyncio does."""
    with SyncProducer(sentinels.url) as producer:
        producer.enqueue(email())


async def test_jobs_run_where_the_sentinels_want_a_login(stream: str) -> None:
    """The primary's login stands in the URL, that of the sentinels in its options."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    with Sentinels(program, replicas=0, sentinels=1) as sentinels:
        with Raw(sentinels.primary.url) as raw:
            raw("ACL", "SETUSER", "worker", "on", ">one", "~*", "&*", "+@all")
        with Raw(f"redis://127.0.0.1:{sentinels.ports[0]}") as raw:
            raw("ACL", "SETUSER", "asker", "on", ">two", "+@all", "&*")
            raw("ACL", "SETUSER", "default", "off")
        url = sentinels.url.replace("://", "://worker:one@")
        handler = RecordingHandler()
        queue = Queue(
            Email,
            handler,
            url=f"{url}?sentinel_username=asker&sentinel_password=two",
            policy=policy(stream),
        )
        async with queue:
            queue.run()
            await queue.enqueue(email())
            await queue.drain()
            with Raw(sentinels.servers[0].url) as raw:
                clients = raw("CLIENT", "LIST")
            async with Producer(url, connect_timeout=0.1) as producer:
                with pytest.raises(AccessDenied, match=r"the sentinel .*sentinel_user"):
                    await producer.enqueue(email())
        assert handler.done == ["a"]
        assert isinstance(clients, bytes)
        assert clients.count(b"user=worker") == clients.count(b" name=flowd") > 0


@pytest.mark.parametrize(
    ("url", "shown", "rule"),
    [
        (
            "redis+sentinel://h1,h2",
            "redis+sentinel://h1,h2",
            "NAME is that of the primary",
        ),
        ("redis+sentinel://h1,h2/", "redis+sentinel://h1,h2/", "NAME is that"),
        ("redis+sentinel://h1/jobs/x", "redis+sentinel://h1/jobs/x", "NAME is that"),
        ("redis+sentinel:///jobs", "redis+sentinel:///jobs", "NAME is that"),
        ("redis+sentinel://h1,,h2/jobs", "redis+sentinel://h1,,h2/jobs", "NAME is"),
        ("redis+sentinel://h1:x/jobs", "redis+sentinel://h1:***", "NAME is that"),
        ("redis+sentinel://u:secret@h1", "redis+sentinel://***@h1", "NAME is that"),
        (
            "redis+sentinel://h1/jobs?tpyo=1",
            "redis+sentinel://h1/jobs?tpyo=***",
            "tpyo",
        ),
        ("redis+nothing://h1/jobs", "redis+nothing://h1/jobs", "must start with"),
        ("unix+sentinel://h1/jobs", "unix+sentinel://h1/jobs", "must start with"),
        (
            "rediss+sentinel://h1/jobs?ssl_ca_certs=/no/ca.pem",
            "rediss+sentinel://h1/jobs?ssl_ca_certs=***",
            "No such file",
        ),
    ],
)
def test_a_url_of_sentinels_that_is_none_is_refused(
    url: str, shown: str, rule: str
) -> None:
    """Where it is given, and without a password."""
    with pytest.raises(OptionError, match=rule) as refused:
        Producer(url)
    assert str(refused.value).startswith(f"url is {shown!r}; ")
    assert "secret" not in str(refused.value)


def test_an_address_of_sentinels_shows_no_password() -> None:
    """Neither that of the primary nor that of the sentinels; order makes no other address."""
    url = "redis+sentinel://u:secret@h1:1,h2/jobs/2?sentinel_password=secret"
    address = Address.of(url)
    assert str(address) == "redis+sentinel://***@h1:1,h2/jobs/2?sentinel_password=***"
    assert address == Address.of(url.replace("h1:1,h2", "h2,h1:1"))
    assert address != Address.of(url.replace("/jobs/", "/others/"))
    assert hash(address) == hash(Address.of(url.replace("h1:1,h2", "h2,h1:1")))


def test_a_client_of_replicas_is_refused() -> None:
    """No job can run there."""
    with pytest.raises(OptionError, match=r"is of replicas.*give that of master_for"):
        Producer(redis=_manager([1]).slave_for(NAME))


def test_sentinels_without_the_name_of_a_primary_are_refused() -> None:
    """The error says which call gives a client; so it does of a class."""
    for given in (_manager([1]), _blocking([1])):
        with pytest.raises(OptionError, match=r"give its \.master_for\(NAME\)"):
            Producer(redis=cast("redis.Redis", given))
    with pytest.raises(OptionError, match="must be a redis-py client"):
        Producer(redis=cast("redis.Redis", redis.RedisCluster))
