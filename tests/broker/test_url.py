"""What names a server: refused at once if it cannot be, and never with a password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio
import redis.credentials

from flowd import (
    FatalError,
    OptionError,
    Producer,
    Queue,
    SyncProducer,
    Unreachable,
    WrongAddress,
)
from flowd.broker.url import Address
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events
from tests.support.raw import Raw
from tests.support.waiting import wait_until

PASSWORD = "correct-horse"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://localhost", "must start with redis://, rediss:// or unix://"),
        ("localhost:6379", "'localhost:6379'; must start with redis://"),
        ("reddis://localhost", r"embedded:PATH, .*; did you mean redis://\?$"),
        ("embeded:data", r"; did you mean embedded:\?$"),
        ("redis+clustr://h:1", r"; did you mean redis\+cluster://\?$"),
        ("redis://localhost:99999", "a port is 0 to 65535"),
        ("redis:localhost", "must start with redis://"),
        ("embedded://jobs", "embedded:PATH, which has no //"),
        ("redis://localhost:port", "with numbers for PORT and DB"),
        ("redis://localhost?db=zero", "Invalid value for 'db'"),
        ("redis://localhost/jobs", "with numbers for PORT and DB"),
        ("redis://localhost/0/jobs", "with numbers for PORT and DB"),
        ("rediss://localhost/-1", "with numbers for PORT and DB"),
        ("rediss://h?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs '/no/ca.pem': No such"),
        ("rediss://h?ssl_certfile=/no/c.pem", "ssl_certfile '/no/c.pem': No such"),
        ("rediss://h?ssl_keyfile=/no/c.key", "ssl_keyfile '/no/c.key': No such"),
        (f"rediss://h?ssl_certfile={__file__}", "test_url.py' has nothing in the form"),
        ("", "^no URL: give url=, redis= or set FLOWD_URL"),
        ("redis://localhost:6379/abc", "'redis://localhost:6379/abc'; must be as"),
    ],
)
def test_a_url_that_is_none_is_refused(
    url: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused where it is given, before anything is connected."""
    monkeypatch.delenv("FLOWD_URL", raising=False)
    with pytest.raises(OptionError, match=rule):
        Queue(Email, RecordingHandler(), url=url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"http://me:{PASSWORD}@h", "http://***@h"),
        (f"redis://:{PASSWORD}/x@h:1", "redis://***@h:1"),
        (f"redis://:1/{PASSWORD}@h:1", "redis://***@h:1"),
        (f"redis://:{PASSWORD}#x@h:1", "redis://***@h:1"),
        (f"redis://:1#{PASSWORD}", "redis://:***"),
        (f"redis://:{PASSWORD}?x@h:1", "redis://***@h:1"),
        (f"redis://:x?{PASSWORD}==@h:1", "redis://***@"),
        (f"redis://:x[{PASSWORD}@h:1", "redis://***@h:1"),
        (f"redis://:x/\n{PASSWORD}@h:1", "redis://***@h:1"),
        (f"redis://:\udcff{PASSWORD}@h:1", "redis://***@h:1"),
        (f"redis://h:1?password=x@{PASSWORD}", "redis://***@"),
        (f"redis://h:1?pasword={PASSWORD}", "redis://h:1?pasword=***"),
        (f"redis://h:1?PASSWORD={PASSWORD}", "redis://h:1?PASSWORD=***"),
        (f"redis://:{PASSWORD}", "redis://:***"),
        (f"redis:{PASSWORD}@h:1", "***@h:1"),
        (f"redis:/:{PASSWORD}@h:1", "***@h:1"),
        (f":{PASSWORD}@h:1", "***@h:1"),
        (f"me:{PASSWORD}@h:1", "***@h:1"),
        (f":{PASSWORD}", ":***"),
        (f"unix://:x/{PASSWORD}@/run/redis", "unix://***@/run/redis"),
    ],
)
@pytest.mark.parametrize("make", [Producer, SyncProducer])
def test_a_refused_url_shows_no_password(
    make: Callable[[str], object], url: str, shown: str
) -> None:
    """Wherever a mistake has put it; neither do the words of the URL's parser."""
    with pytest.raises(OptionError) as refused:
        make(url)
    error = refused.value
    assert str(error).startswith(f"url is {shown!r}; ")
    assert PASSWORD not in f"{error!r}{vars(error)}"
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://me:{PASSWORD}@h:1/2", "redis://***@h:1/2"),
        (f"redis://:a@{PASSWORD}@[::1]:1", "redis://***@[::1]:1"),
        (f"REDIS://{PASSWORD}@h", "***@h"),
        (f"redis://h?password={PASSWORD}&db=3", "redis://h?password=***"),
        (f"redis://h?db=3&password=x&{PASSWORD}", "redis://h?db=3&password=***"),
        (f"redis://h?pass%77ord={PASSWORD}", "redis://h?pass%77ord=***"),
        (f"rediss://h?ssl_password={PASSWORD}", "rediss://h?ssl_password=***"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_an_address_shows_no_password(url: str, shown: str) -> None:
    """As text it is for logs, metrics and errors."""
    address = Address.of(url)
    assert str(address) == shown
    assert repr(address) == f"Address({shown!r})"


@pytest.mark.parametrize(
    "name",
    [
        *("max_connections", "socket_timeout", "protocol", "client_name", "timeout"),
        *("ssl_certreqs", "credential_provider", "tpyo"),
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_an_option_that_flowd_does_not_take_is_refused(scheme: str, name: str) -> None:
    """By name, with those that it takes, before anything is connected."""
    with pytest.raises(
        OptionError, match=rf"; {name} is no option of it; known are db"
    ):
        Queue(Email, RecordingHandler(), url=f"{scheme}://localhost/1?{name}=2")


def test_options_of_tls_are_of_no_other_scheme() -> None:
    """An encryption that is asked for in vain is not passed over."""
    with pytest.raises(OptionError, match="ssl_cert_reqs is no option of it"):
        Producer("redis://localhost?ssl_cert_reqs=none")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("ssl_cert_reqs=never", "never"),
        ("ssl_ca_certs=/nowhere", "No such file"),
        ("ssl_certfile=/nowhere", "No such file"),
        ("ssl_ciphers=none", "cipher"),
    ],
)
def test_a_setting_of_tls_that_cannot_be_is_refused(option: str, why: str) -> None:
    """Before anything is connected: a worker must not wait for a file that is not there."""
    with pytest.raises(OptionError, match=f"redis-py cannot use it: .*{why}"):
        Producer(f"rediss://localhost?{option}")


def test_a_client_whose_settings_cannot_be_is_refused() -> None:
    """As a URL is."""
    client = redis.asyncio.Redis(ssl=True, ssl_ca_certs="/nowhere")
    with pytest.raises(OptionError, match=r"redis is 'redis at .*No such file"):
        Producer(redis=client)


def test_options_that_flowd_knows_are_taken() -> None:
    """Those of TLS as well."""
    known = "db=3&username=me&socket_keepalive=no&ssl_cert_reqs=none"
    Producer(f"rediss://localhost?{known}&ssl_check_hostname=false&ssl_ciphers=DEFAULT")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"redis://{'a' * 70}", "label"),
        ("redis://h?port=99999", "port must be 0 to"),
        ("redis://h h", "no host has a blank in its name"),
    ],
)
def test_a_place_that_cannot_be_is_refused(url: str, why: str) -> None:
    """A worker must not wait for what no server can have."""
    with pytest.raises(OptionError, match=why):
        Producer(url)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/dev/null/x", "a file has that name"), ("\0", "not a path")],
)
async def test_a_folder_that_cannot_be_ends_it(path: str, why: str) -> None:
    """Producer and worker fail at once, without a retry."""
    queue = Queue(
        Email, RecordingHandler(), url=f"embedded:{path}", policy=policy("emails")
    )
    for step in (queue.init(), queue.enqueue(email()), queue.run().wait()):
        with pytest.raises(WrongAddress, match=why):
            await step
    with pytest.raises(OptionError, match=why):
        await queue.aclose()


