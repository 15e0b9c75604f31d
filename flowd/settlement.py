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
from flowd.display import printable
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.lease import Holder
from flowd.letter import letter_fields
from flowd.outage import RECONNECT, Outage
from flowd.steps import Bury, Requeue, Settled
from flowd.stream import Stream

__all__ = ["Ending", "Settlement"]

_log: Final = logging.getLogger("flowd")

_BATCH: Final = 500

Ending: TypeAlias = tuple[Delivery, outcome.Outcome]


class Settlement:
    """Settles the deliveries of one queue."""

    def __init__(
        self,
        stream: Stream,
        holder: Holder,
        outage: Outage,
        *,
        settled: Callable[[], None],
        requeued: Callable[[float], None],
        buried: Callable[[Delivery, outcome.DeadLetter, bytes], None],
    ) -> None:
        self._stream = stream
        self._holder = holder
        self._outage = outage
        self._on_settled = settled
        self._requeued = requeued
        self._buried = buried
        self._ready: list[Ending] = []
        self._open = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """How many endings are not settled yet."""
        return self._open

    def add(self, delivery: Delivery, end: outcome.Outcome) -> None:
        """Settle this delivery soon."""
        self._open += 1
        self._idle.clear()
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
            if not self._ready:
                self._wake.clear()
            try:
                await self._settle(batch)
            except FatalError:
                raise
            except ServerError as error:
                self._ready[:0] = batch
                self._wake.set()
                failures += 1
                self._outage.begin("settling", self._stream.keys.stream, error)
                await asyncio.sleep(RECONNECT.delay(failures))
            else:
                failures = 0
                self._outage.end("settling", self._stream.keys.stream)

    async def flushed(self) -> None:
        """Return when everything that was added is settled."""
        await self._idle.wait()

    async def _settle(self, batch: Sequence[Ending]) -> None:
        acks = [ending for ending in batch if isinstance(ending[1], outcome.Ack)]
        others = [ending for ending in batch if not isinstance(ending[1], outcome.Ack)]
        try:
            results = await self._stream.settle(
                self._holder.consumer,
                [delivery for delivery, _ in acks],
                [self._move(delivery, end) for delivery, end in others],
            )
        except GroupMissing:
            # Stream and group are gone, and with them everything that was pending.
            results = [0] * len(batch)
        for (delivery, end), result in zip([*acks, *others], results, strict=True):
            self._settled(delivery, end, result)
        self._on_settled()

    def _move(self, delivery: Delivery, end: outcome.Outcome) -> Requeue | Bury:
        match end:
            case outcome.Retry(after):
                return Requeue(delivery, after, delivery.next_envelope(failed=True))
            case outcome.Release(after):
                return Requeue(delivery, after, delivery.next_envelope(failed=False))
            case outcome.DeadLetter():
                return Bury(
                    delivery, letter_fields(delivery, end, self._holder.consumer)
                )
            case outcome.Ack():
                raise AssertionError("acks travel apart")
            case _:
                assert_never(end)

    def _settled(
        self, delivery: Delivery, end: outcome.Outcome, result: Settled
    ) -> None:
        if isinstance(result, ServerError):
            # Refused alone (out of memory): the entry stays ours, the others are done.
            self._outage.begin("moving", self._stream.keys.stream, result)
            asyncio.get_running_loop().call_later(
                RECONNECT.max, self._again, delivery, end
            )
            return
        self._open -= 1
        if self._open == 0:
            self._idle.set()
        if self._holder.held.get(delivery.entry_id) is delivery:
            del self._holder.held[delivery.entry_id]
        if not isinstance(end, outcome.Ack):
            self._outage.end("moving", self._stream.keys.stream)
        log = _Line(self._stream, delivery)
        if result == 0:
            log(
                logging.WARNING, "lost", "was taken over or settled before; not settled"
            )
            return
        if result == 2 and not isinstance(end, outcome.Ack):
            log(logging.WARNING, "deleted", "was deleted from the stream by somebody")
            return
        match end:
            case outcome.Ack():
                log(logging.INFO, "done", "done")
            case outcome.Retry(after, error):
                text = f"failed, next attempt in {after:.1f} s: {error}"
                log(logging.WARNING, "retry", text, error=error, after=after)
                self._requeued(after)
            case outcome.Release(after):
                log(logging.INFO, "release", "handed back", after=after)
                self._requeued(after)
            case outcome.DeadLetter(reason, error):
                text = f"dead-lettered ({reason}): {error}"
                log(logging.ERROR, "dead_letter", text, error=error, reason=reason)
                assert isinstance(result, bytes)
                self._buried(delivery, end, result)
            case _:
                assert_never(end)

    def _again(self, delivery: Delivery, end: outcome.Outcome) -> None:
        self._ready.append((delivery, end))
        self._wake.set()


class _Line:
    """Logs one line about one delivery."""

    def __init__(self, stream: Stream, delivery: Delivery) -> None:
        self._stream = stream
        self._delivery = delivery

    def __call__(self, level: int, event: str, text: str, **more: object) -> None:
        if not _log.isEnabledFor(level):
            return
        extra = {
            "event": event,
            "stream": self._stream.keys.stream,
            "group": self._stream.group,
            "job_id": self._delivery.job_id,
            "attempt": self._delivery.attempt,
            "deliveries": self._delivery.deliveries,
            **more,
        }
        _log.log(
            level,
            "%s %s attempt %d %s",
            self._stream.keys.stream,
            printable(self._delivery.job_id),
            self._delivery.attempt,
            printable(text),
            extra=extra,
        )
