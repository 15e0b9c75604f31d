"""End deliveries: every outcome becomes one step inside Redis, many in one round trip.

Path: worker -> here -> stream.

What is ready is sent as soon as the flush before it has returned: at once when there is
little to do, in large batches under load. Until the server has answered, a delivery is
held and its lease renewed. Sending an outcome twice is safe: the second time the entry
is not ours any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, assert_never

from flowd import outcome
from flowd.delivery import Delivery
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.event import Witnesses
from flowd.lease import Holder
from flowd.letter import letter_fields
from flowd.outage import RECONNECT, Outage
from flowd.steps import Bury, Requeue
from flowd.stream import Stream

__all__ = ["Ending", "Settlement"]

_BATCH: Final = 500

Ending: TypeAlias = tuple[Delivery, outcome.Outcome]


class Settlement:
    """Settles the deliveries of one queue."""

    def __init__(
        self,
        stream: Stream,
        holder: Holder,
        outage: Outage,
        witnesses: Witnesses,
        *,
        settled: Callable[[], None],
        requeued: Callable[[float], None],
        buried: Callable[[Delivery, outcome.DeadLetter, bytes], None],
    ) -> None:
        self._stream = stream
        self._holder = holder
        self._outage = outage
        self._witnesses = witnesses
        self._say = witnesses.say
        self._tell_done = True
        self._on_settled = settled
        self._requeued = requeued
        self._buried = buried
        self._ready: list[Ending] = []
        self._under_way = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        """How many endings are not settled yet."""
        return len(self._ready) + self._under_way

    def add(self, delivery: Delivery, end: outcome.Outcome) -> None:
        """Settle this delivery soon."""
        self._ready.append((delivery, end))
        self._wake.set()

    async def run(self) -> None:
        """Settle what is added, for ever.

        Raises:
            FatalError: the server refuses, and will until somebody changes something.
        """
        failures = 0
        while True:
            await self._wake.wait()
            batch, self._ready = self._ready[:_BATCH], self._ready[_BATCH:]
            self._under_way += len(batch)
            if not self._ready:
                self._wake.clear()
            try:
                await self._settle(batch)
            except FatalError:
                raise
            except ServerError as error:
                self._ready[:0] = batch
                self._under_way -= len(batch)
                self._wake.set()
                failures += 1
                self._outage.begin("settling", self._stream.keys.stream, error)
                await asyncio.sleep(RECONNECT.delay(failures))
            else:
                failures = 0
                self._outage.end("settling", self._stream.keys.stream)

    async def flushed(self) -> None:
        """Return when everything that was added is settled."""
        while len(self):
            self._idle.clear()
            await self._idle.wait()

    async def _settle(self, batch: Sequence[Ending]) -> None:
        acks = [ending for ending in batch if isinstance(ending[1], outcome.Ack)]
        others = [ending for ending in batch if not isinstance(ending[1], outcome.Ack)]
        try:
            results = await self._stream.settle(
                self._holder.consumer,
                [delivery for delivery, _ in acks],
                [self._move(delivery, end) for delivery, end in others],
                forget_progress=self._holder.has_progress,
            )
        except GroupMissing:
            # Stream and group are gone, and with them everything that was pending.
            results = [0] * len(batch)
        self._tell_done = self._witnesses.care(logging.INFO)
        for (delivery, end), result in zip([*acks, *others], results, strict=True):
            if isinstance(result, ServerError):
                self._refused(delivery, end, result)
            else:
                self._under_way -= 1
                self._settled(delivery, end, result)
        if not len(self):
            self._idle.set()
        self._on_settled()

    def _move(self, delivery: Delivery, end: outcome.Outcome) -> Requeue | Bury:
        match end:
            case outcome.Retry(after):
                return Requeue(delivery, after, delivery.next_envelope(failed=True))
            case outcome.Release(after, _):
                return Requeue(delivery, after, delivery.next_envelope(failed=False))
            case outcome.DeadLetter():
                return Bury(
                    delivery, letter_fields(delivery, end, self._holder.consumer)
                )
            case outcome.Ack():
                raise AssertionError("acks travel apart")
            case _:
                assert_never(end)

    def _refused(
        self, delivery: Delivery, end: outcome.Outcome, error: ServerError
    ) -> None:
        """One was refused alone (out of memory): it stays ours, the others are done."""
        self._outage.begin("moving", self._stream.keys.stream, error)
        asyncio.get_running_loop().call_later(RECONNECT.max, self._again, delivery, end)

    def _settled(
        self, delivery: Delivery, end: outcome.Outcome, result: int | bytes
    ) -> None:
        if self._holder.held.get(delivery.entry_id) is delivery:
            del self._holder.held[delivery.entry_id]
        if not isinstance(end, outcome.Ack):
            self._outage.end("moving", self._stream.keys.stream)
        if result == 0:
            text = "was taken over or settled before; not settled"
            self._say(logging.WARNING, "lost", text, delivery)
        elif isinstance(end, outcome.Ack):
            if self._tell_done:
                self._say(logging.INFO, "done", "done", delivery)
        elif result == 2:
            text = "was deleted from the stream by somebody"
            self._say(logging.WARNING, "deleted", text, delivery)
        else:
            self._moved(delivery, end, result)

    def _moved(
        self,
        delivery: Delivery,
        end: outcome.Retry | outcome.Release | outcome.DeadLetter,
        result: int | bytes,
    ) -> None:
        match end:
            case outcome.Retry(after, error):
                text = f"failed, next attempt in {after:.1f} s: {error}"
                self._say(
                    logging.WARNING, "retry", text, delivery, error=error, after=after
                )
                self._requeued(after)
            case outcome.Release(after, reason):
                text = f"handed back: {reason}" if reason else "handed back"
                self._say(logging.INFO, "release", text, delivery, after=after)
                self._requeued(after)
            case outcome.DeadLetter(reason, error):
                text = f"dead-lettered ({reason}): {error}"
                self._say(
                    logging.ERROR,
                    "dead_letter",
                    text,
                    delivery,
                    error=error,
                    reason=reason,
                )
                assert isinstance(result, bytes)
                self._buried(delivery, end, result)
            case _:
                assert_never(end)

    def _again(self, delivery: Delivery, end: outcome.Outcome) -> None:
        self._under_way -= 1
        self._ready.append((delivery, end))
        self._wake.set()
