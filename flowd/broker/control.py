"""What is sent to Redis to cancel and delete jobs that have not ended."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.broker import replies, scripts
from flowd.broker.connection import Argument
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import ServerError
from flowd.errors.option import entry_id
from flowd.model.delivery import by_name, can_be_id, is_entry_id
from flowd.model.event import EventBus

__all__ = [
    "AT_ONCE",
    "PAUSED_AT",
    "CancelResult",
    "DeleteResult",
    "Found",
    "JobPlace",
    "Marks",
    "Removal",
    "cancel",
    "cancel_by_id",
    "delete_by_id",
    "due_now",
    "pause",
    "paused_since",
    "read_marks",
    "removals",
    "resume",
]

AT_ONCE: Final = 100
"""How many jobs are cancelled in one step, at most."""

PAUSED_AT: Final = "18446744073709551615-18446744073709551614"
"""Where the group of a paused queue stands: behind every entry that there can be."""

_SCAN: Final = 10_000
_GLANCE: Final = 1_024
"""Bytes of a value that are read to recognize a job: as many as a key has."""

_TRIES: Final = 5
_REMOVED: Final = re.compile(r"(\w+):(\w+)=(\d{1,16})", re.ASCII)

Found: TypeAlias = Literal["", "waiting", "delayed", "parked", "running"]
"""What a job did when it was to be cancelled; empty if it did none of these."""

CancelResult: TypeAlias = Literal["cancelled", "cancelling", "not_found"]
"""`cancelled`: the job waited, and is gone. `cancelling`: it runs, and its worker cancels it
at once, or at the latest within a quarter of a lease; a worker that takes it over does, too.
`not_found`: it has ended, or was never there."""

DeleteResult: TypeAlias = Literal["deleted", "running", "not_found"]
"""`deleted`: the job waited, and is gone. `running`: a worker has it, and it is left alone.
`not_found`: it has ended, or was never there."""


class JobPlace(NamedTuple):
    """Where a job is that has not ended."""

    entry_id: str
    """Empty while it is delayed."""

    job_id: str
    key: str | None = None
    """The idempotency key it was enqueued with, which it frees if it never ran."""

    is_gated: bool = False
    """Whether its queue has policies, and it may hold something of its gate."""


@dataclass(frozen=True, slots=True)
class Removal:
    """How jobs ended that no worker had."""

    how: str
    """`cancelled` or `deleted`."""

    state: str
    """`waiting`, `delayed` or `parked`."""

    jobs: int
    """How many, since the queue was set up."""


class Marks(NamedTuple):
    """Running jobs that are to be cancelled."""

    revision: int
    jobs: frozenset[str]


async def cancel(
    stream: Stream, places: Sequence[JobPlace], *, running: bool
) -> list[Found | ServerError]:
    """Let up to 100 jobs end: what waits or is delayed is gone, what runs may be marked.

    What is gone is counted (`removals`), and published to those who follow the queue.

    Args:
        stream: of the queue.
        places: where they are.
        running: whether they are cancelled, running ones too; else they are deleted, and
            running ones only said to be running.

    Raises:
        StreamShared: another group reads the stream; nothing was changed.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    own = stream.keys
    keys = [own.stream, own.delayed, own.bodies, own.control]
    how = "cancelled" if running else "deleted"
    args: list[Argument] = [stream.group, how, own.cancels, own.tail]
    for place in places:
        args += (place.entry_id, place.job_id, int(place.key is not None))
        if place.key is not None:
            keys.append(own.idempotency(place.key))
    found = scripts.results(_found, exactly=len(places))
    gated = any(place.is_gated for place in places)
    parts = [Part("cancel_gate", own.gate, ("",))] if gated else []
    return await scripts.CANCEL.run(stream.connection, keys, args, found, parts)


async def cancel_by_id(
    stream: Stream, job_id: str, events: EventBus | None = None
) -> CancelResult:
    """Cancel the job with this id.

    A job that failed before, or was delayed, has an entry of another id: it is searched
    among those that run and those that wait, 10,000 at most. One that is behind them is
    marked, and ends when a worker takes it. After a lost answer, a repeat may find
    nothing of a job that was cancelled.

    Args:
        stream: of the queue.
        job_id: as `enqueue` returned it.
        events: receives `removed` for a job that no worker has, which else none reports.

    Raises:
        OptionError: `job_id` is no text.
        StreamShared: another group reads the stream; nothing was changed.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    found = await _end(stream, job_id, events, "cancelled")
    if found is None:
        return await _mark(stream, job_id)
    if found == "running":
        return "cancelling"
    return "cancelled" if found else "not_found"


async def delete_by_id(
    stream: Stream, job_id: str, events: EventBus | None = None
) -> DeleteResult:
    """Delete the job with this id, unless a worker has it; arguments as `cancel_by_id`.

    Raises:
        OptionError: `job_id` is no text.
        StreamShared: another group reads the stream; nothing was changed.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    found = await _end(stream, job_id, events, "deleted")
    if found == "running":
        return "running"
    return "deleted" if found else "not_found"


