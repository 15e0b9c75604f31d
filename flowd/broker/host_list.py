"""Addresses of many hosts: sentinels that name a primary, and nodes of a cluster.

    redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB
    redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT

USER and PASSWORD are those of the primary; `?sentinel_username=` and `sentinel_password=`
are those of the sentinels. With `rediss` both speak TLS. Loaded by those who use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol, cast
from urllib.parse import unquote

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection

from flowd.broker.cluster import ClusterAddress
from flowd.broker.links import place_shown
from flowd.broker.sentinel import SentinelAddress
from flowd.broker.settings import (
    FORM,
    LATE_LOGIN,
    PORT,
    Settings,
    lent,
    parsed,
    refused,
    unknown_scheme,
    without_login,
)
from flowd.broker.url import Address
from flowd.errors import OptionError

__all__ = ["address_of_client", "address_of_url"]

_URL: Final = re.compile(
    r"(?P<tls>rediss?)\+(?P<kind>sentinel|cluster)://(?P<login>.*@)?(?P<hosts>[^/?#@]*)"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>.*))?",
    re.DOTALL | re.IGNORECASE,
)
_SENTINEL_FORM: Final = (
    "must be as redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB, where NAME is"
    f" that of the primary; {FORM.partition(', ')[2]}"
)
_CLUSTER_FORM: Final = (
    "must be as redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT with some of the nodes,"
    f" and no database; {FORM.partition(', ')[2]}"
)
_FORMS: Final = {"+cluster": _CLUSTER_FORM, "+sentinel": _SENTINEL_FORM}
_SENTINEL_PATH: Final = re.compile(r"/([^/]+)(/[0-9]*)?")
_SENTINEL_LOGIN: Final = ("sentinel_username", "sentinel_password")
_SENTINEL_PORT: Final = 26_379


class _Pool(Protocol):
    """What flowd needs of redis-py's pools of a primary that sentinels know."""

    connection_class: type[object]
    connection_kwargs: dict[str, object]
    is_master: bool
    service_name: str
    sentinel_manager: _Manager


class _Node(Protocol):
    host: str
    port: int


class _NodesManager(Protocol):
    startup_nodes: dict[str, _Node]
    connection_kwargs: dict[str, object]


class _Nodes(Protocol):
    """What flowd needs of redis-py's clusters."""

    nodes_manager: _NodesManager


class _Manager(Protocol):
    sentinels: Sequence[redis.asyncio.Redis]


def address_of_url(url: str) -> Address:
    """The address that a URL of many hosts names.

    Raises:
        OptionError: it is none.
    """
    form = _FORMS.get(url.partition("://")[0].lower().removeprefix("redis").lstrip("s"))
    found = _URL.fullmatch(url)
    if form and (found is None or LATE_LOGIN.search(url.partition("://")[2])):
        raise refused(url, form)
    if found is None:
        raise unknown_scheme(url)
    of_cluster = found["kind"].lower() == "cluster"
    return _cluster(url, found) if of_cluster else _sentinel(url, found)


def address_of_client(client: object) -> Address:
    """The address of a `RedisCluster`, or of a client that `Sentinel.master_for` has made.

    Raises:
        OptionError: it is of replicas, or has settings that cannot be used.
    """
    if hasattr(client, "nodes_manager"):
        return _of_cluster_client(cast("_Nodes", client))
    return _of_sentinel_client(cast("redis.asyncio.Redis", client))


def _of_cluster_client(client: _Nodes) -> Address:
    nodes = client.nodes_manager
    kwargs = getattr(client, "connection_kwargs", None) or nodes.connection_kwargs
    tls = bool(kwargs.get("ssl")) or kwargs.get("connection_class") is SSLConnection
    seeds = [(each.host, each.port) for each in nodes.startup_nodes.values()]
    settings = lent(kwargs)
    for name in [name for name in settings if name in {"host", "port", "path", "db"}]:
        del settings[name]
    if not tls:
        settings = {name: v for name, v in settings.items() if name[:4] != "ssl_"}
    shown = "redis cluster at " + ", ".join(map(place_shown, seeds))
    kind = SSLConnection if tls else Connection
    address = ClusterAddress(shown, kind, settings, seeds=seeds)
    address.check("redis")
    return address