async def test_a_database_that_is_not_there_ends_it(own_server: Server) -> None:
    """It will not be there later either."""
    url = own_server.url
    url += "&db=4711" if "?" in url else "?db=4711"
    async with Producer(url) as producer:
        with pytest.raises(FatalError, match="names a database that is not there"):
            await producer.enqueue(email())


class _Vault(redis.credentials.CredentialProvider):
    """A service for passwords that is away at first."""

    away = True

    def get_credentials(self) -> tuple[str]:
        """The password, or not."""
        if self.away:
            raise ValueError("the vault is sealed")
        return (PASSWORD,)

    async def get_credentials_async(self) -> tuple[str]:
        """Likewise."""
        return self.get_credentials()


async def test_a_login_that_cannot_be_had_is_said() -> None:
    """What a credential provider raises is why the server cannot be reached."""
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    client = redis.asyncio.Redis(port=port, credential_provider=_Vault())
    async with Producer(redis=client, connect_timeout=0.05) as producer:
        with pytest.raises(Unreachable, match="the vault is sealed"):
            await producer.enqueue(email())
    server.close()


async def test_a_login_that_cannot_be_had_is_waited_for(
    own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """What a credential provider raises may pass; the log has one line, which says it."""
    with Raw(own_server.url) as raw:
        raw("CONFIG", "SET", "requirepass", PASSWORD)
    vault = _Vault()
    client = redis.asyncio.Redis(
        unix_socket_path=own_server.socket, credential_provider=vault
    )
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, redis=client, policy=policy("emails"))
    handle = queue.run()
    await wait_until(lambda: "outage" in events(caplog.records))
    (line,) = caplog.messages
    assert "the vault is sealed" in line
    assert not handle.ended
    vault.away = False
    await queue.enqueue(email())
    await queue.drain()
    await queue.aclose()
    assert recorder.done == ["a"]
