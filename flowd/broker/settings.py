"""What a URL or a client says of connections, and what of it may be shown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Final, TypeAlias
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

from flowd.errors import OptionError

__all__ = [
    "AWAITED",
    "FORM",
    "LATE_LOGIN",
    "PORT",
    "SCHEMES",
    "TLS_OPTIONS",
    "Client",
    "Settings",
    "check_place",
    "lent",
    "parsed",
    "refused",
    "unknown_scheme",
    "without_login",
]

Client: TypeAlias = (
    redis.Redis | redis.asyncio.Redis | redis.RedisCluster | redis.asyncio.RedisCluster
)
"""A client of redis-py, which lends its settings."""

Settings: TypeAlias = Mapping[str, object]
"""Of connections, by the names of redis-py."""

SCHEMES: Final = (
    "must start with redis://, rediss:// or unix://, with redis+sentinel://,"
    " rediss+sentinel://, redis+cluster:// or rediss+cluster://, or be embedded: or"
    " embedded:PATH, which has no // before the path"
)
_KINDS: Final = (
    *("redis", "rediss", "unix", "embedded"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
FORM: Final = (
    "must be as redis://USER:PASSWORD@HOST:PORT/DB, with numbers for PORT and DB (a port"
    " is 0 to 65535); what is / ? # or @ in a password is written %2F %3F %23 or %40"
)

# Greedy: a login ends at the last @, also where a / or ? in it was not escaped. What
# stands before the first colon is a scheme or a user's name.
_LOGIN: Final = re.compile(r"^([a-z+]+://)?(?:.*\?.*=.*@.*|.*@)", re.DOTALL)
LATE_LOGIN: Final = re.compile(r"#|[/?].*@", re.DOTALL)
_VALUE: Final = re.compile(r"([?&](?!db=)[^=&]*=).*", re.DOTALL)
# A database stands behind a host and its port; without a host the number is a password's.
_NO_PORT: Final = re.compile(
    r":(?!//|\d{1,5}$|(?<=[^/]:)\d{1,5}/[\w/-]*$).*", re.DOTALL
)

_DATABASE: Final = re.compile(r"(/[0-9]*)?")
PORT: Final = 6_379
_PORTS: Final = 65_535

_LOGIN_OPTIONS: Final = ("db", "username", "password")
_TCP_OPTIONS: Final = (*_LOGIN_OPTIONS, "host", "port", "socket_keepalive")
TLS_OPTIONS: Final = tuple(
    name for name in inspect.signature(SSLConnection).parameters if name[:4] == "ssl_"
)
_OPTIONS: Final[Mapping[object, tuple[str, ...]]] = {
    Connection: _TCP_OPTIONS,
    SSLConnection: (*_TCP_OPTIONS, *TLS_OPTIONS),
    UnixDomainSocketConnection: (*_LOGIN_OPTIONS, "path"),
}
"""What may stand behind the ? of a URL."""

# A client that blocks lends its settings as well. What another class of connections does
# when it connects, flowd would not do.
AWAITED: Final[Mapping[object, type[AbstractConnection]]] = {
    **{kind: kind for kind in (Connection, SSLConnection, UnixDomainSocketConnection)},
    redis.connection.Connection: Connection,
    redis.connection.SSLConnection: SSLConnection,
    redis.connection.UnixDomainSocketConnection: UnixDomainSocketConnection,
}

_MANY_HOSTS: Final = (
    "a comma is in the URL of many hosts alone: redis+cluster://HOST:PORT,HOST:PORT, or"
    " redis+sentinel://HOST:PORT,HOST:PORT/NAME with the sentinels of a primary"
)
_BLANK: Final = re.compile(r"\s")

# What a caller's client may say; timeouts, retries and encodings are flowd's own.
_LENT: Final = re.compile(
    r"host|port|path|db|username|password|credential_provider|ssl_\w+"
    r"|socket_keepalive\w*"
)


def lent(options: Mapping[str, object]) -> dict[str, object]:
    """The settings that a client lends, of those of its connections."""
    return {
        name: value
        for name, value in options.items()
        # A client that blocks has more options of TLS, and says of each that it is off.
        if _LENT.fullmatch(name)
        and (value or name[:4] != "ssl_" or name in TLS_OPTIONS)
    }


def check_place(settings: Settings) -> None:
    """Refuse what only the event loop would, and redis-py then take for an outage.

    Raises:
        ValueError: no host can have the name, or no port the number.
    """
    host = str(settings.get("host", ""))
    host.encode("idna")
    if "," in host:
        raise ValueError(_MANY_HOSTS)
    if _BLANK.search(host):
        raise ValueError("no host has a blank in its name")
    if not 0 <= int(str(settings.get("port", 0))) <= _PORTS:
        raise ValueError(f"port must be 0 to {_PORTS}")


def parsed(
    url: str, given: str, form: str = FORM
) -> tuple[type[AbstractConnection], dict[str, object]]:
    """What redis-py reads in it: which connections, and their settings.

    Args:
        url: of one server.
        given: the user's, of which the error speaks.
        form: how that should be.

    Raises:
        OptionError: nothing, the host in a part of the login, no database in the path, or
            an option that is none.
    """
    settings = _parsed(url, given, form)
    kind = settings.pop("connection_class", Connection)
    assert isinstance(kind, type)
    assert issubclass(kind, AbstractConnection)
    known = _OPTIONS[kind]
    for name in settings:
        if name not in known:
            rule = f"{name} is no option of it; known are {', '.join(known)}"
            raise OptionError("url", without_login(given), rule)
    return kind, settings


def _parsed(url: str, given: str, form: str) -> dict[str, object]:
    rule = form
    try:
        url.encode()
        if not LATE_LOGIN.search(url.partition("://")[2]):
            settings = {**parse_url(url)}
            parts = urlsplit(url)
            # redis-py takes a path that is no number for database 0.
            if parts.scheme == "unix" or _DATABASE.fullmatch(parts.path):
                return settings
    except ValueError as error:
        # In most words of the parser is what it takes for a port, be it the password.
        if str(error).startswith("Invalid value for"):
            rule = str(error)
    hosts = url.partition("://")[2].rpartition("@")[2].partition("/")[0]
    raise refused(given, _MANY_HOSTS if "," in hosts and rule is form else rule)


def unknown_scheme(url: str) -> OptionError:
    """The error about a URL of no known kind, and which may have been meant."""
    from difflib import get_close_matches  # noqa: PLC0415 - for people who err

    typed = url.partition(":")[0].lower()
    close = get_close_matches(typed, _KINDS, 1, 0.75)
    # Only known words are shown: what was typed may be a part of a password.
    kind = f"{close[0]}:{'' if close[0] == 'embedded' else '//'}" if close else ""
    hint = f"; did you mean {kind}?" if kind and typed not in _KINDS else ""
    return refused(url, f"{SCHEMES}{hint}")


def refused(url: str, rule: str) -> OptionError:
    """The error about a URL in which a password may stand anywhere."""
    shown = without_login(url)
    if "@" not in url:
        shown = _NO_PORT.sub(":***", shown)
    return OptionError("url", shown, rule)


def without_login(url: str) -> str:
    """The URL as it may be shown."""
    return _VALUE.sub(r"\1***", _LOGIN.sub(r"\1***@", url))