def _of_sentinel_client(client: redis.asyncio.Redis) -> Address:
    pool = cast("_Pool", client.connection_pool)
    if not pool.is_master:
        rule = "is of replicas, where no job can run; give that of master_for()"
        raise OptionError("redis", type(client).__name__, rule)
    tls = "SSL" in pool.connection_class.__name__
    sentinels = [Address.of(None, each) for each in pool.sentinel_manager.sentinels]
    places = ", ".join(place_shown(each.place) for each in sentinels)
    shown = f"redis primary {pool.service_name} of the sentinels {places}"
    settings = lent(pool.connection_kwargs)
    return _checked(
        "redis",
        SentinelAddress(
            shown,
            SSLConnection if tls else Connection,
            settings,
            name=pool.service_name,
            sentinels=sentinels,
        ),
    )


def _cluster(url: str, found: re.Match[str]) -> Address:
    if (found["path"] or "/").strip("/") not in {"", "0"}:
        raise refused(url, _CLUSTER_FORM)
    kind, settings, places = _hosts(url, found, "", found["query"] or "", _CLUSTER_FORM)
    if settings.get("db"):
        raise refused(url, _CLUSTER_FORM)
    seeds = [(host, port or PORT) for host, port in places]
    address = ClusterAddress(without_login(url), kind, settings, seeds=seeds)
    for each in (address, *map(address.server_at, seeds)):
        each.check("url")
    return address


def _sentinel(url: str, found: re.Match[str]) -> Address:
    path = _SENTINEL_PATH.fullmatch(found["path"] or "")
    if path is None:
        raise refused(url, _SENTINEL_FORM)
    options = [each for each in (found["query"] or "").split("&") if each]
    own = [each for each in options if each.partition("=")[0] in _SENTINEL_LOGIN]
    rest = "&".join(each for each in options if each not in own)
    kind, settings, places = _hosts(url, found, path[2] or "", rest, _SENTINEL_FORM)
    tls = {name: value for name, value in settings.items() if name[:4] == "ssl_"}
    login = {
        name.removeprefix("sentinel_"): unquote(value)
        for name, _, value in (each.partition("=") for each in own)
    }
    sentinels = [
        Address(
            place_shown((host, port)),
            kind,
            {**tls, **login, "host": host, "port": port},
        )
        for host, port in ((host, port or _SENTINEL_PORT) for host, port in places)
    ]
    name = unquote(path[1])
    shown = without_login(url)
    return _checked(
        "url", SentinelAddress(shown, kind, settings, name=name, sentinels=sentinels)
    )


def _hosts(
    url: str, found: re.Match[str], database: str, query: str, form: str
) -> tuple[type[AbstractConnection], Settings, list[tuple[str, int | None]]]:
    """What all hosts have in common, and each with its port, as redis-py reads them."""
    places: list[tuple[str, int | None]] = []
    kind: type[AbstractConnection] = Connection
    settings: dict[str, object] = {}
    for host in found["hosts"].split(","):
        login, end = found["login"] or "", f"?{query}" if query else ""
        plain = f"{found['tls'].lower()}://{login}{host}{database}{end}"
        kind, settings = parsed(plain, url, form)
        if "host" not in settings:
            raise refused(url, form)
        port = settings.pop("port", None)
        number = None if port is None else int(str(port))
        places.append((str(settings.pop("host")), number))
    return kind, settings, places


def _checked(option: str, address: SentinelAddress) -> Address:
    for each in (address, *address.sentinels):
        each.check(option)
    return address
