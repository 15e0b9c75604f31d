"""Readers for the answers of the scripts, and of commands on entries."""

from __future__ import annotations

from flowd.broker import replies
from flowd.broker.commands import SETTLED, Maintained, Settled
from flowd.broker.scripts import results
from flowd.errors import OutcomeUnknown, ServerError
from flowd.model.delivery import Entry, by_name
from flowd.model.duplicate import Duplicate

__all__ = [
    "added",
    "ids",
    "maintained",
    "moved",
    "pending",
    "settled",
    "taken",
    "taken_of_many",
    "time",
]


def ids(reply: object) -> list[bytes]:
    """Ids of entries, or names."""
    return [replies.data(each) for each in replies.array(reply)]


def taken(reply: object) -> list[Entry]:
    """New entries of one stream; nil if none came."""
    if reply is None:
        return []
    ((_, entries),) = map(replies.pair, replies.array(reply))
    return [_entry(each, 1, fields) for each, fields in replies.entries(entries)]


def taken_of_many(reply: object) -> list[tuple[str, list[Entry]]]:
    """New entries by stream; nil if none came."""
    if reply is None:
        return []
    return [
        (replies.text(name), taken([[name, entries]]))
        for name, entries in map(replies.pair, replies.array(reply))
    ]


def settled(count: int) -> replies.Reader[list[Settled]]:
    """How so many deliveries ended; the answer is 1 if all were acks and are settled."""
    each = results(_ending, exactly=count)
    return lambda reply: [SETTLED] * count if reply == 1 else each(reply)


def _ending(reply: object) -> int | bytes:
    """How one delivery ended: a number, or the id of its dead letter."""
    return reply if type(reply) is bytes else replies.number(reply)


def moved(reply: object) -> bool:
    """Whether a dead letter was put back; nil if it is gone."""
    return reply is not None and bool(replies.data(reply))


def maintained(parts: int) -> replies.Reader[Maintained]:
    """What one step of maintenance did, and the answer of each of so many parts."""

    def read(reply: object) -> Maintained:
        every = replies.array(reply)
        promoted, next_due, cursor, next_lease, entries, unsorted = every[:6]
        due = replies.number(next_due)
        found = Maintained(
            replies.number(promoted),
            None if due < 0 else due / 1000,
            replies.data(cursor),
            replies.number(next_lease) / 1000,
            [_taken_over(each) for each in replies.array(entries)],
            replies.number(unsorted) == 1,
            [replies.number(each) for each in every[6:]],
        )
        if len(found.answers) != parts:
            raise replies.unlike(f"{6 + parts} items", reply)
        return found

    return read


def _taken_over(reply: object) -> Entry:
    entry_id, count, flat = replies.array(reply)
    return _entry(replies.data(entry_id), replies.number(count), replies.fields(flat))


def _entry(entry_id: bytes, delivery_count: int, flat: list[bytes]) -> Entry:
    return Entry(entry_id, delivery_count, by_name(flat), len(flat) // 2)


def added(reply: object) -> str | ServerError:
    """What became of a job that was to be added."""
    said = replies.data(reply)
    if said[:1] == b"?":
        return OutcomeUnknown(said[1:].decode("utf-8", "replace"))
    if said[:1] in (b"=", b"~"):
        return Duplicate(said[1:].decode(), replaced=said[:1] == b"~")
    return said.decode()


def pending(reply: object) -> list[tuple[bytes, bytes, int, int]]:
    """What XPENDING says of each: id, consumer, ms without a sign of life, deliveries."""
    rows: list[tuple[bytes, bytes, int, int]] = []
    for row in replies.array(reply):
        each, consumer, idle, count = replies.array(row)
        rows.append(
            (
                *(replies.data(each), replies.data(consumer)),
                *(replies.number(idle), replies.number(count)),
            )
        )
    return rows


def time(reply: object) -> float:
    """Seconds since 1970."""
    seconds, micros = replies.array(reply)
    return int(replies.data(seconds)) + int(replies.data(micros)) / 1e6
