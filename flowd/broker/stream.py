"""The only module on the path that sends stream commands, and that knows their answers.

Bytes become names and milliseconds become seconds. What a command or a script answers is
said by the reader that is passed with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Final, TypeAlias, TypeVar

from flowd.broker import replies, scripts
from flowd.broker import script_replies as answers
from flowd.broker.append import pack_appends
from flowd.broker.commands import (
    EnqueueCommand,
    Maintained,
    MoveToDeadLetter,
    Requeue,
    Settled,
)
from flowd.broker.connection import TIMEOUT, Argument, Connection
from flowd.broker.refusals import may_not_run
from flowd.broker.scripts import Part
from flowd.errors import AccessDenied, OutcomeUnknown, ServerError
from flowd.model.delivery import Delivery, Entry, id_range, order
from flowd.model.keys import Keys
from flowd.model.timing import milliseconds

__all__ = ["STUCK", "Stream", "read_many", "written"]

STUCK: Final = ":stuck"
"""Ends the name under which a consumer leaves what its handlers do not end."""

_PROMOTED_AT_ONCE: Final = 100
_AT_ONCE: Final = 1_000
_READ_MARGIN: Final = 1.0
_UNBLOCK_AGAIN: Final = 0.02
T = TypeVar("T")
Recount: TypeAlias = tuple[bytes, int, int]


class Stream:
    """One stream, its group and its companion keys, over one connection."""

    def __init__(self, connection: Connection, stream: str, group: str) -> None:
        self.keys = Keys(stream, group)
        self.group = group
        self.connection = connection.at(stream)
        """Modules with scripts of their own send them over it."""

        self._delayed = (self.keys.stream, self.keys.delayed, self.keys.bodies)

    def over(self, connection: Connection) -> Stream:
        """The same stream over another connection."""
        return Stream(connection, self.keys.stream, self.group)

    async def init(self, starting_id: str) -> bool:
        """Create stream and group; False if the group was there.

        Raises:
            StreamShared: another group reads the stream.
            ServerError: as `Connection.call`.
        """
        created = await scripts.INIT.run(
            self.connection,
            [self.keys.stream],
            [self.group, starting_id],
            replies.number,
        )
        return created == 1

    async def add(self, fields: Mapping[bytes, bytes], entry_id: str = "*") -> str:
        """Append one entry; returns its id.

        Raises:
            IdNotIncreasing: `entry_id` is not above the stream's last.
            ServerError: as `Connection.call`.
        """
        pairs = chain.from_iterable(fields.items())
        return await self.connection.call(
            "XADD", self.keys.stream, entry_id, *pairs, read=replies.text
        )

    async def enqueue(
        self, jobs: Sequence[EnqueueCommand], parts: Sequence[Part] = ()
    ) -> list[str | ServerError]:
        """Add jobs in one step; for each its id, up to the first that is refused.

        Args:
            jobs: what to add.
            parts: of capabilities that are concerned.

        Raises:
            ServerError: as `Connection.call`; then nothing is known of any of them.
        """
        if not parts and all(job.is_plain for job in jobs):
            return await self.append([job.fields for job in jobs])
        args: list[Argument] = []
        for job in jobs:
            args += job.arguments
        added = scripts.results(answers.added, most=len(jobs))
        return await scripts.ENQUEUE.run(
            self.connection, self._delayed, args, added, parts
        )

    async def append(
        self, entries: Iterable[Mapping[bytes, bytes]]
    ) -> list[str | ServerError]:
        """Add all or none; without a script, which costs the server as much again.

        Raises:
            ServerError: as `enqueue`.
        """
        packed = pack_appends(self.keys.stream, entries)
        try:
            added = replies.texts_or_refusals(len(packed))
            return await self.connection.transact(packed, added)
        except AccessDenied as error:
            if not may_not_run(error, "multi"):
                raise
            # Then each XADD was carried out by itself.
            raise OutcomeUnknown(f"not all or none: {error}") from error

    async def read(
        self, consumer: str, count: int, block: float | None = None
    ) -> list[Entry]:
        """Take up to `count` new entries, waiting up to `block` seconds for the first.

        Raises:
            GroupMissing: there is no group, or it went away meanwhile.
            ServerError: as `Connection.call`; entries may have been delivered to this consumer.
        """
        return await self.ask_for_entries(consumer, count, block)

    def ask_for_entries(
        self, consumer: str, count: int, block: float | None = None
    ) -> asyncio.Future[list[Entry]]:
        """As `read`, but the command is under way when this returns."""
        wait = () if block is None else ("BLOCK", max(1, milliseconds(block)))
        return self.connection.call(
            *("XREADGROUP", "GROUP", self.group, consumer, "COUNT", count),
            *(*wait, "STREAMS", self.keys.stream, ">"),
            read=answers.taken,
            timeout=TIMEOUT if block is None else block + _READ_MARGIN,
        )

    async def end_read(self, reader: Connection, waits: Callable[[], object]) -> None:
        """End a blocked read at once; it may be sent and not yet be blocked.

        Args:
            reader: on which it waits.
            waits: whether it still has to be ended.

        Raises:
            ServerError: as `Connection.call`; the read may go on.
        """
        while waits():
            unblock = ("CLIENT", "UNBLOCK", reader.client_id)
            if reader.client_id and await self.connection.call(*unblock) == 1:
                return
            await asyncio.sleep(_UNBLOCK_AGAIN)

    async def settle(
        self,
        consumer: str,
        acks: Sequence[Delivery],
        others: Sequence[Requeue | MoveToDeadLetter],
        *,
        runs: bytes = b"",
        batch: int = 0,
        repeated: bool = False,
        keep_receipts: bool = True,
        parts: Sequence[Part] = (),
    ) -> list[Settled]:
        """End deliveries in one step; one result for each, acks first.

        Among `others` dead letters come first: a full server refuses only a first write.
        With acks alone, `runs` says which of their entries lie side by side: `SideBySide`.
        The results of `batch`, the consumer's last, come again if it is `repeated`, up to
        five minutes after the last call with `keep_receipts`.
        Capabilities do their `parts` in the same step.

        Raises:
            StreamShared: another group reads the stream; nothing was settled.
            ServerError: as `Connection.call`. Repeating the call is safe.
        """
        ids = [each.entry_id for each in acks]
        are_first = all(each.count == 1 for each in acks)
        items = [*ids, *(other.delivery.entry_id for other in others)]
        args: list[Argument] = [self.group, consumer, batch, int(repeated)]
        args += (int(keep_receipts), *id_range(items), len(items))
        if are_first:
            args += (len(ids), runs, *ids)
        else:
            args += (0, b"")
            for each in acks:
                args += ("ack", each.entry_id, each.count, 0)
        for other in others:
            args += written(other)
        keys = [*self._delayed, self.keys.dead, self.keys.receipts]
        settled = answers.settled(len(items))
        return await scripts.SETTLE.run(self.connection, keys, args, settled, parts)

    async def renew(
        self,
        consumer: str,
        held: Sequence[tuple[bytes, int]],
        parts: Sequence[Part] = (),
    ) -> list[bytes]:
        """Renew leases of (entry id, delivery count); returns the ids that are lost.

        Capabilities do their `parts` in the same step; what they add begins with `!`.

        Raises:
            ServerError: as `Connection.call`.
        """
        # Side by side, so that the range of a batch holds little else.
        ordered = sorted(held, key=lambda each: order(each[0]))
        batches = _batched(ordered, _AT_ONCE)
        lost = await asyncio.gather(
            *(self._renew(consumer, each, parts) for each in batches)
        )
        return [*chain.from_iterable(lost)]

    async def _renew(
        self, consumer: str, held: Sequence[tuple[bytes, int]], parts: Sequence[Part]
    ) -> list[bytes]:
        args: list[Argument] = [self.group, consumer, held[0][0], held[-1][0]]
        for entry_id, count in held:
            args += (entry_id, count)
        return await scripts.RENEW.run(
            self.connection, [self.keys.stream], args, answers.ids, parts
        )

    async def recount(self, consumer: str, held: Sequence[Recount]) -> list[bytes]:
        """Change counts: (entry id, delivery count, new count); returns lost ids.

        Raises:
            ServerError: as `Connection.call`.
        """
        lost: list[bytes] = []
        for some in _batched(held, _AT_ONCE):
            args: list[Argument] = [self.group, consumer]
            args += chain.from_iterable(some)
            lost += await scripts.RECOUNT.run(
                self.connection, [self.keys.stream], args, answers.ids
            )
        return lost

    async def abandon(self, consumer: str, held: Sequence[Recount]) -> None:
        """Let leases of (entry id, delivery count, new count) run out, whatever happens here.

        Raises:
            ServerError: as `Connection.call`. Repeating the call is safe.
        """
        for some in _batched(held, _AT_ONCE):
            args: list[Argument] = [self.group, consumer, f"{consumer}{STUCK}"]
            args += chain.from_iterable(some)
            await scripts.ABANDON.run(
                self.connection, [self.keys.stream], args, answers.ids
            )

    async def maintain(
        self,
        consumer: str,
        *,
        lease: float,
        takeovers: int,
        cursor: bytes,
        orphans: int = 0,
        running: Iterable[bytes] = (),
        parts: Sequence[Part] = (),
    ) -> Maintained:
        """Promote due jobs and take over up to `takeovers` abandoned entries.

        Entries that Redis holds for this consumer and that are not `running` were
        delivered in an answer that never came. With `orphans` above 0, which says how
        many, they are taken, and what runs with a lost lease is renewed. Without it
        nothing is taken over while an own entry has lost its lease (`Maintained.unsorted`).
        Capabilities do their `parts` in the same step.

        Raises:
            ServerError: as `Connection.call`; entries may have been delivered to this consumer.
        """
        args: list[Argument] = [
            self.group,
            consumer,
            milliseconds(lease),
            _PROMOTED_AT_ONCE,
        ]
        args += (takeovers, cursor, orphans)
        if orphans:
            # One argument: so many may run that some services would refuse the request.
            args.append(b" ".join(running))
        read = answers.maintained(len(parts))
        return await scripts.MAINTAIN.run(
            self.connection, self._delayed, args, read, parts
        )

    async def forget_consumer(self, consumer: str) -> bool:
        """Forget a consumer; False if it owns entries or is not there."""
        return await self._forget(0, consumer) == 1

    async def reap(self, silence: float) -> int:
        """Forget consumers that own nothing and were silent for so many seconds."""
        return await self._forget(milliseconds(silence), "")

    async def _forget(self, silence_ms: int, consumer: str) -> int:
        args: list[Argument] = [self.group, silence_ms, consumer]
        keys = [self.keys.stream, self.keys.receipts, self.keys.workers]
        return await scripts.FORGET_CONSUMER.run(
            self.connection, keys, args, replies.number
        )

    async def remaining(self, parts: Sequence[Part] = ()) -> tuple[int, int]:
        """How many jobs run or wait (of those that wait, one), and how many are delayed.

        Capabilities count in their `parts` what waits elsewhere.
        """
        keys = [self.keys.stream, self.keys.delayed, self.keys.control]
        entries, delayed = await scripts.REMAINING.run(
            self.connection, keys, [self.group], replies.numbers(2), parts
        )
        return entries, delayed


async def read_many(
    connection: Connection,
    group: str,
    consumer: str,
    streams: Sequence[str],
    *,
    count: int,
    block: float,
) -> list[tuple[str, list[Entry]]]:
    """Take up to `count` new entries of each stream, waiting up to `block` seconds for one.

    Raises:
        GroupMissing: one has no group, or it went away meanwhile; nothing was delivered.
        ServerError: as `Connection.call`; entries may have been delivered to this consumer.
    """
    return await connection.call(
        *("XREADGROUP", "GROUP", group, consumer, "COUNT", count),
        *("BLOCK", max(1, milliseconds(block)), "STREAMS"),
        *(*streams, *repeat(">", len(streams))),
        read=answers.taken_of_many,
        timeout=block + _READ_MARGIN,
    )


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of up to `size` items (`itertools.batched` comes with Python 3.12)."""
    return (items[at : at + size] for at in range(0, len(items), size))


def written(move: Requeue | MoveToDeadLetter) -> list[Argument]:
    """What `settle` sends for an entry that moves.

    Raises:
        Exception: it holds what cannot be sent.
    """
    rest: list[Argument] = []
    match move:
        case Requeue(delivery, delay, envelope):
            verb = "requeue"
            rest += (milliseconds(delay), delivery.job_id)
            rest += chain.from_iterable(envelope.items())
        case MoveToDeadLetter(delivery, letter):
            verb = "dead"
            rest += letter
    return [verb, delivery.entry_id, delivery.count, len(rest), *rest]
