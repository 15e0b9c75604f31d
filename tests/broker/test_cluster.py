"""A Redis Cluster: each queue at the node that has its slot, and after it when it moves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import pytest
import redis.asyncio
import redis.cluster

from flowd import (
    Durable,
    FatalError,
    FlowdError,
    Job,
    NotReady,
    OptionError,
    OutcomeUnknown,
    Producer,
    Queue,
    QueueGroup,
    SyncProducer,
    Unreachable,
)
from flowd.broker.connection import Connection, connection_to
from flowd.broker.durability import Durability, DurabilityChecker
from flowd.broker.extension import EnqueueCall
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.cli import main
from flowd.embedded import Server
from flowd.model.keys import slot_of
from flowd.ops import examine, overview
from flowd.ops.tail import follow
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.cluster import NODE_TIMEOUT, Cluster
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.failover import Load
from tests.support.raw import Raw
from tests.support.servers import chosen
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """3 masters with a replica each, for tests that leave it whole."""
    with _cluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Likewise, of a test's own."""
    with _cluster() as cluster:
        yield cluster


def _cluster() -> Cluster:
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    return Cluster(program)


def _streams(cluster: Cluster, stream: str) -> list[str]:
    """Two streams at each of the masters."""
    found: dict[int, list[str]] = {}
    number = 0
    while len(found) < 3 or min(map(len, found.values())) < 2:
        number += 1
        name = f"{stream}.{number}"
        found.setdefault(cluster.owner(name).pid, []).append(name)
    return [name for names in found.values() for name in names[:2]]


@asynccontextmanager
async def _running(
    url: str, streams: list[str], handler: RecordingHandler
) -> AsyncGenerator[list[Queue[Email]]]:
    queues = [Queue(Email, handler, url=url, policy=policy(each)) for each in streams]
    async with QueueGroup(queues) as group:
        group.run_all()
        yield queues


async def test_queues_run_at_all_nodes(cluster: Cluster, stream: str) -> None:
    """Plain, keyed, delayed, many and durable jobs, each queue at the node of its slot."""
    streams = _streams(cluster, stream)
    handler = RecordingHandler()
    async with _running(cluster.url, streams, handler) as queues:
        for queue in queues:
            first = await queue.enqueue(email(), key="k")
            assert await queue.enqueue(email(), key="k") == first
            await queue.enqueue(email(), delay=0.1)
            await queue.enqueue(email(), durable=Durable(fsync=False, replicas=1))
            await queue.enqueue_bulk(email() for _ in range(20))
        for queue in queues:
            await queue.drain()
        held = {
            each: cluster.call(cluster.owner(each), "EXISTS", each) for each in streams
        }
    assert len(handler.done) == 23 * len(streams)
    assert held == dict.fromkeys(streams, "1")


async def test_a_list_that_its_node_lost_is_written_again(
    cluster: Cluster, stream: str
) -> None:
    """Though the queues are at other nodes, which lost nothing."""
    streams = _streams(cluster, stream)
    names = [f"{each}\nsenders" for each in streams]
    node = cluster.owner("flowd:queues")

    def are_listed() -> bool:
        with Raw(node.url) as raw:
            return raw("SMISMEMBER", "flowd:queues", *names) == [1] * len(names)

    async with _running(cluster.url, streams, RecordingHandler()):
        await wait_until(are_listed)
        cluster.call(node, "DEL", "flowd:queues")
        cluster.call(node, "CLIENT", "KILL", "TYPE", "normal")
        await wait_until(are_listed)


async def test_a_process_has_one_connection_for_commands_to_a_node(
    cluster: Cluster, stream: str
) -> None:
    """However many queues are there."""
    streams = _streams(cluster, stream)
    async with _running(cluster.url, streams, RecordingHandler()) as queues:
        for queue in queues:
            await queue.enqueue(email())
        nodes = cluster.others(cluster.servers[-1])
        await wait_until(lambda: {_named(cluster, node) for node in nodes} == {(1, 2)})


def _named(cluster: Cluster, node: Server) -> tuple[int, int]:
    """How many connections for commands, and for reads, a node has."""
    clients = cluster.call(node, "CLIENT", "LIST")
    return clients.count(" name=flowd "), clients.count(" name=flowd-reader ")


