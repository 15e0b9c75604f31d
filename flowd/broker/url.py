"""Where a server is and how to log in there."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol, Self, TypeGuard, cast

import redis.asyncio
from redis.asyncio.connection import (
    AbstractConnection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

from flowd.broker.blocking import in_thread
from flowd.broker.refusals import refusal
from flowd.broker.settings import (
    AWAITED,
    PORT,
    TLS_OPTIONS,
    Client,
    Settings,
    check_place,
    lent,
    parsed,
    refused,
    unknown_scheme,
    without_login,
)
from flowd.broker.transport import KEEPALIVE, TlsContext, connect_tcp, connect_unix
from flowd.embedded import is_embedded, open_embedded
from flowd.errors import FatalError, OptionError, ServerError, Unreachable

__all__ = ["Address"]


class _MadeContext(Protocol):
    """What redis-py makes of the options of TLS; its own class has no types."""

    def get(self) -> ssl.SSLContext: ...


class Address:
    """A server, as a URL or a redis-py client names it.

    It is asked anew at each connect, so that it may lead elsewhere after a failover.
    `str()` never shows a password. Equal addresses share their connections.
    """

    checks_role = False
    """Whether a new connection asks if it has found a primary."""

    is_cluster = False
    """Whether each key has a server of its own."""

    keepalive: Mapping[int, int | bytes] = KEEPALIVE
    """Options of TCP, unless the user gives some."""

    def __init__(
        self,
        shown: str,
        kind: Callable[..., AbstractConnection],
        settings: Settings,
    ) -> None:
        self._shown = shown
        self._kind = kind
        self._settings = dict(settings)
        self._tls = TlsContext(settings, self._make_context)
        self._embedded: str | None = None

    @classmethod
    def of(
        cls,
        url: str | None = None,
        client: Client | None = None,
    ) -> Address:
        """From a URL, a client whose settings are lent, or else `FLOWD_URL`.

        Args:
            url: `redis://`, `rediss://`, `unix://`, one of many hosts (see
                `host_list`), `embedded:` or `embedded:PATH`.
            client: only its settings are used, never its connections.

        Raises:
            OptionError: neither is given, both are, the URL is none of these, or it has
                options that are none, or that redis-py cannot use.
        """
        if client is not None:
            if url is not None:
                raise refused(url, "give url or redis, not both")
            return cls._of_client(client)
        url = url or os.environ.get("FLOWD_URL")
        if not url:
            raise OptionError.absent(
                "url",
                "no URL: give url=, redis= or set FLOWD_URL, as redis://localhost:6379",
            )
        url = _text(url)
        if is_embedded(url):
            address = cls(url, UnixDomainSocketConnection, {})
            address._embedded = url
            return address
        if "+" in url.partition("://")[0]:
            # A plain URL does not load it.
            from flowd.broker.host_list import address_of_url  # noqa: PLC0415

            return address_of_url(url)
        return cls._of_url(url)

    @classmethod
    def _of_url(cls, url: str) -> Self:
        scheme, separator, _ = url.partition("://")
        if not separator or scheme.lower() not in ("redis", "rediss", "unix"):
            raise unknown_scheme(url)
        kind, settings = parsed(url, url)
        address = cls(without_login(url), kind, settings)
        address.check("url")
        return address

    @classmethod
    def _of_client(cls, client: Client) -> Address:
        many = hasattr(client, "nodes_manager") or hasattr(
            getattr(client, "connection_pool", None), "sentinel_manager"
        )
        if many and not isinstance(client, type):
            from flowd.broker.host_list import address_of_client  # noqa: PLC0415

            return address_of_client(client)
        if not _is_client(client):
            # Only its class: a URL has a password.
            rule = "must be a redis-py client; a URL is given as url="
            if hasattr(client, "master_for"):
                rule = "must be a client of a primary: give its .master_for(NAME)"
            raise OptionError("redis", type(client).__name__, rule)
        pool = client.connection_pool
        given: type[object] = pool.connection_class
        kind = AWAITED.get(given)
        if kind is None:
            rule = f"has connections of the class {given.__name__}; give url= instead"
            raise OptionError("redis", type(client).__name__, rule)
        settings = lent(pool.connection_kwargs)
        place = settings.get("path") or "{}:{}".format(
            settings.get("host", "localhost"), settings.get("port", 6379)
        )
        address = cls(f"redis at {place}", kind, settings)
        address.check("redis")
        return address

    def check(self, option: str) -> None:
        """Let redis-py make a connection of the settings, without a server.

        Raises:
            OptionError: it cannot.
        """
        try:
            check_place(self._settings)
        except ValueError as error:
            raise OptionError(option, self._shown, str(error)) from None
        try:
            self._kind(**self._settings)
            if self.tls:
                self._tls.get()
        except Exception as error:  # redis-py's own, and what ssl says of the files
            rule = f"redis-py cannot use it: {type(error).__name__}: {error}"
        else:
            return
        raise OptionError(option, self._shown, rule)

    def _make_context(self) -> ssl.SSLContext:
        settings = {k: v for k, v in self._settings.items() if k in TLS_OPTIONS}
        make = cast("Callable[..., SSLConnection]", SSLConnection)
        made = cast("_MadeContext", make(**settings).ssl_context)
        return made.get()

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """Connect a protocol that was made for it; starts an embedded server if needed.

        Raises:
            ServerError: the embedded server is not there; as `open_embedded`.
            OSError: no server accepts the connection, TLS refuses it, or a file of a
                certificate has become one that cannot be used.
        """
        if self._embedded is not None:
            # Asked again each time: the server ends with its owner, and then the next
            # process that asks becomes the owner.
            path = await in_thread(open_embedded, self._embedded)
            await connect_unix(protocol, path)
        elif self._kind is UnixDomainSocketConnection:
            await connect_unix(protocol, str(self._settings.get("path", "")))
        else:
            await self.connect_to(protocol, self.place)

    async def connect_to(
        self, protocol: asyncio.BaseProtocol, place: tuple[str, int]
    ) -> None:
        """Connect a protocol to a host and port, with the settings of this address.

        Raises:
            OSError: as `connect`.
        """
        host, port = place
        await connect_tcp(
            protocol,
            host,
            port,
            keepalive=self._keepalive(),
            tls=self._tls.get() if self.tls else None,
        )

    def at(self, key: str) -> Address:  # noqa: ARG002 - of a cluster it matters
        """Where the server of a key is; the same for all keys, unless in a cluster."""
        return self

    def refusal(self, answer: str) -> ServerError:
        """The error for what a server there answered."""
        return refusal(answer)

    def doubt(self) -> None:
        """Note that the server there was lost, or did not answer."""

    async def leads_elsewhere(
        self, protocol: object  # noqa: ARG002 - of a cluster it matters
    ) -> bool:
        """Whether a protocol that it connected would be connected to another server now.

        Raises:
            OSError: that cannot be found out.
        """
        return False

    def watch(self) -> Coroutine[object, object, None] | None:
        """What a session runs as long as it is open, to notice that it leads elsewhere."""
        return None

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, as the settings name them."""
        host = str(self._settings.get("host", "localhost"))
        return host, int(str(self._settings.get("port", PORT)))

    @property
    def tls(self) -> bool:
        """Whether connections speak TLS."""
        return self._kind is SSLConnection

    def _keepalive(self) -> Mapping[int, int | bytes] | None:
        if not self._settings.get("socket_keepalive", True):
            return None
        # None means without options, and a mark of redis-py's that none were given.
        given = self._settings.get("socket_keepalive_options", self.keepalive)
        if given is None:
            return {}
        known = isinstance(given, Mapping)
        return cast("Mapping[int, int | bytes]", given) if known else self.keepalive

    async def login(self) -> list[tuple[str | int, ...]]:
        """The commands that a new connection begins with, to log in where it belongs.

        Raises:
            Unreachable: whatever a credential provider raises: it may ask a server too.
            FatalError: it gives what is no login.
        """
        known = self._settings.get
        provider, name, word = (
            known(each) for each in ("credential_provider", "username", "password")
        )
        if provider is None and (name or word):
            provider = UsernamePasswordCredentialProvider(
                cast("str | None", name), cast("str | None", word)
            )
        commands: list[tuple[str | int, ...]] = []
        if provider is not None:
            commands.append(
                ("AUTH", *await self._ask(cast("CredentialProvider", provider)))
            )
        database = self._settings.get("db") or 0
        if database:
            commands.append(("SELECT", int(str(database))))
        return commands

    async def _ask(self, provider: CredentialProvider) -> Sequence[str]:
        try:
            login = [*await provider.get_credentials_async()]
        except Exception as error:  # a provider of the user's may raise anything
            said = str(error) or type(error).__name__
            raise Unreachable(f"cannot reach {self}: {said}") from error
        words = cast(
            "Sequence[object]", login
        )  # whatever the provider declares, it is code of the user
        if not all(isinstance(each, str | bytes) for each in words):
            rule = "the credential provider must give texts"
            raise FatalError(f"cannot log in at {self}: {rule}")
        return login

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Address({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return (self._kind, self._settings, self._embedded) == (
            other._kind,
            other._settings,
            other._embedded,
        )

    def __hash__(self) -> int:
        return hash((self._kind, self._embedded, str(self._settings.get("host"))))


def _text(url: object) -> str:
    if not isinstance(url, str):
        # Only its class: bytes may hold a password.
        rule = "must be text, as redis://localhost:6379"
        raise OptionError("url", type(url).__name__, rule)
    return url


def _is_client(given: object) -> TypeGuard[redis.Redis | redis.asyncio.Redis]:
    return isinstance(given, redis.Redis | redis.asyncio.Redis)
