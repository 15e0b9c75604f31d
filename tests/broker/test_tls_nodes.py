"""A cluster, and a primary behind sentinels, that speak TLS with everyone and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlencode

import pytest
import redis
import redis.asyncio
import redis.cluster

from flowd import Producer, Unreachable
from flowd.broker.settings import Client
from jobs.email import Email
from tests.support.certificates import Certificates, certificates
from tests.support.cluster import Cluster
from tests.support.email_job import email
from tests.support.failover import Load
from tests.support.raw import Raw
from tests.support.sentinels import NAME, Sentinels
from tests.support.servers import chosen, has_tls


def _program() -> Path:
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    if not has_tls(program):
        pytest.skip(f"the server of {chosen().name} has no TLS")
    return program


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """3 masters, of which the first has a replica."""
    with Cluster(_program(), masters=3, replicas=1, tls=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    """1 primary, 1 replica, 1 sentinel."""
    with Sentinels(_program(), replicas=1, sentinels=1, tls=True) as sentinels:
        yield sentinels


@pytest.fixture(params=["cluster", "sentinels"])
def url(request: pytest.FixtureRequest) -> str:
    """Where either of them is, for clients that trust it and are trusted."""
    nodes: Cluster | Sentinels = request.getfixturevalue(request.param)
    assert nodes.url.startswith("rediss+")
    return nodes.url


async def test_queues_go_on_after_a_failover_of_a_cluster(
    cluster: Cluster, stream: str
) -> None:
    """At the nodes that speak TLS, and at the one that takes over: no job is lost."""
    names = (f"{stream}.{number}" for number in count())
    master = cluster.owner("{b}")  # the one with a replica, as first of three
    moved = next(name for name in names if cluster.owner(name) is master)
    other = next(name for name in names if cluster.owner(name) is not master)
    async with Load(cluster.url, moved, other) as load:
        await asyncio.to_thread(cluster.failover, moved)
        await load.works()
    assert cluster.owner(moved) is not master
    assert not load.lost()
    assert not load.twice()


async def test_queue_goes_on_after_a_failover_by_sentinels(
    sentinels: Sentinels, stream: str
) -> None:
    """The sentinels are asked, and heard, over TLS, and so is the new primary."""
    before = sentinels.primary
    async with Load(sentinels.url, stream) as load:
        await asyncio.to_thread(sentinels.failover)
        await load.works()
    assert sentinels.primary is not before


class _Manager(Protocol):
    """redis-py's sentinels, which have no types."""

    def master_for(self, name: str) -> Client: ...


def _cluster_client(kind: type[Client], cluster: Cluster) -> Client:
    make = partial(kind, host="127.0.0.1", port=cluster.ports[0], ssl=True)
    return make(**certificates().client_options)  # type: ignore[arg-type]


def _sentinel_client(kind: object, sentinels: Sentinels) -> Client:
    places = [("127.0.0.1", port) for port in sentinels.ports]
    tls = {"ssl": True, **certificates().client_options}
    made = cast("type[_Manager]", kind)(places, sentinel_kwargs=tls, **tls)  # type: ignore[call-arg]
    return made.master_for(NAME)


@pytest.mark.parametrize(
    "kind", [redis.asyncio.RedisCluster, redis.cluster.RedisCluster]
)
async def test_client_of_a_cluster_lends_its_certificates(
    cluster: Cluster, kind: type[Client]
) -> None:
    """One of asyncio, or a blocking one."""
    async with Producer(redis=_cluster_client(kind, cluster)) as producer:
        await producer.enqueue(email())
    stream = Email.SPEC.policy.stream
    assert cluster.call(cluster.owner(stream), "DEL", stream) == "1"


@pytest.mark.parametrize("kind", [redis.asyncio.Sentinel, redis.Sentinel])
async def test_client_of_sentinels_lends_its_certificates(
    sentinels: Sentinels, kind: object
) -> None:
    """To the links with the primary, and with the sentinels."""
    async with Producer(redis=_sentinel_client(kind, sentinels)) as producer:
        await producer.enqueue(email())
    with Raw(sentinels.primary.url) as raw:
        assert raw("DEL", Email.SPEC.policy.stream) == 1


async def test_nodes_of_another_authority_are_not_trusted(
    url: str, tmp_path: Path
) -> None:
    """No job goes to a server that shows a certificate of another."""
    own = certificates().client_options
    other = {**own, "ssl_ca_certs": str(Certificates(tmp_path).authority)}
    await _is_refused(f"{url.partition('?')[0]}?{urlencode(other)}", "verify failed")


async def test_nodes_by_another_name_are_not_trusted(url: str) -> None:
    """The name in the URL has to be in the certificate."""
    named = url.replace("127.0.0.1", "127.1")
    await _is_refused(named, "not valid for '127.1'")


async def test_clients_without_a_certificate_are_refused(url: str) -> None:
    """Where the servers ask for one; the link may be gone before they say why."""
    trusted = urlencode({"ssl_ca_certs": certificates().authority})
    refused = "certificate required|reset by peer"
    await _is_refused(f"{url.partition('?')[0]}?{trusted}", refused)


async def _is_refused(url: str, why: str) -> None:
    async with Producer(url, connect_timeout=0.1) as producer:
        with pytest.raises(Unreachable, match=why):
            await producer.enqueue(email())