async def test_a_producer_of_many_streams_finds_their_nodes(cluster: Cluster) -> None:
    """Jobs of several classes in one call, also where asyncio is not used."""
    jobs: list[Job] = [email(), Crawl(url="u", priority=1, tags=[])]
    async with Producer(cluster.url) as producer:
        assert len(await producer.enqueue_bulk(jobs)) == 2
    with SyncProducer(cluster.url) as blocking:
        assert len(blocking.enqueue_bulk(jobs)) == 2
    for job in (Email, Crawl):
        stream = job.SPEC.policy.stream
        assert cluster.call(cluster.owner(stream), "XLEN", stream) == "2"
        cluster.call(cluster.owner(stream), "DEL", stream)


async def test_a_client_of_a_cluster_lends_its_settings(
    cluster: Cluster, stream: str
) -> None:
    """One of asyncio, or a blocking one."""
    port = cluster.ports[0]
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=port)
    blocking = redis.cluster.RedisCluster(host="127.0.0.1", port=port)
    queue = Queue(Email, RecordingHandler(), redis=client, policy=policy(stream))
    async with queue, Producer(redis=blocking) as producer:
        await queue.enqueue(email())
        await producer.enqueue(email())
    blocking.close()
    for each in (stream, Email.SPEC.policy.stream):
        assert cluster.call(cluster.owner(each), "XLEN", each) == "1"
        cluster.call(cluster.owner(each), "DEL", each)


async def test_operators_see_all_nodes(cluster: Cluster, stream: str) -> None:
    """The queues of all nodes are listed; each master is checked."""
    streams = _streams(cluster, stream)
    async with _running(cluster.url, streams, RecordingHandler()):
        connection = connection_to(Address.of(cluster.url))
        async with aclosing(connection):
            views = await overview(connection)
            findings = await examine(connection)
    seen = {each.stream for each in views if not isinstance(each, FlowdError)}
    assert seen >= set(streams)
    versions = [each.text for each in findings if each.check == "version"]
    assert sorted(text.partition(": ")[0] for text in versions) == sorted(
        server.url.removeprefix("redis://")
        for server in cluster.others(cluster.servers[-1])
    )
    queues = [each for each in findings if each.check == "queue"]
    mine = [each.text for each in queues if each.text.startswith(f"{stream}.")]
    assert len(mine) == len(streams)


async def test_events_of_a_queue_can_be_followed(cluster: Cluster, stream: str) -> None:
    """At the node where its workers ask who listens."""
    streams = _streams(cluster, stream)
    address = Address.of(cluster.url)
    async with _running(cluster.url, streams, RecordingHandler()) as queues:
        for queue in queues[::2]:
            channel = f"{{{queue.policy.stream}}}:{queue.policy.group}:tail"
            async with aclosing(follow(address, channel, lambda _: None)) as events:
                first = asyncio.ensure_future(anext(events))
                while not first.done():
                    await queue.enqueue(email())
                    await asyncio.sleep(0.05)
                assert (await first).event == "done"


async def test_queues_go_on_after_a_failover(own_cluster: Cluster, stream: str) -> None:
    """CLUSTER FAILOVER: no job is lost or runs twice, and none waits for long."""
    streams = _streams(own_cluster, stream)
    async with Load(own_cluster.url, *streams) as load:
        await asyncio.to_thread(own_cluster.failover, streams[0])
        await load.works()
    assert not load.lost()
    assert not load.twice()


async def test_durable_jobs_survive_a_takeover(
    own_cluster: Cluster, stream: str
) -> None:
    """CLUSTER FAILOVER TAKEOVER asks no one: the old master notices a moment later."""
    streams = _streams(own_cluster, stream)
    durable = Durable(fsync=False, replicas=1)
    async with Load(own_cluster.url, *streams, durable=durable) as load:
        await asyncio.to_thread(own_cluster.failover, streams[0], "TAKEOVER")
        await load.works()
    assert not load.lost()


