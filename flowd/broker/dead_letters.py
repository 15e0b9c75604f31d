"""What is sent to Redis of dead letters: reading, redriving and purging them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from flowd.broker import replies, scripts
from flowd.broker import script_replies as answers
from flowd.broker.connection import BULK_READ_TIMEOUT, Argument
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import CommandRefused, KeyTaken, ServerError
from flowd.model.letter import LETTER_FIELDS
from flowd.model.text import count_of

__all__ = [
    "Redriven",
    "newest_letter",
    "newest_letters",
    "purge",
    "read_letters",
    "redrive",
]

_NAMED: Final = 5

_UNCHANGED: Final[Mapping[str, Mapping[bytes, bytes]]] = {}


async def read_letters(
    stream: Stream, first: str, last: str, count: int
) -> list[tuple[bytes, list[bytes]]]:
    """Up to `count` dead letters from `first` to `last`; `(ID` leaves ID itself out.

    Each is its id and its fields as name, value, name, value …

    Raises:
        ServerError: as `Connection.call`.
    """
    return await stream.connection.call(
        *("XRANGE", stream.keys.dead, first, last, "COUNT", count),
        read=replies.entries,
        timeout=BULK_READ_TIMEOUT,
    )


async def newest_letters(
    stream: Stream, before: str, since: str, count: int, *, most: int, own: bool
) -> list[tuple[bytes, list[bytes]]]:
    """Up to `count` dead letters, the newest first, as `read_letters`.

    Args:
        stream: of the queue.
        before: `+`, or `(ID` for those before ID.
        since: `-`, or the first id that counts.
        count: how many, 100 at most.
        most: how many bytes of each value; the rest is cut off.
        own: only the fields that say why the job died.

    Raises:
        ServerError: as `Connection.call`.
    """
    args: list[Argument] = [before, since, count, most, LETTER_FIELDS if own else 0]
    return await scripts.LETTERS.run(
        stream.connection, [stream.keys.dead], args, replies.entries
    )


async def newest_letter(stream: Stream) -> str:
    """The id of the newest dead letter; `0-0` without any.

    Raises:
        ServerError: as `Connection.call`.
    """
    return await stream.connection.call(
        *("XREVRANGE", stream.keys.dead, "+", "-", "COUNT", 1), read=replies.last_id
    )


async def redrive(
    stream: Stream,
    letters: Sequence[tuple[str, str]],
    edited: Mapping[str, Mapping[bytes, bytes]] = _UNCHANGED,
    parts: Sequence[Part] = (),
) -> list[bool | ServerError]:
    """Put the first of these dead letters (letter id, job id) back into the stream.

    Those that make up 1 MB are moved in one step. Under a letter's id, `edited` has the
    fields that its job gets instead of its own. Capabilities do their `parts` in the same
    step. For each letter that had its turn, at least one: True, False if it is gone, or
    why it was refused.

    Raises:
        StreamShared: another group reads the stream; none was moved.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    args: list[Argument] = [stream.group, LETTER_FIELDS]
    for letter_id, job_id in letters:
        fields = edited.get(letter_id)
        args += (letter_id, job_id, -1 if fields is None else 2 * len(fields))
        args += chain.from_iterable((fields or {}).items())
    keys = [stream.keys.stream, stream.keys.dead, stream.keys.control]
    every = scripts.results(answers.moved)

    def moved(reply: object) -> list[bool | ServerError]:
        found = every(reply)
        if not 0 < len(found) <= len(letters):
            raise replies.unlike(f"1 to {len(letters)} items", reply)
        return found

    return await scripts.REDRIVE.run(stream.connection, keys, args, moved, parts)


@dataclass(slots=True)
class Redriven:
    """What became of many letters that were to be put back."""

    moved: int = 0
    taken: dict[str, KeyTaken] = field(default_factory=dict[str, KeyTaken])
    """The letters whose keys other jobs have."""

    refused: dict[str, CommandRefused] = field(
        default_factory=dict[str, CommandRefused]
    )
    """The letters that Redis refused, each for itself."""

    def add(
        self,
        letters: Sequence[tuple[str, str]],
        results: Sequence[bool | ServerError],
    ) -> None:
        """Count the results of the first of these letters (letter id, job id).

        Raises:
            ServerError: what all letters need is missing.
        """
        self.moved += sum(result is True for result in results)
        for (letter_id, _), result in zip(letters, results, strict=False):
            if isinstance(result, KeyTaken):
                self.taken[letter_id] = result
            elif isinstance(result, CommandRefused):
                self.refused[letter_id] = result
            elif isinstance(result, ServerError):
                raise result

    def check(self) -> None:
        """Raise for the letters that stay.

        Raises:
            KeyTaken: other jobs have their keys.
            CommandRefused: Redis refused one; a note has the others.
        """
        taken = None
        if self.taken:
            first = next(iter(self.taken.values()))
            taken = KeyTaken(
                self._taken_text(),
                job_id=first.job_id,
                key=first.key,
                letters=[*self.taken],
                moved=self.moved,
            )
        if not self.refused:
            if taken is not None:
                raise taken
            return
        error = next(iter(self.refused.values()))
        ids = list(self.refused)
        error.add_note(f"flowd: {count_of(len(ids), 'letter')} refused: {_some(ids)}.")
        error.add_note(f"flowd: {taken or f'{self.moved} are back.'}")
        raise error

    def _taken_text(self) -> str:
        each = [
            f"letter {letter}: the job {found.job_id} has {found.key}"
            for letter, found in self.taken.items()
        ]
        return (
            f"{self.moved} are back, {len(each)} not: other jobs have their `unique`"
            " keys; let those end, or redrive with `when_free` (flowd dlq redrive"
            f" --when-free): then these run afterwards. {_some(each)}"
        )


def _some(words: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(words) - _NAMED
    return "; ".join(words[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


async def purge(stream: Stream, letter_id: str, job_id: str, key: str | None) -> bool:
    """Delete a dead letter and free its idempotency key; False if it is gone.

    Raises:
        ServerError: as `Connection.call`.
    """
    keys = [stream.keys.dead]
    if key is not None:
        keys.append(stream.keys.idempotency(key))
    deleted = await scripts.PURGE.run(
        stream.connection, keys, [letter_id, job_id], replies.number
    )
    return deleted == 1
