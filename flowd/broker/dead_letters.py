"""What is sent to Redis of dead letters: reading, redriving and purging them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from flowd.broker import replies, scripts
from flowd.broker import script_replies as answers
from flowd.broker.connection import BULK_READ_TIMEOUT, Argument
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import ServerError
from flowd.model.letter import LETTER_FIELDS

__all__ = ["newest_letter", "newest_letters", "purge", "read_letters", "redrive"]

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
