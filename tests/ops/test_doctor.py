"""Each check of the doctor finds what it is for, and is content when all is well."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from flowd import AccessDenied, Unreachable
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.embedded import Server
from flowd.ops import Finding, examine
from flowd.ops.server import Facts, judge
from tests.ops.page import ROLES, knows, make_users, url_of
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.servers import chosen
from tests.support.waiting import wait_until

CHECKS = [
    *("version", "eviction", "memory", "persistence", "disk", "replicas", "cluster"),
    *("clients", "scripts", "clock", "rights", "queues"),
]


# What a connection needs before anything is asked.
LET_IN = ("+client|id", "+client|setname")


@pytest.fixture
def raw(own_server: Server) -> Iterator[Raw]:
    """A client that may do everything, on a server that is set up well."""
    with Raw(own_server.url) as raw:
        raw("CONFIG", "SET", "maxmemory", "100mb")
        yield raw


async def doctor(
    url: str, *, lease: float = 30.0, now: Callable[[], float] = time.time
) -> list[Finding]:
    """What the doctor finds."""
    connection = Connection(Address.of(url))
    try:
        return await examine(connection, lease=lease, now=now)
    finally:
        await connection.aclose()


async def finding(url: str, check: str) -> Finding:
    """The one finding of a check."""
    (found,) = [each for each in await doctor(url) if each.check == check]
    return found


async def test_a_server_that_is_set_up_well(own_server: Server, raw: Raw) -> None:
    """Every check has its line, and there is nothing to do."""
    found = await doctor(own_server.url)

    assert [each.check for each in found] == CHECKS
    explains = knows(raw, "ACL|DRYRUN")
    for each in found[:-1]:
        if each.check == "rights" and not explains:
            continue
        assert (each.level, each.advice) == ("ok", ""), each
    assert found[-1].text == "none was set up on this server yet"


async def test_a_server_without_scripts_is_wrong(own_server: Server, raw: Raw) -> None:
    """Some services have no EVAL; nothing of flowd works there."""
    raw("ACL", "SETUSER", "default", "on", "nopass", "+@all", "-eval")
    found = await finding(own_server.url, "scripts")
    assert found.level == "warn"
    assert "without which nothing of flowd works" in found.advice
    async with proxy_to(own_server.url) as proxy:
        proxy.forge(b"return 1", b"-ERR unknown command 'EVAL', with args\r\n")
        raw("ACL", "SETUSER", "default", "+eval")
        found = await finding(proxy.url, "scripts")
    assert found.level == "wrong"
    assert "needs EVAL" in found.advice


async def test_doctor_names_the_version(own_server: Server, raw: Raw) -> None:
    """A supported one is fine."""
    found = await finding(own_server.url, "version")

    assert raw.info("redis_version") in found.text or "Valkey 9" in found.text
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("redis_version:6.0.16", "wrong"),
        ("redis_version:6.2.0", "ok"),
        ("redis_version:7.0.15", "ok"),
        ("redis_version:8.4.0", "ok"),
        ("redis_version:7.2.4 valkey_version:7.2.12", "wrong"),
        ("redis_version:7.2.4 valkey_version:8.0.0", "ok"),
        ("redis_version:7.2.4 valkey_version:9.0.0", "ok"),
        ("redis_version:none", "note"),
        ("", "note"),
    ],
)
def test_version_below_the_oldest_supported_is_wrong(said: str, level: str) -> None:
    """It says which is the oldest; one that cannot be read is a note."""
    info = dict(word.split(":") for word in said.split())
    found = judge(Facts(info, {}))[0]
    assert found.level == level
    assert ("the oldest that flowd supports" in found.text) is (level == "wrong")


@pytest.mark.parametrize(
    ("settings", "check", "level", "text"),
    [
        ("maxmemory-policy allkeys-lru", "eviction", "wrong", "deletes jobs"),
        ("maxmemory-policy volatile-ttl", "eviction", "warn", "idempotency keys"),
        (
            "maxmemory 0 maxmemory-policy allkeys-lru",
            *("eviction", "warn", "once maxmemory is set"),
        ),
        ("maxmemory 1", "memory", "wrong", "nothing more can be enqueued"),
        ("maxmemory 0", "memory", "note", "there is no maxmemory"),
        ("appendfsync always", "persistence", "ok", "nothing is lost"),
        ("appendfsync no", "persistence", "warn", "a power cut may lose"),
        ("appendonly no", "persistence", "wrong", "a restart loses every job"),
        ("appendonly no save 60,1", "persistence", "warn", "the last snapshot"),
        ("min-replicas-to-write 1", "replicas", "wrong", "0 of 1 replicas"),
        ("maxclients 2", "clients", "warn", "2 connections of 2"),
    ],
)
async def test_a_setting(
    own_server: Server, raw: Raw, settings: str, check: str, level: str, text: str
) -> None:
    """A setting that costs jobs is found, and what to do is said."""
    assert (await finding(own_server.url, check)).level == "ok"
    words = settings.split()
    for name, value in zip(words[::2], words[1::2], strict=True):
        raw("CONFIG", "SET", name, value.replace(",", " "))
    await wait_until(lambda: raw.info("connected_clients") == "1")
    found = await finding(own_server.url, check)

    assert found.level == level
    assert text in found.text
    assert bool(found.advice) is (level != "ok")


async def test_nearly_full(own_server: Server, raw: Raw) -> None:
    """Before the memory is full there is a warning."""
    raw("SETRANGE", "ballast", 50_000_000, "x")
    raw("CONFIG", "SET", "maxmemory", int(raw.info("used_memory")) + 2_500_000)

    found = await finding(own_server.url, "memory")
    assert found.level == "warn"
    assert re.match(r"\d+ MiB used of \d+ MiB: nearly full", found.text)


async def test_a_disk_that_cannot_be_written(own_server: Server, raw: Raw) -> None:
    """A failed snapshot is found, before or after Redis refuses every write."""
    (own_server.folder / "dump.rdb" / "in the way").mkdir(parents=True)
    raw("BGSAVE")
    await wait_until(lambda: raw.info("rdb_last_bgsave_status") == "err")
    found = await finding(own_server.url, "disk")

    assert found.level == "wrong"
    assert "the last snapshot" in found.text


async def test_a_replica(own_server: Server, raw: Raw) -> None:
    """A replica in place of the primary is reported."""
    raw("REPLICAOF", "127.0.0.1", 1)
    found = await finding(own_server.url, "replicas")

    assert found.level == "wrong"
    assert "this is a replica" in found.text


async def test_a_primary_with_a_replica() -> None:
    """It is said what a failover may lose."""
    program = chosen().find()
    with Server(binary=program, tcp=True) as primary:
        port = primary.url.rpartition(":")[2]
        with Server("--replicaof", "127.0.0.1", port, binary=program):
            with Raw(primary.url) as raw:
                await wait_until(lambda: raw.info("connected_slaves") == "1")
            found = await finding(primary.url, "replicas")

    assert found.text.startswith(
        "1; min-replicas-to-write 0: a primary that is cut off"
    )
    assert found.level == "warn"
    assert "min-replicas-max-lag 2" in found.advice


async def test_clocks_that_differ(own_server: Server, raw: Raw) -> None:
    """A clock that is a minute ahead is noticed, and does no harm to leases."""
    found = await doctor(own_server.url, now=lambda: time.time() + 60)
    (clock,) = [each for each in found if each.check == "clock"]

    assert clock.level == "warn"
    assert "60.0 s apart" in clock.text


async def test_unreadable_settings_are_reported() -> None:
    """A service without CONFIG is examined without it, and that is said."""
    hidden = ("--rename-command", "CONFIG", "", "--appendonly", "yes")
    with Server(*hidden, binary=chosen().find()) as server:
        found = await finding(server.url, "persistence")
        assert (found.level, found.advice) == ("note", "it takes +config|get")
        with Raw(server.url) as raw:
            assert raw.info("aof_enabled") == "1"
    with Server(*hidden[:3], binary=chosen().find()) as server:
        found = await finding(server.url, "persistence")
        assert found.level == "warn"
        assert "does not show save" in found.text


@pytest.mark.parametrize(
    ("role", "may"),
    [("producer", "enqueue"), ("worker", "work"), ("admin", "administer")],
)
async def test_the_rights_of_a_role(
    own_server: Server, raw: Raw, role: str, may: str
) -> None:
    """It names what a user may do, and the right that it lacks."""
    make_users(raw)
    raw("ACL", "SETUSER", role, "+acl")
    if not knows(raw, "ACL|DRYRUN"):
        found = await finding(url_of(own_server, role), "rights")
        assert found.level == "note"
        assert "Redis explains them from 7.0 on" in found.text
        return
    found = await finding(url_of(own_server, role), "rights")
    assert (found.level, found.text) == ("ok", f"user {role} may {may}")

    raw("ACL", "SETUSER", role, "-xadd")
    found = await finding(url_of(own_server, role), "rights")
    assert found.level == "warn"
    assert f"to {may} it lacks +xadd" in found.text
    assert "docs/security.md" in found.advice


async def test_a_user_of_categories(own_server: Server, raw: Raw) -> None:
    """Rights that are granted and taken in groups are understood."""
    if not knows(raw, "ACL|DRYRUN"):
        pytest.skip("this server does not explain rights")
    raw("ACL", "SETUSER", "mixed", "on", ">pw", "~*", "+@all", "-@hash")
    raw("ACL", "SETUSER", "mixed", "+hget", "+hmget")
    found = await finding(f"unix://mixed:pw@{own_server.socket}", "rights")

    assert found.level == "warn"
    assert found.text == (
        "user mixed has no whole role; to enqueue it lacks +hset; to work it lacks +hset"
        " +hsetnx +hdel; to administer it lacks +hset +hdel"
    )


async def test_a_server_that_shows_its_settings_alone(
    own_server: Server, raw: Raw
) -> None:
    """Without INFO the settings say what would delete jobs."""
    raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    raw("ACL", "SETUSER", "default", "on", "nopass", "+@all", "-info")
    found = {each.check: each for each in await doctor(own_server.url)}
    assert found["server"].level == "note"
    assert found["eviction"].level == "wrong"
    assert found["cluster"].text == "none"


def test_a_server_that_says_little_is_not_called_safe() -> None:
    """What a service leaves out of INFO is no good news."""
    found = {each.check: each for each in judge(Facts({"redis_version": "7.0.0"}, {}))}
    for check in ("eviction", "persistence", "replicas", "cluster"):
        assert found[check].level == "note"
        assert "the server does not say" in found[check].text


@pytest.mark.parametrize("role", ROLES)
async def test_missing_rights_are_listed(
    own_server: Server, raw: Raw, role: str
) -> None:
    """A user without rights learns which ones it takes, and that is no fault."""
    make_users(raw)
    raw("ACL", "SETUSER", role, "-@all", *LET_IN, "resetkeys")
    found = await doctor(url_of(own_server, role))

    notes = dict.fromkeys(["server", "clock", "rights", "queues"], "note")
    assert {each.check: each.level for each in found} == {**notes, "scripts": "warn"}
    names = ["info", "eval", "time", "acl", "smembers"]
    for each, name in zip(found, names, strict=True):
        assert name in each.text
        assert each.advice


async def test_an_admin_of_another_queue(own_server: Server, raw: Raw) -> None:
    """A queue whose keys the user may not read is a line of its own."""
    make_users(raw)
    for stream in ("crawl", "emails"):
        raw("XGROUP", "CREATE", stream, "workers", "0", "MKSTREAM")
        raw("SADD", "flowd:queues", f"{stream}\nworkers")
    found = await doctor(url_of(own_server, "admin"))
    crawl, emails = [each for each in found if each.check == "queue"]

    assert crawl.level == "note"
    assert crawl.text.startswith("crawl (workers): cannot be seen: ")
    assert (emails.level, emails.advice) == ("ok", "")


async def test_a_list_of_queues_that_is_none(own_server: Server, raw: Raw) -> None:
    """What the server refuses for another reason is wrong, and the rest is shown."""
    raw("SET", "flowd:queues", "text")
    found = await doctor(own_server.url)

    assert [each.check for each in found] == CHECKS
    assert found[-1].level == "wrong"
    assert "flowd:queues: " in found[-1].text
    assert "WRONGTYPE" in found[-1].text


async def test_missing_server_is_reported(own_server: Server) -> None:
    """Without a server there is nothing to find."""
    own_server.kill()
    with pytest.raises(Unreachable):
        await doctor(own_server.url)


async def test_wrong_password_is_an_error(own_server: Server, raw: Raw) -> None:
    """With a wrong password it is an error, and not a right that is missing."""
    make_users(raw)
    with pytest.raises(AccessDenied):
        await doctor(f"unix://worker:wrong@{own_server.socket}")
    assert await doctor(url_of(own_server, "worker"))
