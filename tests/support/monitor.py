"""What clients send to a server, as the server saw it."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Final, Self

from tests.support.raw import Raw

__all__ = ["Monitor"]

_LINE: Final = re.compile(rb'[\d.]+ \[\d+ (?P<client>[^"]*)\] "(?P<command>[^"]*)"')

_ROWS: Final = re.compile(rb'"XPENDING" (?:"[^"]*" ){4}"(\d+)"')
"""XPENDING key group first last COUNT, as in the fence."""

_WORD: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')

_SCRIPT: Final = re.compile(rb'"EVALSHA" "([0-9a-f]{40})"')


class Monitor:
    """Watches a server with MONITOR: between two calls of `sent`, nothing is missed.

    Commands inside scripts and functions are not counted: no client waited for them.

    Args:
        url: as for `Raw`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lines = Raw(url)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._lines("MONITOR")
        return self

    def __exit__(self, *_: object) -> None:
        """End the connection."""
        self._lines.__exit__()

    def rows(self) -> int:
        """How many pending entries scripts have asked for at most since the last call."""
        asked = (_ROWS.search(line) for line in self._seen() if b" lua] " in line)
        return sum(int(found[1]) for found in asked if found is not None)

    def moved(self) -> list[int]:
        """How many entries each script has added since the last call."""
        added: list[int] = []
        for line in self._seen():
            if b" lua] " not in line:
                added.append(0)
            elif b'"XADD"' in line and added:
                added[-1] += 1
        return added

    def sent(self) -> Counter[str]:
        """How often each command was sent since the last call, by its name."""
        commands: Counter[str] = Counter()
        for line in self._seen():
            found = _LINE.match(line)
            assert found, f"MONITOR says {line!r}"
            if found["client"] != b"lua":
                commands[found["command"].decode().upper()] += 1
        return commands

    def words(self, *, inside: bool = False) -> list[tuple[str, int]]:
        """Each command since the last call, and how many words it has.

        Args:
            inside: those of scripts, in place of those of clients.
        """
        seen = [_WORD.findall(line) for line in self._seen() if _inside(line) == inside]
        return [(words[0].decode().strip('"').upper(), len(words)) for words in seen]

    def scripts(self) -> set[str]:
        """The hashes of the scripts that were run since the last call."""
        return {
            found[1].decode()
            for line in self._seen()
            if (found := _SCRIPT.search(line)) is not None
        }

    def _seen(self) -> Iterator[bytes]:
        """What the server has seen since the last call."""
        mark = uuid.uuid4().hex.encode()
        with Raw(self._url) as client:
            client("ECHO", mark)
        while mark not in (line := self._lines.line()):
            yield line


def _inside(line: bytes) -> bool:
    """Whether a script has sent a command."""
    return b" lua] " in line
