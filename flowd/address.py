"""Where a server is and how to log in there."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from typing import Final

import redis.asyncio
import redis.connection
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flowd.errors import OptionError
from flowd.server import is_embedded, open_embedded

__all__ = ["Address"]

_LOGIN: Final = re.compile(r"//.*@")
_PASSWORD: Final = re.compile(r"(password|username)=[^&]*")

# A client that blocks lends its settings as well.
_AWAITED: Final[Mapping[object, type[AbstractConnection]]] = {
    redis.connection.Connection: Connection,
    redis.connection.SSLConnection: SSLConnection,
    redis.connection.UnixDomainSocketConnection: UnixDomainSocketConnection,
}

# What a caller's client may say; timeouts, retries and encodings are flowd's own.
_LENT: Final = re.compile(
    r"host|port|path|db|username|password|credential_provider|ssl_\w+"
    r"|socket_keepalive\w*|socket_type"
)


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
            OptionError: neither is given, both are, or the URL is none of these.
        """
        if client is not None:
            if url is not None:
                raise OptionError("url", _safe(url), "give url or redis, not both")
            return cls._of_client(client)
        url = url or os.environ.get("FLOWD_URL")
        if not url:
            raise OptionError(
                "url",
                url,
                "give url=… or redis=…, or set FLOWD_URL, as in redis://localhost:6379",
            )
        if is_embedded(url):
            address = cls(url, UnixDomainSocketConnection, {})
            address._embedded = url
            return address
        try:
            settings: dict[str, object] = {**parse_url(url)}
        except ValueError as error:
            rule = "must start with redis://, rediss://, unix:// or embedded:"
            if "://" in url and url.split("://")[0] in ("redis", "rediss", "unix"):
                rule = str(error)
            raise OptionError("url", _safe(url), rule) from None
        kind = settings.pop("connection_class", Connection)
        assert isinstance(kind, type)
        assert issubclass(kind, AbstractConnection)
        return cls(_safe(url), kind, settings)

    @classmethod
    def _of_client(cls, client: redis.Redis | redis.asyncio.Redis) -> Address:
        pool = client.connection_pool
        given: type[object] = pool.connection_class
        kind = _AWAITED.get(given, given)
        if not issubclass(kind, AbstractConnection):
            rule = f"has connections of the class {given.__name__}; give url= instead"
            raise OptionError("redis", client, rule)
        settings = {
            k: v for k, v in pool.connection_kwargs.items() if _LENT.fullmatch(k)
        }
        place = settings.get("path") or "{}:{}".format(
            settings.get("host", "localhost"), settings.get("port", 6379)
        )
        return cls(f"redis at {place}", kind, settings)

    async def connection(self, name: str) -> AbstractConnection:
        """A new connection, not yet connected; starts an embedded server if needed."""
        settings = dict(self._settings)
        if self._embedded is not None:
            # Asked again each time: the server ends with its owner, and then the next
            # process that asks becomes the owner.
            settings["path"] = await asyncio.to_thread(open_embedded, self._embedded)
        return self._kind(
            **settings,
            client_name=name,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=2.0,
        )

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


def _safe(url: str) -> str:
    """The URL without its login."""
    return _PASSWORD.sub(r"\1=***", _LOGIN.sub("//***@", url))