async def test_durable_jobs_survive_a_master_that_is_killed(
    own_cluster: Cluster, stream: str
) -> None:
    """Its replica takes over, and has all that was proved."""
    streams = _streams(own_cluster, stream)
    durable = Durable(fsync=False, replicas=1, timeout=1.0)
    async with Load(own_cluster.url, *streams, durable=durable) as load:
        killed = own_cluster.owner(streams[0])
        killed.kill()
        # Without a second replica nothing is proved there any more, and yet all is run.
        await asyncio.to_thread(own_cluster.wait_for_another, streams[0])
        await load.runs_on(*streams)
        load.stop()
    assert not load.lost()
    assert not load.twice()


async def test_a_proof_is_that_of_the_node_that_has_the_job(
    own_cluster: Cluster, stream: str
) -> None:
    """A slot that moved meanwhile is at a node that has nothing to prove."""
    slot, source = slot_of(stream), own_cluster.owner(stream)
    target = own_cluster.others(source)[0]
    checker = DurabilityChecker(Address.of(own_cluster.url))
    durable = Durability(checker, Durable(fsync=False, replicas=1))
    async with aclosing(checker):
        stored = Stream(connection_to(Address.of(own_cluster.url)), stream, "senders")
        call = durable.on_enqueue(EnqueueCall(stream=stored, jobs=[], lasts=1.0))
        here = call.stream.connection
        assert call.confirmation is not None
        await call.confirmation.check()
        await here.call("XADD", stream, "*", "to", "a", "subject", "hi")
        await call.confirmation.confirm(["1-0"])
        own_cluster.begin_move(slot, source, target)
        own_cluster.move_keys(slot, source, target)
        own_cluster.end_move(slot, target)
        with pytest.raises(NotReady, match="MOVED"):
            await here.call("XLEN", stream)
        assert await here.call("XLEN", stream) == 1
        with pytest.raises(OutcomeUnknown, match="connection that did it was lost"):
            await call.confirmation.confirm(["1-0"])


async def test_queues_go_on_after_a_master_is_cut_off(
    own_cluster: Cluster, stream: str
) -> None:
    """A frozen master keeps its links; what it had accepted is at its replica."""
    streams = _streams(own_cluster, stream)
    async with Load(own_cluster.url, *streams) as load:
        frozen = own_cluster.owner(streams[0])
        frozen.pause()
        await asyncio.to_thread(own_cluster.wait_for_another, streams[0])
        await load.works()
        frozen.resume()
        await load.works()
    assert not load.lost()
    assert not load.twice()


async def test_a_queue_follows_its_slot(own_cluster: Cluster, stream: str) -> None:
    """Moved the classic way under load, key by key; so does who listens to its events."""
    streams = _streams(own_cluster, stream)
    slot, source = slot_of(streams[0]), own_cluster.owner(streams[0])
    target = own_cluster.others(source)[0]
    channel = f"{{{streams[0]}}}:nothing"
    async with (
        aclosing(follow(Address.of(own_cluster.url), channel, print)) as events,
        Load(own_cluster.url, *streams) as load,
    ):
        following = asyncio.ensure_future(anext(events))
        await wait_until(lambda: _listen(source, channel))
        for step in (own_cluster.begin_move, own_cluster.move_keys):
            await asyncio.to_thread(step, slot, source, target)
        await asyncio.to_thread(own_cluster.end_move, slot, target)
        await load.works()
        await wait_until(lambda: _listen(target, channel), within=6.0)
        following.cancel()
        await asyncio.wait([following])
    assert own_cluster.owner(streams[0]) is target
    assert not load.lost()
    assert not load.twice()


def _listen(node: Server, channel: str) -> bool:
    """Whether a client of this node listens to the channel."""
    with Raw(node.url) as raw:
        return raw("PUBSUB", "NUMSUB", channel) == [channel.encode(), 1]


async def test_refusals_while_a_slot_moves_are_survived(
    own_cluster: Cluster, stream: str
) -> None:
    """MOVED, ASK, TRYAGAIN and CLUSTERDOWN: nothing was done, and the next try may do."""
    slot, source = slot_of(stream), own_cluster.owner(stream)
    target = own_cluster.others(source)[0]
    connection = connection_to(Address.of(own_cluster.url))
    here = connection.at(stream)
    async with aclosing(connection):
        await here.call("SET", f"{{{stream}}}1", 1)
        own_cluster.begin_move(slot, source, target)
        with pytest.raises(NotReady, match="ASK"):
            await here.call("GET", f"{{{stream}}}2")
        with pytest.raises(NotReady, match=r"TRYAGAIN|ASK"):
            await here.call("MGET", f"{{{stream}}}1", f"{{{stream}}}2")
        own_cluster.move_keys(slot, source, target)
        own_cluster.end_move(slot, target)
        with pytest.raises(NotReady, match="MOVED"):
            await here.call("GET", f"{{{stream}}}1")
        assert await here.call("GET", f"{{{stream}}}1") == b"1"
        for server in own_cluster.others(target):
            server.kill()
        with pytest.raises(NotReady, match="CLUSTERDOWN"):
            await _ask_on(here, f"{{{stream}}}1")


