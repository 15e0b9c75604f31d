"""How a connection begins: names, certificates, the login; and who else has it."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import pytest
import redis
import redis.asyncio
import trustme
from redis.credentials import CredentialProvider

from flowd import AccessDenied, FatalError, OptionError, Producer, Queue, Unreachable
from flowd.broker.blocking import in_thread
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.embedded import Server
from flowd.embedded.lock import FileLock
from jobs.email import Email
from tests.support.certificates import certificates
from tests.support.email_job import email
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.waiting import wait_until


async def test_a_login_is_one_round_trip(redis_url: str, raw: Raw) -> None:
    """User, database, name and number of the connection are asked for in one write."""
    raw("ACL", "SETUSER", "me", "on", ">secret", "+@all", "~*")
    try:
        async with proxy_to(redis_url) as proxy:
            url = proxy.url.replace("://", "://me:secret@")
            connection = Connection(
                Address.of(f"{url}{'&' if '?' in url else '?'}db=3")
            )
            assert await connection.call("ACL", "WHOAMI") == b"me"
            assert proxy.requests == 2
            shown = str(await connection.call("CLIENT", "INFO"))
            assert f"id={connection.client_id} " in shown
            assert " name=flowd " in shown
            assert " db=3 " in shown
            await connection.aclose()
    finally:
        raw("ACL", "DELUSER", "me")


async def test_a_password_that_the_server_does_not_have_is_refused(
    redis_url: str,
) -> None:
    """A server without a password takes none: one that is given was meant for another."""
    async with Producer(redis_url.replace("://", "://:secret@")) as producer:
        with pytest.raises(AccessDenied, match="refuses the login"):
            await producer.enqueue(email())


async def test_a_renewed_certificate_is_used(redis_url: str, tmp_path: Path) -> None:
    """It is read again where it has changed, and a worker need not be started anew."""
    files = certificates()
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    other = trustme.CA().issue_cert("client@flowd.example")
    other.cert_chain_pems[0].write_to_path(str(certificate))
    other.private_key_pem.write_to_path(str(key))
    async with proxy_to(redis_url, tls=True) as proxy:
        place = proxy.url.partition("?")[0]
        options = {
            "ssl_ca_certs": files.authority,
            "ssl_certfile": certificate,
            "ssl_keyfile": key,
        }
        connection = Connection(Address.of(f"{place}?{urlencode(options)}"))
        with pytest.raises(Unreachable):
            await connection.call("PING")
        certificate.write_bytes(files.client.read_bytes())
        with pytest.raises(
            Unreachable, match="KEY_VALUES_MISMATCH"
        ):  # it does not fit any more
            await connection.call("PING")
        key.write_bytes(files.client_key.read_bytes())
        assert await connection.call("PING", timeout=60.0) == b"PONG"
        key.unlink()
        proxy.cut()
        proxy.restore()
        await asyncio.sleep(0.01)
        with pytest.raises(Unreachable, match=f"ssl_keyfile '{key}': No such file"):
            await connection.call("PING")
        await connection.aclose()


async def test_a_blocking_client_of_tls_lends_its_settings(redis_url: str) -> None:
    """Also what it alone knows and has switched off; what is on is not passed over."""
    files = certificates()
    async with proxy_to(redis_url, tls=True) as proxy:
        port = int(proxy.url.partition("?")[0].rpartition(":")[2])
        client = redis.Redis(
            port=port,
            ssl=True,
            ssl_ca_certs=str(files.authority),
            ssl_certfile=str(files.client),
            ssl_keyfile=str(files.client_key),
        )
        async with Producer(redis=client) as producer:
            await producer.enqueue(email())
    strict = redis.Redis(ssl=True, ssl_validate_ocsp=True)
    with pytest.raises(OptionError, match="ssl_validate_ocsp"):
        Producer(redis=strict)


async def test_a_name_is_looked_up_while_the_executor_is_full(redis_url: str) -> None:
    """Handlers may fill the loop's executor; a connection needs none of it."""
    done = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    handler = asyncio.ensure_future(asyncio.to_thread(done.wait))
    try:
        async with proxy_to(redis_url, tls=True) as proxy:
            connection = Connection(
                Address.of(proxy.url.replace("127.0.0.1", "localhost"))
            )
            assert await connection.call("PING") == b"PONG"
            await connection.aclose()
    finally:
        done.set()
        await handler


