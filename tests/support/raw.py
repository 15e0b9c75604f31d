"""A client that shows a server's own replies, for looking behind flowd's back."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import Self, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from tests.support.certificates import trusting

__all__ = ["Raw", "RawError", "Reply"]

Reply: TypeAlias = "int | bytes | list[Reply] | None"


_EVERYWHERE = {"FLUSHALL", "CONFIG", "ACL", "SCRIPT", "CLIENT"}


class RawError(Exception):
    """The server's error reply, its code first."""


class Raw:
    """Call it with a command: `raw("XLEN", "emails")` returns the reply as it came.

    Args:
        url: `unix:///path`, `redis://host:port`, or `rediss://` with its certificates.
        timeout: seconds to wait for a reply, then TimeoutError.
    """

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        parts = urlsplit(url)
        self._nodes: dict[str, Raw] = {}
        if parts.scheme == "redis+cluster":
            places = parts.netloc.split(",")
            self._nodes = {each: Raw(f"redis://{each}", timeout) for each in places}
            parts = urlsplit(f"redis://{places[0]}")
        elif parts.scheme == "redis+sentinel":
            parts = _primary(parts)
        if parts.scheme == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(unquote(parts.path))
        else:
            self._socket = socket.create_connection((parts.hostname, parts.port))
        if context := trusting(url):
            self._socket = context.wrap_socket(
                self._socket, server_hostname=parts.hostname
            )
        self._socket.settimeout(timeout)
        self._replies = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Do nothing: it is connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        for node in self._nodes.values():
            node.__exit__()
        self._replies.close()
        self._socket.close()

    def __call__(self, *words: str | bytes | float) -> Reply:
        """Send a command and return the reply; raises RawError, ConnectionError.

        In a cluster it goes to the node of its key, and without a key to all of them;
        then the first reply is returned.
        """
        if self._nodes:
            return self._in_cluster(*words)
        coded = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        bulks = [b"$%d\r\n%b\r\n" % (len(word), word) for word in coded]
        self._socket.sendall(b"*%d\r\n%b" % (len(bulks), b"".join(bulks)))
        return self._reply()

    def _in_cluster(self, *words: str | bytes | float) -> Reply:
        first, *others = self._nodes.values()
        try:
            reply = first(*words)
        except RawError as error:
            code, *_, place = str(error).split(" ")
            if code != "MOVED":
                raise
            return self._nodes[place](*words)
        if str(words[0]).upper() in _EVERYWHERE:
            for each in others:
                with suppress(RawError):  # a replica
                    each(*words)
        return reply

    def at(self, key: str) -> Raw:
        """The client of the node that has a key; this one, unless in a cluster."""
        for each in self._nodes.values():
            with suppress(RawError):
                each("EXISTS", key)
                return each
        return self

    def line(self) -> bytes:
        """Return the next line that comes unasked, as after MONITOR."""
        return _bytes(self._reply())

    def calls(self, command: str) -> int:
        """Return how often the server ran a command, those inside scripts as well.

        Of a subcommand as `client|unblock`, Redis 6.2 knows only its command's number.
        """
        if self._nodes:
            return sum(each.calls(command) for each in self._nodes.values())
        lines = _text(self("INFO", "commandstats")).splitlines()
        counts = dict(line.split(":calls=") for line in lines if ":calls=" in line)
        names = (command, command.partition("|")[0])
        found = (counts[f"cmdstat_{n}"] for n in names if f"cmdstat_{n}" in counts)
        return int(next(found, "0").partition(",")[0])

    def entries(self, stream: str) -> list[tuple[str, dict[bytes, bytes]]]:
        """Return a stream's entries, oldest first: id and fields."""
        return [_entry(reply) for reply in _list(self("XRANGE", stream, "-", "+"))]

    def setting(self, name: str) -> str:
        """Return one value of the server's configuration."""
        return _text(_list(self("CONFIG", "GET", name))[1])

    def info(self, name: str) -> str:
        """Return one line of INFO, as `process_id`."""
        lines = _text(self("INFO")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)[name]

    def clients(self, name: str) -> list[dict[str, str]]:
        """Return what CLIENT LIST says of the connections with this name."""
        lines = _text(self("CLIENT", "LIST")).splitlines()
        found = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [client for client in found if client["name"] == name]

    def _reply(self) -> Reply:
        line = self._replies.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"$":
                size = int(rest)
                return None if size < 0 else self._replies.read(size + 2)[:-2]
            case b"*":
                size = int(rest)
                return None if size < 0 else [self._reply() for _ in range(size)]
            case b"-":
                raise RawError(rest.decode())
            case _:
                raise ConnectionError("the server closed the connection")


def _primary(sentinels: SplitResult) -> SplitResult:
    """Where the primary is that a URL of sentinels names."""
    with Raw(f"redis://{sentinels.netloc.split(',')[0]}") as raw:
        name = sentinels.path.strip("/")
        host, port = _list(raw("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name))
    return urlsplit(f"redis://{_text(host)}:{_text(port)}")


def _entry(reply: Reply) -> tuple[str, dict[bytes, bytes]]:
    entry_id, flat = _list(reply)
    words = [_bytes(word) for word in _list(flat)]
    return _text(entry_id), dict(zip(words[::2], words[1::2], strict=True))


def _list(reply: Reply) -> list[Reply]:
    assert isinstance(reply, list)
    return reply


def _bytes(reply: Reply) -> bytes:
    assert isinstance(reply, bytes)
    return reply


def _text(reply: Reply) -> str:
    return _bytes(reply).decode()