async def _ask_on(connection: Connection, key: str) -> None:
    async with asyncio.timeout(20 * NODE_TIMEOUT):
        while True:
            await connection.call("GET", key)
            await asyncio.sleep(0.05)


async def test_links_to_a_node_without_slots_are_dropped(
    own_cluster: Cluster, stream: str
) -> None:
    """Once the map says so; a master that was cut off would answer when it is back."""
    before = own_cluster.owner(stream)
    connection = connection_to(Address.of(own_cluster.url))
    async with aclosing(connection):
        here = connection.at(stream)
        assert await here.call("SET", stream, 1) == b"OK"
        assert _named(own_cluster, before) == (1, 0)
        own_cluster.failover(stream)
        assert _named(own_cluster, before) == (1, 0)
        async with asyncio.timeout(20 * NODE_TIMEOUT):
            while _named(own_cluster, before) != (0, 0):
                await connection.primaries()  # of a node that may not know it yet
                await asyncio.sleep(0.01)
        assert await here.call("GET", stream) == b"1"


async def test_keys_of_two_slots_are_a_fault(cluster: Cluster) -> None:
    """CROSSSLOT would be refused without end."""
    connection = connection_to(Address.of(cluster.url))
    async with aclosing(connection):
        with pytest.raises(FatalError, match="please report it: CROSSSLOT"):
            await connection.call("MGET", "a", "b")


async def test_a_plain_url_of_a_node_says_what_to_write(
    cluster: Cluster, stream: str
) -> None:
    """At once, to a worker and to a producer: it would be refused without end."""
    for server in cluster.others(cluster.owner(stream)):
        queue = Queue(Email, RecordingHandler(), url=server.url, policy=policy(stream))
        for step in (queue.init, lambda queue=queue: queue.enqueue(email())):
            with pytest.raises(FatalError, match=r"whose URL is redis\+cluster://HOST"):
                await step()
        await queue.aclose()