@pytest.mark.parametrize("fault", [AttributeError, TypeError, ValueError, RuntimeError])
async def test_a_fault_in_connecting_ends_the_worker(
    redis_url: str,
    raw: Raw,
    stream: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[Exception],
) -> None:
    """It is no outage, which would be waited for without end; a producer hears it too."""

    def look_up(*_: object, **__: object) -> object:
        raise fault("of ours")

    async def handle(_: Email) -> None: ...

    async with proxy_to(redis_url, tls=True) as proxy:
        queue = Queue(Email, handle, url=proxy.url, stream=stream)
        handle_of = queue.run()
        await wait_until(lambda: handle_of.consumer)
        monkeypatch.setattr("socket.getaddrinfo", look_up)
        raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        said = f"a fault in flowd, please report it: .*{fault.__name__}: of ours"
        with pytest.raises(FatalError, match=said) as caught:
            await handle_of.wait()
        assert type(caught.value.__cause__) is fault
        with pytest.raises(FatalError, match=said):
            await queue.enqueue(email())
        with pytest.raises(FatalError, match=said):
            await queue.aclose()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (ssl.SSLError(1, "bad record"), "bad record"),
        (TimeoutError(), "no answer in time"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
    ids=["network", "tls", "silence", "no thread"],
)
async def test_a_fault_that_may_pass_is_an_outage(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    """Of the network, of TLS and of the system: nothing was sent, and workers wait."""
    start = threading.Thread.start

    def begin(thread: threading.Thread) -> None:
        if thread.name == "flowd-blocking" and isinstance(fault, RuntimeError):
            raise fault
        start(thread)

    def look_up(*_: object, **__: object) -> object:
        raise fault

    monkeypatch.setattr(threading.Thread, "start", begin)
    async with proxy_to(redis_url, tls=True) as proxy:
        connection = Connection(Address.of(proxy.url))
        with monkeypatch.context() as patch:
            patch.setattr("socket.getaddrinfo", look_up)
            with pytest.raises(Unreachable, match=said):
                await connection.call("PING")
        await connection.aclose()


class _Careless(CredentialProvider):
    """A provider that gives what is no text."""

    def get_credentials(self) -> tuple[str]:
        """The password, as nothing."""
        return (cast("str", None),)

    async def get_credentials_async(self) -> tuple[str]:
        """Likewise."""
        return self.get_credentials()


async def test_a_login_that_is_no_text_is_refused(own_server: Server) -> None:
    """Nothing is sent, and it is not tried again."""
    client = redis.asyncio.Redis(
        unix_socket_path=own_server.socket, credential_provider=_Careless()
    )
    async with Producer(redis=client) as producer:
        with pytest.raises(FatalError, match="credential provider must give texts"):
            await producer.enqueue(email())


async def test_work_that_blocks_is_shared() -> None:
    """Callers share work under way; cancelling one cancels no other."""
    begun: list[int] = []
    go = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        go.wait()
        if number < 0:
            raise ValueError(number)
        return number

    first, second, other, failing = (
        asyncio.ensure_future(in_thread(work, number)) for number in (1, 1, 2, -1)
    )
    await wait_until(lambda: len(begun) == 3)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert (await second, await other) == (1, 2)
    with pytest.raises(ValueError, match="-1"):
        await failing
    assert first.cancelled()
    assert await in_thread(work, 1) == 1
    assert sorted(begun) == [-1, 1, 1, 2]


HANGING = """
import asyncio, socket, sys, time
from concurrent.futures import ThreadPoolExecutor
from flowd import Producer, Unreachable
from flowd.embedded import embedded
from jobs.email import Email

embedded._JOIN_PATIENCE = 600

def hang(*args, **named):
    time.sleep(600)

async def main():
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(time.sleep, 1)
    async with Producer(f"embedded:{sys.argv[1]}") as producer:
        await producer.enqueue(Email(to="a", subject="b"))
    socket.getaddrinfo = hang
    for url in ("redis://name.invalid", f"embedded:{sys.argv[2]}"):
        async with Producer(url, connect_timeout=0.1) as producer:
            try:
                await producer.enqueue(Email(to="a", subject="b"))
            except Unreachable as error:
                assert "no answer in time" in str(error), error
            else:
                raise AssertionError("nothing is there")

asyncio.run(main())
"""


def test_a_program_ends_while_a_resolver_hangs(tmp_path: Path) -> None:
    """Python waits for the threads of an executor; none of flowd's is among them.

    So with a folder of jobs that another holds, who does not answer.
    """
    mine, others = tmp_path / "mine", tmp_path / "others"
    others.mkdir()
    lock = FileLock.take(others / "lock")
    assert lock is not None
    command = [sys.executable, "-c", HANGING, str(mine), str(others)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )
    lock.release()
    assert done.returncode == 0, done.stderr


FORKING = """
import asyncio, gc, os, signal, sys
import uvloop
from flowd import Queue
from jobs.email import Email

async def handle(job):
    pass

async def main():
    async with Queue(Email, handle, url=sys.argv[1]) as queue:
        queue.run()
        await queue.enqueue(Email(to="a", subject="b"))
        await queue.drain()
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            gc.collect()
            while True:
                signal.pause()
        print(pid, flush=True)
        for _ in range(50):
            await queue.enqueue(Email(to="a", subject="b"))
        await asyncio.wait_for(queue.drain(), 60)
        print("drained", flush=True)
        await asyncio.Event().wait()

with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[2] == "uvloop" else None) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_forked_child_lets_go_of_the_sockets(
    redis_url: str, raw: Raw, loop: str
) -> None:
    """The parent goes on; when it dies the server knows, though the child lives on."""

    def connected() -> int:
        return str(raw("CLIENT", "LIST")).count(" name=flowd")

    command = [sys.executable, "-c", FORKING, redis_url, loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert parent.stdout.readline() == "drained\n"
            assert connected()
            parent.kill()
            parent.wait(60)
            asyncio.run(wait_until(lambda: not connected()))
            os.kill(child, 0)
        finally:
            parent.kill()
            os.kill(child, signal.SIGKILL)
