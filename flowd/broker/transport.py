"""A socket to where a server is, connected: unix, TCP or TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from flowd.broker.blocking import in_thread

__all__ = ["KEEPALIVE", "QUICK_KEEPALIVE", "TlsContext", "connect_tcp", "connect_unix"]

_PATIENCE: Final = 2.0
"""Seconds until it must be connected, the look-up of the name and TLS included."""

_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def _keepalive(idle: int, interval: int, count: int) -> Mapping[int, int]:
    options = {"TCP_KEEPIDLE": idle, "TCP_KEEPINTVL": interval, "TCP_KEEPCNT": count}
    return {
        getattr(socket, name): value
        for name, value in options.items()
        if hasattr(socket, name)  # not every system has all of them
    }


KEEPALIVE: Final = _keepalive(30, 5, 3)
"""Options of a socket: a machine may vanish silently; its connection is closed after 45 s."""

QUICK_KEEPALIVE: Final = _keepalive(3, 1, 3)
"""The same after 6 s, where another server may take over."""

_Place: TypeAlias = tuple[
    int,
    int,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]
"""As `socket.getaddrinfo` says it: family, type, protocol, canonical name, address."""


class TlsContext:
    """What TLS is spoken with; made again when a file of it has changed.

    A certificate that is renewed on disk is used from the next connection on.

    Args:
        settings: of redis-py, among them the names of the files.
        make: makes one of what the files hold now.
    """

    def __init__(
        self, settings: Mapping[str, object], make: Callable[[], ssl.SSLContext]
    ) -> None:
        self._files = [
            (name, str(settings[name])) for name in _FILES if settings.get(name)
        ]
        self._make = make
        self._stamps: list[tuple[int, ...]] = []
        self._made: ssl.SSLContext | None = None

    def get(self) -> ssl.SSLContext:
        """The context of the files as they are.

        Raises:
            OSError: a file cannot be read, or is no certificate or key, or they do not
                fit together.
        """
        stamps = [_stamp(option, file) for option, file in self._files]
        if self._made is None or stamps != self._stamps:
            for option, file in self._files:
                _check(option, file)
            self._made, self._stamps = self._make(), stamps
        return self._made


async def connect_unix(protocol: asyncio.BaseProtocol, path: str) -> None:
    """Connect the protocol to a unix socket.

    Raises:
        OSError: it is not there.
        TimeoutError: it does not take the connection.
    """
    loop = asyncio.get_running_loop()
    sock = _new(socket.AF_UNIX, socket.SOCK_STREAM, 0)
    try:
        async with asyncio.timeout(_PATIENCE):
            await loop.sock_connect(sock, path)
            await loop.create_unix_connection(lambda: protocol, sock=sock)
    except BaseException:
        sock.close()
        raise


async def connect_tcp(
    protocol: asyncio.BaseProtocol,
    host: str,
    port: int,
    *,
    keepalive: Mapping[int, int | bytes] | None = KEEPALIVE,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Connect the protocol to the first address of a host that takes the connection.

    Args:
        protocol: made for this connection.
        host: its name or address.
        port: its number.
        keepalive: options of the socket; None: a silent peer is not probed.
        tls: None to send in the clear.

    Raises:
        OSError: the name has no address, or none of them can be reached.
        TimeoutError: none can in time.
    """
    loop = asyncio.get_running_loop()
    name = host if tls is not None else None
    async with asyncio.timeout(_PATIENCE):
        kind = (socket.AF_UNSPEC, socket.SOCK_STREAM)
        places = await in_thread(socket.getaddrinfo, host, port, *kind)
        sock = await _connected(places, keepalive)
        try:
            await loop.create_connection(
                lambda: protocol, sock=sock, ssl=tls, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise


async def _connected(
    places: Sequence[_Place], keepalive: Mapping[int, int | bytes] | None
) -> socket.socket:
    """A socket to the first place that takes it; one that is silent has half the time."""
    refused: list[str] = []
    until = asyncio.get_running_loop().time() + _PATIENCE
    for number, place in enumerate(places, 1):
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(left / 2 if number < len(places) else left):
                return await _connect(place, keepalive)
        except TimeoutError:
            refused.append(f"no answer in time ({_shown(place)})")
        except OSError as error:
            what = os.strerror(error.errno) if error.errno else str(error)
            refused.append(f"{what} ({_shown(place)})")
    raise OSError(", ".join(refused))


async def _connect(
    place: _Place, keepalive: Mapping[int, int | bytes] | None
) -> socket.socket:
    family, kind, protocol, _, address = place
    sock = _new(family, kind, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in keepalive.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _new(family: int, kind: int, protocol: int) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    _sockets.add(sock)
    return sock


def _shown(place: _Place) -> str:
    host, port = map(str, place[4][:2])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stamp(option: str, file: str) -> tuple[int, ...]:
    try:
        status = Path(file).stat()
    except OSError as error:
        raise _unreadable(option, file, error) from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _check(option: str, file: str) -> None:
    """Name the file that is wrong: ssl does not say which."""
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise _unreadable(option, file, error) from None
    if b"-----BEGIN " not in text:
        raise OSError(f"{option} {file!r} has nothing in the form of PEM")


def _unreadable(option: str, file: str, error: OSError) -> OSError:
    return OSError(f"{option} {file!r}: {error.strerror or type(error).__name__}")


_sockets: Final[weakref.WeakSet[socket.socket]] = weakref.WeakSet()


def _let_go() -> None:
    """Let go of the sockets, in a forked child: they are the parent's.

    What still refers to them here, such as a destructor, then has no effect; and the server
    notices when the parent dies, though its child lives. They stay open, to nowhere: a
    number that is given to another file would be closed by the object that still has it.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for sock in list(_sockets):
        if sock.fileno() >= 0:
            os.dup2(nowhere, sock.fileno(), inheritable=False)
    os.close(nowhere)


os.register_at_fork(after_in_child=_let_go)