async def test_doctor_speaks_of_a_cluster_that_is_down(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the node that is away; other commands say to ask it."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    with Cluster(program, replicas=0) as cluster:
        lost, *others = cluster.servers
        lost.kill()
        for each in others:
            await wait_until(partial(_is_down, cluster, each))
        connection = connection_to(Address.of(cluster.url))
        async with aclosing(connection):
            found = await examine(connection)
        await asyncio.to_thread(main, ["cron", "list", "--url", cluster.url])
    said = capsys.readouterr().err
    assert "CLUSTERDOWN" in said
    assert "`flowd doctor` says which node is away" in said
    wrong = [each for each in found if each.check == "server"]
    assert [each.level for each in wrong] == ["wrong"]
    assert lost.url.removeprefix("redis://") in wrong[0].text
    assert sum(each.check == "version" for each in found) == len(others)
    assert found[-1].check == "queues"
    assert "CLUSTERDOWN" in found[-1].text


def _is_down(cluster: Cluster, node: Server) -> bool:
    return "cluster_state:fail" in cluster.call(node, "CLUSTER", "INFO")


async def test_a_node_that_lists_no_queue_is_not_taken_for_an_empty_server() -> None:
    """A plain URL of it says what to write; of the whole cluster the list is empty."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    with Cluster(program, masters=1, replicas=0) as cluster:
        async with aclosing(Connection(Address.of(cluster.servers[0].url))) as node:
            with pytest.raises(FatalError, match=r"URL is redis\+cluster://"):
                await overview(node)
        async with aclosing(connection_to(Address.of(cluster.url))) as whole:
            assert await overview(whole) == []


async def test_doctor_knows_a_node_by_a_plain_url(cluster: Cluster) -> None:
    """It says what to write before a failover ends the workers."""
    connection = Connection(Address.of(cluster.servers[0].url))
    async with aclosing(connection):
        found = {each.check: each for each in await examine(connection)}
    assert found["cluster"].level == "warn"
    assert "redis+cluster://" in found["cluster"].advice


async def test_a_server_that_is_no_cluster_is_said() -> None:
    """With the URL that it has."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    with Server(binary=program, tcp=True) as server:
        url = server.url.replace("redis://", "redis+cluster://")
        async with Producer(url) as producer:
            with pytest.raises(
                FatalError, match="no Redis Cluster; its URL is redis://"
            ):
                await producer.enqueue(email())


async def test_no_node_of_a_cluster_can_be_reached() -> None:
    """A producer gives up in time, and names the nodes that it knew."""
    url = "redis+cluster://127.0.0.1:1,127.0.0.1:2"
    async with Producer(url, connect_timeout=0.1) as producer:
        with pytest.raises(Unreachable, match=r"127.0.0.1:1: C.* 127.0.0.1:2: C"):
            await producer.enqueue(email())


async def test_nodes_without_tls_are_said() -> None:
    """A server that waits for its own protocol is silent to TLS, not away."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"rediss+cluster://127.0.0.1:{port}?ssl_cert_reqs=none"
        async with Producer(url, connect_timeout=0.1) as producer:
            with pytest.raises(Unreachable, match="does the server speak TLS"):
                await producer.enqueue(email())


@pytest.mark.parametrize(
    "name", ["a", "a}b", "{}{x}", "{}a", "a{}", "{a}b", "a{b}c{d}", "{{a}}", "}{a", "é"]
)
def test_a_slot_is_that_of_redis(cluster: Cluster, name: str) -> None:
    """By its own rule for what of a name is hashed."""
    assert cluster.call(cluster.servers[0], "CLUSTER", "KEYSLOT", name) == str(
        slot_of(name)
    )


@pytest.mark.parametrize("name", ["a}b", "{}{x}", "{}a", "a{}", "a{b}c"])
async def test_a_queue_of_any_name_runs(cluster: Cluster, name: str) -> None:
    """Its keys are in one slot, however strange its stream is called."""
    handler = RecordingHandler()
    async with _running(cluster.url, [name], handler) as (queue,):
        await queue.enqueue(email(), key="k", delay=0.01)
        await queue.drain()
    assert handler.done == ["a"]


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("redis+cluster://", "some of the nodes"),
        ("redis+cluster://h1,,h2", "some of the nodes"),
        ("redis+cluster://h1/1", "no database"),
        ("redis+cluster://h1/jobs", "no database"),
        ("redis+cluster://h1?db=1", "no database"),
        ("redis+cluster://h1#0", "some of the nodes"),
        ("redis+cluster://h1, h2", "no host has a blank in its name"),
        ("redis://h1,h2", r"comma .* redis\+cluster://HOST:PORT,HOST:PORT"),
        (
            "redis://h1:6379,h2:6379/0",
            r"comma .* redis\+sentinel://HOST:PORT,HOST:PORT",
        ),
        ("redis+cluster://u:p@h1:x", "some of the nodes"),
        ("redis+cluster://h1?tpyo=1", "tpyo is no option"),
        ("redis+cluster://h1:99999", "with numbers for PORT"),
        ("rediss+cluster://h1?ssl_ca_certs=/no/ca.pem", "No such file"),
    ],
)
def test_a_url_of_a_cluster_that_is_none_is_refused(url: str, rule: str) -> None:
    """Where it is given."""
    with pytest.raises(OptionError, match=rule):
        Producer(url)


def test_an_address_of_a_cluster_shows_no_password() -> None:
    """Equal ones name the same nodes, in whatever order."""
    address = Address.of("redis+cluster://u:secret@h1:1,h2/0")
    assert str(address) == "redis+cluster://***@h1:1,h2/0"
    assert address == Address.of("redis+cluster://u:secret@h2,h1:1")
    assert hash(address) == hash(Address.of("redis+cluster://u:secret@h2,h1:1"))
    assert address != Address.of("redis+cluster://u:other@h2,h1:1")
