"""Which entries lie side by side in their stream: those that came in one read.

A stream grows at its end only, so between two entries of one read there never is another.
What lies side by side at the head of its stream is deleted by where it ends, for a fifth of
what it costs to look up each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from flowd.model.delivery import Entry, order

__all__ = ["SideBySide"]

_FEWEST: Final = 8
"""To delete fewer costs about as much one by one."""

_READS: Final = 4
_LAST: Final = 2**64 - 1


class SideBySide:
    """What the last reads of one queue have brought."""

    def __init__(self) -> None:
        self._reads: deque[list[bytes]] = deque(maxlen=_READS)

    def note(self, entries: Sequence[Entry]) -> None:
        """One read has brought these."""
        if len(entries) >= _FEWEST:
            self._reads.append([each.id for each in entries])

    def runs(self, ids: list[bytes]) -> bytes:
        """The runs that entries lie in: of each its first id, and the lowest id behind it.

        Empty if there are few, or if others may lie between them.
        """
        runs: list[bytes] = []
        at = 0 if len(ids) >= _FEWEST else len(ids)
        while at < len(ids):
            for read in self._reads:
                if ids[at] in read:
                    break
            else:
                return b""
            rest = read[read.index(ids[at]) :][: len(ids) - at]
            if rest != ids[at : at + len(rest)]:
                return b""
            at += len(rest)
            runs += (rest[0], _behind(rest[-1]))
        return b" ".join(runs)


def _behind(entry_id: bytes) -> bytes:
    ms, seq = order(entry_id)
    return b"%d-%d" % ((ms, seq + 1) if seq < _LAST else (ms + 1, 0))
