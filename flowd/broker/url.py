"""Where a server is and how to log in there."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, Self, cast
from urllib.parse import urlsplit

import redis.asyncio
import redis.connection
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

from flowd.broker.blocking import in_thread
from flowd.broker.transport import KEEPALIVE, TlsContext, connect_tcp, connect_unix
from flowd.embedded import is_embedded, open_embedded
from flowd.errors import FatalError, OptionError, Unreachable

__all__ = ["Address"]

_SCHEMES: Final = (
    "must start with redis://, rediss:// or unix://, or be embedded: or embedded:PATH,"
    " which has no // before the path"
)
_FORM: Final = (
    "must be as redis://USER:PASSWORD@HOST:PORT/DB, with numbers for PORT and DB; what"
    " is / ? # or @ in a password is written %2F %3F %23 or %40"
)

# Greedy: a login ends at the last @, also where a / or ? in it was not escaped. What
# stands before the first colon is a scheme or a user's name.
_LOGIN: Final = re.compile(r"^([a-z]+://)?(?:.*\?.*=.*@.*|.*@)", re.DOTALL)
_LATE_LOGIN: Final = re.compile(r"#|[/?].*@", re.DOTALL)
_VALUE: Final = re.compile(r"([?&](?!db=)[^=&]*=).*", re.DOTALL)
# A database stands behind a host and its port; without a host the number is a password's.
_NO_PORT: Final = re.compile(
    r":(?!//|\d{1,5}$|(?<=[^/]:)\d{1,5}/[\w/-]*$).*", re.DOTALL
)

_DATABASE: Final = re.compile(r"(/[0-9]*)?")
_PORT: Final = 6_379
_PORTS: Final = 65_535

_LOGIN_OPTIONS: Final = ("db", "username", "password")
_TCP_OPTIONS: Final = (*_LOGIN_OPTIONS, "host", "port", "socket_keepalive")
_TLS_OPTIONS: Final = tuple(
    name for name in inspect.signature(SSLConnection).parameters if name[:4] == "ssl_"
)
_OPTIONS: Final[Mapping[object, tuple[str, ...]]] = {
    Connection: _TCP_OPTIONS,
    SSLConnection: (*_TCP_OPTIONS, *_TLS_OPTIONS),
    UnixDomainSocketConnection: (*_LOGIN_OPTIONS, "path"),
}
"""What may stand behind the ? of a URL."""

# A client that blocks lends its settings as well. What another class of connections does
# when it connects, flowd would not do.
_AWAITED: Final[Mapping[object, type[AbstractConnection]]] = {
    **{kind: kind for kind in (Connection, SSLConnection, UnixDomainSocketConnection)},
    redis.connection.Connection: Connection,
    redis.connection.SSLConnection: SSLConnection,
    redis.connection.UnixDomainSocketConnection: UnixDomainSocketConnection,
}

# What a caller's client may say; timeouts, retries and encodings are flowd's own.
_LENT: Final = re.compile(
    r"host|port|path|db|username|password|credential_provider|ssl_\w+"
    r"|socket_keepalive\w*"
)


class _MadeContext(Protocol):
    """What redis-py makes of the options of TLS; its own class has no types."""

    def get(self) -> ssl.SSLContext: ...


class Address:
    """A server, as a URL or a redis-py client names it.

    `str()` never shows a password. Equal addresses share their connections.
    """

    def __init__(
        self,
        shown: str,
        kind: Callable[..., AbstractConnection],
        settings: Mapping[str, object],
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
        client: redis.Redis | redis.asyncio.Redis | None = None,
    ) -> Address:
        """From a URL, a client whose settings are lent, or else `FLOWD_URL`.

        Args:
            url: `redis://`, `rediss://`, `unix://`, `embedded:` or `embedded:PATH`.
            client: only its settings are used, never its connections.

        Raises:
            OptionError: neither is given, both are, the URL is none of these, or it has
                options that are none, or that redis-py cannot use.
        """
        if client is not None:
            if url is not None:
                raise _refused(url, "give url or redis, not both")
            return cls._of_client(client)
        url = url or os.environ.get("FLOWD_URL")
        if not url:
            raise OptionError.absent(
                "url",
                "no URL: give url=, redis= or set FLOWD_URL, as redis://localhost:6379",
            )
        if is_embedded(url):
            address = cls(url, UnixDomainSocketConnection, {})
            address._embedded = url
            return address
        return cls._of_url(url)

    @classmethod
    def _of_url(cls, url: str) -> Self:
        scheme, separator, _ = url.partition("://")
        if not separator or scheme.lower() not in ("redis", "rediss", "unix"):
            raise _refused(url, _SCHEMES)
        settings = _parsed(url)
        kind = settings.pop("connection_class", Connection)
        assert isinstance(kind, type)
        assert issubclass(kind, AbstractConnection)
        known = _OPTIONS[kind]
        for name in settings:
            if name not in known:
                rule = f"{name} is no option of it; known are {', '.join(known)}"
                raise OptionError("url", _safe(url), rule)
        address = cls(_safe(url), kind, settings)
        address._try("url")
        return address

    @classmethod
    def _of_client(cls, client: redis.Redis | redis.asyncio.Redis) -> Address:
        if not _is_client(client):
            # Only its class: a URL has a password.
            rule = "must be a redis-py client; a URL is given as url="
            raise OptionError("redis", type(client).__name__, rule)
        pool = client.connection_pool
        given: type[object] = pool.connection_class
        kind = _AWAITED.get(given)
        if kind is None:
            rule = f"has connections of the class {given.__name__}; give url= instead"
            raise OptionError("redis", type(client).__name__, rule)
        settings = {
            name: value
            for name, value in pool.connection_kwargs.items()
            # A client that blocks has more options of TLS, and says of each that it is off.
            if _LENT.fullmatch(name)
            and (value or name[:4] != "ssl_" or name in _TLS_OPTIONS)
        }
        place = settings.get("path") or "{}:{}".format(
            settings.get("host", "localhost"), settings.get("port", 6379)
        )
        address = cls(f"redis at {place}", kind, settings)
        address._try("redis")
        return address

    def _try(self, option: str) -> None:
        """Let redis-py make a connection of the settings, without a server."""
        try:
            _check_place(self._settings)
            self._kind(**self._settings)
            if self.tls:
                self._tls.get()
        except Exception as error:  # redis-py's own, and what ssl says of the files
            rule = f"redis-py cannot use it: {type(error).__name__}: {error}"
        else:
            return
        raise OptionError(option, self._shown, rule)

    def _make_context(self) -> ssl.SSLContext:
        settings = {k: v for k, v in self._settings.items() if k in _TLS_OPTIONS}
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
            await connect_tcp(
                protocol,
                str(self._settings.get("host", "localhost")),
                int(str(self._settings.get("port", _PORT))),
                keepalive=self._keepalive(),
                tls=self._tls.get() if self.tls else None,
            )

    @property
    def tls(self) -> bool:
        """Whether connections speak TLS."""
        return self._kind is SSLConnection

    def _keepalive(self) -> Mapping[int, int | bytes] | None:
        if not self._settings.get("socket_keepalive", True):
            return None
        # None means without options, and a mark of redis-py's that none were given.
        given = self._settings.get("socket_keepalive_options", KEEPALIVE)
        if given is None:
            return {}
        known = isinstance(given, Mapping)
        return cast("Mapping[int, int | bytes]", given) if known else KEEPALIVE

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
        except Exception as error:
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


def _is_client(given: object) -> bool:
    return isinstance(given, redis.Redis | redis.asyncio.Redis)


def _check_place(settings: Mapping[str, object]) -> None:
    """Refuse what only the event loop would, and redis-py then take for an outage.

    Raises:
        ValueError: no host can have the name, or no port the number.
    """
    str(settings.get("host", "")).encode("idna")
    if not 0 <= int(str(settings.get("port", 0))) <= _PORTS:
        raise ValueError(f"port must be 0 to {_PORTS}")


def _parsed(url: str) -> dict[str, object]:
    """What redis-py reads in it.

    Raises:
        OptionError: nothing, the host in a part of the login, or no database in the path.
    """
    rule = _FORM
    try:
        url.encode()
        if not _LATE_LOGIN.search(url.partition("://")[2]):
            settings = {**parse_url(url)}
            parts = urlsplit(url)
            # redis-py takes a path that is no number for database 0.
            if parts.scheme == "unix" or _DATABASE.fullmatch(parts.path):
                return settings
    except ValueError as error:
        # In most words of the parser is what it takes for a port, be it the password.
        if str(error).startswith("Invalid value for"):
            rule = str(error)
    raise _refused(url, rule)


def _refused(url: str, rule: str) -> OptionError:
    """The error about a URL in which a password may stand anywhere."""
    shown = _safe(url)
    if "@" not in url:
        shown = _NO_PORT.sub(":***", shown)
    return OptionError("url", shown, rule)


def _safe(url: str) -> str:
    """The URL without its login."""
    return _VALUE.sub(r"\1***", _LOGIN.sub(r"\1***@", url))