async def _end(
    stream: Stream,
    job_id: str,
    events: EventBus | None,
    how: Literal["cancelled", "deleted"],
) -> Found | None:
    """Let a job end; what it did, or None if it may be behind those that are searched."""
    if not can_be_id(entry_id("job_id", job_id)):
        return ""
    for _ in range(_TRIES):
        place, complete = await _find(stream, job_id)
        if place is None:
            return "" if complete else None
        (found,) = await cancel(stream, [place], running=how == "cancelled")
        if isinstance(found, ServerError):
            raise found
        if found and found != "running" and events is not None:
            events.emit(
                logging.INFO,
                "removed",
                "job %s was %s while it was %s",
                filled=("job", "how", "state"),
                job=job_id,
                how=how,
                state=found,
            )
        if found:
            return found
        # It has moved meanwhile: it was taken, ended, or waits for a retry.
    return None


async def due_now(stream: Stream, job_id: str, now: float) -> bool:
    """Let a delayed job be due at once; False if there is none of this id.

    A worker promotes it within two seconds (a longer `block`: within that, or a third of
    the lease), or as soon as one runs.

    Args:
        stream: of the queue.
        job_id: of the job.
        now: the server's time.

    Raises:
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    key = stream.keys.delayed
    if not can_be_id(job_id):
        return False
    if await stream.connection.call("ZSCORE", key, job_id) is None:
        return False
    await stream.connection.call(
        *("ZADD", key, "XX", "LT", int(now * 1000), job_id), read=replies.number
    )
    return True


async def pause(stream: Stream) -> bool:
    """Let no reader get a job until `resume`; False if it was so before.

    Raises:
        GroupMissing: the queue was never set up.
        StreamShared: another group reads the stream; nothing was changed.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    return await _set(scripts.PAUSE, stream)


async def resume(stream: Stream) -> bool:
    """Undo `pause`; False if the queue was not paused.

    Raises:
        StreamShared: another group reads the stream; nothing was changed.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    return await _set(scripts.RESUME, stream)


async def paused_since(stream: Stream) -> float | None:
    """When the queue was paused, in seconds since 1970; None if it is not.

    Raises:
        ServerError: as `Connection.call`.
    """
    raw = await stream.connection.call(
        "HGET", stream.keys.control, "@paused", read=replies.maybe(replies.data)
    )
    return None if raw is None else int(raw.rpartition(b" ")[2]) / 1000


async def removals(stream: Stream) -> list[Removal]:
    """How many jobs ended that no worker had, since the queue was set up.

    Raises:
        ServerError: as `Connection.call`.
    """
    raw = await stream.connection.call(
        "HGET", stream.keys.control, "@removed", read=replies.maybe(replies.text)
    )
    return [
        Removal(how, state, int(number))
        for how, state, number in _REMOVED.findall(raw or "")
    ]


async def _set(script: scripts.Script, stream: Stream) -> bool:
    keys = [stream.keys.stream, stream.keys.control]
    done = await script.run(stream.connection, keys, [stream.group], replies.number)
    return done == 1


async def read_marks(stream: Stream) -> Marks:
    """Which running jobs are to be cancelled.

    Raises:
        ServerError: as `Connection.call`.
    """
    raw = await stream.connection.call(
        "HGET", stream.keys.control, "@cancels", read=replies.maybe(replies.data)
    )
    revision, *lines = (raw or b"0").decode("utf-8", "backslashreplace").split("\n")
    return Marks(int(revision), frozenset(each.partition(" ")[2] for each in lines))


async def _mark(stream: Stream, job_id: str) -> CancelResult:
    """Let the workers look for a job that this process cannot find."""
    (marked,) = await cancel(stream, [JobPlace("*", job_id)], running=True)
    if isinstance(marked, ServerError):
        raise marked
    return "cancelling"


async def _find(stream: Stream, job_id: str) -> tuple[JobPlace | None, bool]:
    """Where a job is, and whether everything was searched."""
    entry_id = job_id if is_entry_id(job_id) else ""
    here = await _ask(stream, "one", entry_id, job_id)
    if here:
        return min(here, key=lambda place: place.job_id != job_id), True
    searched = 0
    for state in ("running", "waiting"):
        async for place in _places(stream, state):
            if place.job_id == job_id:
                return place, True
            searched += 1
            if searched == _SCAN:
                return None, False
    return None, True


async def _places(stream: Stream, state: str) -> AsyncIterator[JobPlace]:
    after = ""
    while True:
        more: tuple[Argument, ...] = ("",) if state == "running" else ()
        page = await _ask(stream, state, after, AT_ONCE, *more)
        for place in page:
            yield place
        if not page:
            return
        after = page[-1].entry_id


async def _ask(stream: Stream, *question: Argument) -> list[JobPlace]:
    own = stream.keys
    keys = [own.stream, own.delayed, own.bodies, own.progress]
    keys += [own.gate[1], own.control]
    args: list[Argument] = [stream.group, _GLANCE, *question]
    return await scripts.QUERY.run(stream.connection, keys, args, replies.items(_place))


def _place(reply: object) -> JobPlace:
    state, own, flat, *_ = replies.array(reply)
    fields = by_name(replies.fields(flat))
    name, key = replies.data(own), fields.get(b"_key")
    delayed = replies.data(state) in (b"delayed", b"parked")
    return JobPlace(
        "" if delayed else _text(name),
        _text(name if delayed else fields.get(b"_id", name)),
        None if key is None else _text(key),
        b"_gate" in fields,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _found(reply: object) -> Found:
    match replies.data(reply):
        case b"waiting":
            return "waiting"
        case b"delayed":
            return "delayed"
        case b"parked":
            return "parked"
        case b"running":
            return "running"
        case b"":
            return ""
        case _:
            raise replies.unlike("a state", reply)
