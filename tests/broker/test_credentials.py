"""Wrong places, wrong passwords, wrong keys: one clear line, and no secret in it."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
import redis.asyncio

from flowd import (
    AccessDenied,
    OptionError,
    Producer,
    Queue,
    Unreachable,
    WrongKeyType,
)
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events, outages
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

PASSWORD = "correct-horse"


def test_a_url_and_a_client_are_one_too_many() -> None:
    """Which of the two would count is not guessed."""
    client = redis.asyncio.Redis(host="localhost")
    with pytest.raises(OptionError, match="give url or redis, not both"):
        Producer("redis://localhost", redis=client)


async def test_the_environment_names_the_server(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `url` and `redis`, FLOWD_URL counts."""
    monkeypatch.setenv("FLOWD_URL", redis_url)
    recorder = RecordingHandler()
    async with Queue(Email, recorder, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue(email())
        await queue.drain()

    assert recorder.done == ["a"]


async def test_a_client_lends_its_settings(own_server: Server, stream: str) -> None:
    """`redis=` is used for where and how, never its connections, timeouts or codecs."""
    client = redis.asyncio.Redis(
        unix_socket_path=own_server.socket,
        db=3,
        decode_responses=True,
        socket_timeout=0.001,
    )
    recorder = RecordingHandler()
    async with Queue(Email, recorder, redis=client, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue(email())
        await queue.drain()

    with Raw(own_server.url) as raw:
        assert raw("EXISTS", stream) == 0
        raw("SELECT", 3)
        assert raw("EXISTS", stream) == 1
    assert recorder.done == ["a"]


@pytest.mark.parametrize("password", ["", "wrong-horse"])
async def test_a_wrong_password_ends_it(
    own_server: Server, stream: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Producer and worker fail at once, without a retry."""
    with Raw(own_server.url) as raw:
        raw("CONFIG", "SET", "requirepass", PASSWORD)
    url = f"unix://:{password}@{own_server.socket}" if password else own_server.url
    queue = Queue(Email, RecordingHandler(), url=url, policy=policy(stream))
    for step in (queue.init(), queue.enqueue(email()), queue.run().wait()):
        with pytest.raises(AccessDenied, match="Redis refuses the login") as denied:
            await step
        assert "horse" not in str(denied.value)
    with pytest.raises(AccessDenied):
        await queue.aclose()

    with Raw(own_server.url) as raw:
        raw("AUTH", PASSWORD)
        assert int(raw.info("total_connections_received")) < 12
    assert "horse" not in caplog.text


async def test_the_right_password_is_never_shown(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither log nor error of an outage has the password of the URL in it."""
    caplog.set_level(logging.DEBUG)
    with Raw(own_server.url) as raw:
        raw("CONFIG", "SET", "requirepass", PASSWORD)
    url = f"unix://:{PASSWORD}@{own_server.socket}"
    recorder = RecordingHandler()
    async with Queue(
        Email, recorder, url=url, policy=policy(stream), connect_timeout=0.05
    ) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await queue.drain()
        own_server.kill()
        await wait_until(lambda: "outage" in events(caplog.records))
        with pytest.raises(Unreachable) as failed:
            await queue.enqueue(email())
        await handle.shutdown(grace=0.0)

    assert recorder.done == ["a"]
    assert PASSWORD not in caplog.text
    assert PASSWORD not in str(failed.value)
    assert PASSWORD not in repr(vars(failed.value))


async def test_a_password_that_changes_ends_the_worker(
    own_server: Server, stream: str
) -> None:
    """A worker that is not let in again ends with the reason."""
    with Raw(own_server.url) as raw:
        queue = Queue(
            Email, RecordingHandler(), url=own_server.url, policy=policy(stream)
        )
        await queue.init()
        handle = queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        raw("CONFIG", "SET", "requirepass", PASSWORD)
        raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(AccessDenied):
            await handle.wait()
        with pytest.raises(AccessDenied):
            await queue.aclose()


async def test_a_missing_right_ends_the_worker(own_server: Server, stream: str) -> None:
    """The error names the right to read the stream."""
    with Raw(own_server.url) as raw:
        rights = ("on", ">pw", "~*", "+@all", "-xreadgroup")
        raw("ACL", "SETUSER", "narrow", *rights)
    url = f"unix://narrow:pw@{own_server.socket}"
    queue = Queue(Email, RecordingHandler(), url=url, policy=policy(stream))
    await queue.init()
    with pytest.raises(AccessDenied, match="xreadgroup"):
        await queue.run().wait()
    with pytest.raises(AccessDenied):
        await queue.aclose()


async def test_a_key_of_another_type_is_refused(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A stream's name that holds something else ends init, enqueue and worker."""
    raw("SET", stream, "text")
    queue = make_queue()
    for step in (queue.init(), queue.enqueue(email()), queue.run().wait()):
        with pytest.raises(WrongKeyType, match="wrong kind of value"):
            await step
    with pytest.raises(WrongKeyType):
        await queue.aclose()

    assert raw("GET", stream) == b"text"


async def test_a_key_that_changes_its_type_ends_the_worker(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A worker whose stream is replaced by something else ends, and touches nothing."""
    queue = make_queue()
    await queue.init()
    handle = queue.run()
    await wait_until(lambda: raw.info("blocked_clients") == "1")
    raw("SET", stream, "text")
    with pytest.raises(WrongKeyType):
        await handle.wait()
    with pytest.raises(WrongKeyType):
        await queue.aclose()

    assert raw("GET", stream) == b"text"


async def test_a_producer_gives_up(stream: str) -> None:
    """Without a server `enqueue` fails once `connect_timeout` is over, and says where."""
    url = "redis://127.0.0.1:1"
    async with (
        Producer(url, connect_timeout=3_600.0) as patient,
        Producer(url, connect_timeout=0.1) as producer,
    ):
        waiting = asyncio.ensure_future(patient.enqueue(email()))
        with pytest.raises(Unreachable, match=re.escape(url)):
            await producer.enqueue(email())
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_worker_waits_for_its_server(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that is there before its server says so once, and starts with it."""
    caplog.set_level(logging.INFO)
    own_server.terminate()
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, url=own_server.url, policy=policy(stream))
    setting_up = asyncio.ensure_future(queue.init())
    handle = queue.run()
    await wait_until(lambda: "outage" in events(caplog.records))
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert not setting_up.done()
    assert not handle.ended

    await asyncio.to_thread(own_server.start)
    await setting_up
    await queue.enqueue(email())
    await queue.drain()
    await queue.aclose()
    assert recorder.done == ["a"]
    assert outages(events(caplog.records)) == 1
    assert events(caplog.records).count("recovery") == 1


@pytest.mark.parametrize("lacks", ["-xautoclaim", "-xdel", "resetkeys ~STREAM"])
async def test_a_right_that_a_script_lacks_ends_the_worker(
    own_server: Server, stream: str, lacks: str
) -> None:
    """The error names a right to claim, settle or delay."""
    rules = lacks.replace("STREAM", stream).split()
    with Raw(own_server.url) as raw:
        raw("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+@all", *rules)
    url = f"unix://narrow:pw@{own_server.socket}"
    rules_of = policy(stream, lease=0.1)
    async with Queue(
        Email, RecordingHandler(), url=own_server.url, policy=rules_of
    ) as queue:
        await queue.enqueue(email())
    narrow = Queue(Email, RecordingHandler(), url=url, policy=rules_of)
    with pytest.raises(AccessDenied):
        await narrow.run().wait()
    with pytest.raises(AccessDenied):
        await narrow.aclose()
