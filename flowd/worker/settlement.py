"""End deliveries: every outcome becomes one step inside Redis, many in one round trip.

Path: executor -> here -> stream.

What is ready is sent as soon as the flush before it has returned: at once when there is
little to do, in large batches under load. Until the server has answered, a delivery is
held and its lease renewed. Sending a batch twice is safe: the second time the server
says what the first did. What it refuses one by one is held apart.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import Final, Generic, TypeVar, assert_never

from flowd.broker.commands import (
    MOST_ARGUMENTS,
    NOT_OURS,
    SETTLED,
    MoveToDeadLetter,
    Requeue,
    Settled,
)
from flowd.broker.extension import SettleExtension, parts_of
from flowd.broker.outage import RECONNECT, Outage
from flowd.broker.stream import Stream, written
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.event import EventBus
from flowd.model.job import Job, payload_size
from flowd.model.letter import letter_fields
from flowd.worker.ahead import ReadAhead
from flowd.worker.ending import ErrorOutcomes
from flowd.worker.in_flight import InFlight
from flowd.worker.quarantine import Quarantine
from flowd.worker.refused import Ending, RefusedSettlements
from flowd.worker.settlement_report import SettlementReport
from flowd.worker.side_by_side import SideBySide

__all__ = ["Ending", "Settlement"]

J = TypeVar("J", bound=Job)

_BATCH_BYTES: Final = 1_000_000
# Arguments: of an ack all, of what moves what its envelope or letter has at most.
_PER_ACK: Final = 4
_PER_MOVE: Final = 40
_LATER: Final = 60.0
_KEPT: Final = 60.0
_ACKED: Final = (outcome.Ack, outcome.Discard)


class Settlement(Generic[J]):
    """Settles the deliveries of one queue."""

    def __init__(
        self,
        stream: Stream,
        consumer: str,
        in_flight: InFlight,
        outage: Outage,
        events: EventBus,
        *,
        extensions: Sequence[SettleExtension],
        most: int,
        together: SideBySide,
        ahead: ReadAhead,
        quarantine: Quarantine,
        report: SettlementReport[J],
        endings: ErrorOutcomes,
    ) -> None:
        self._stream = stream
        self._consumer = consumer
        self._in_flight = in_flight
        self._extensions = extensions
        self._most = most
        """How many endings go in one step."""

        self._together = together
        self._ahead = ahead
        self._quarantine = quarantine
        self._report = report
        self._endings = endings
        self._outage = outage
        self._emit = events.emit
        self._apart = RefusedSettlements(in_flight, self._again)
        self._batches = 0
        self._receipts_kept_until = 0.0
        self._ready: list[Ending] = []
        self._under_way = 0
        self._gathers = False
        self._wake = asyncio.Event()
        ahead.emptied = self._wake.set
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        """How many endings are not settled yet, without those that are held apart."""
        return len(self._ready) + self._under_way

    def submit(self, delivery: Delivery, end: outcome.Outcome) -> None:
        """Settle this delivery soon."""
        if isinstance(end, outcome.Discard):
            delivery.discarded = end.reason
        self._ready.append((delivery, end))
        # While jobs wait that were read ahead, more will be done in a moment.
        is_done = isinstance(end, outcome.Ack)
        more = self._gathers or (is_done and self._ahead.more_than(len(self._ready)))
        if not more:
            self._wake.set()

    async def gather(self, seconds: float) -> None:
        """Return after so many; what ends meanwhile is sent with the command that follows."""
        self._gathers = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self._gathers = False
            if self._ready:
                self._wake.set()

    async def run(self) -> None:
        """Settle what is submitted, until cancelled.

        Raises:
            FatalError: Redis refuses, and an operator must change something.
        """
        try:
            while True:
                await self._wake.wait()
                batch, moves = self._next_batch()
                if not self._ready:
                    self._wake.clear()
                self._under_way = len(batch)
                results = await self._answer(batch, moves) if batch else ()
                self._under_way = 0
                self._conclude(batch, results)
        finally:
            self._apart.close()

    async def flushed(self) -> None:
        """Return when everything that was added is settled, or refused once more."""
        self._apart.ask_all()
        while len(self):
            self._idle.clear()
            await self._idle.wait()

    def _next_batch(
        self,
    ) -> tuple[list[Ending], Sequence[Requeue | MoveToDeadLetter]]:
        """Take what goes in one step: acks first, then up to 1 MB of jobs that move."""
        batch, self._ready = self._ready[: self._most], self._ready[self._most :]
        if {type(end) for _, end in batch} == {outcome.Ack}:
            return batch, ()
        batch.sort(key=_order)
        size = arguments = 0
        for number, (delivery, end) in enumerate(batch, 1):
            arguments += _PER_ACK
            if not isinstance(end, _ACKED):
                size += payload_size(delivery.fields)
                arguments += _PER_MOVE
            if size >= _BATCH_BYTES or arguments >= MOST_ARGUMENTS:
                self._ready[:0] = batch[number:]
                return self._writable(batch[:number])
        return self._writable(batch)

    def _writable(
        self, batch: Sequence[Ending]
    ) -> tuple[list[Ending], list[Requeue | MoveToDeadLetter]]:
        """What is sent for a batch; what cannot be written down fails alone."""
        acks = [ending for ending in batch if isinstance(ending[1], _ACKED)]
        others: list[tuple[Ending, Requeue | MoveToDeadLetter]] = []
        for delivery, end in batch[len(acks) :]:
            try:
                others.append(((delivery, end), self._move(delivery, end)))
            except Exception:
                # Whatever a value of the user's raises when it is encoded: it must not
                # keep the other endings of the queue from being settled.
                self._replace(delivery, others)
        others.sort(key=lambda other: _order(other[0]))
        return (
            [*acks, *(ending for ending, _ in others)],
            [move for _, move in others],
        )

    def _replace(
        self,
        delivery: Delivery,
        others: list[tuple[Ending, Requeue | MoveToDeadLetter]],
    ) -> None:
        """Let a delivery fail whose ending cannot be written down."""
        try:
            end = self._endings.unwritable(delivery)
            others.append(((delivery, end), self._move(delivery, end)))
        except Exception:
            # Here the entry itself cannot be encoded, so there is nothing to send. The
            # lease thread releases it by its id.
            delivery.stuck, delivery.stuck_at = True, 0.0
            self._emit(
                logging.WARNING,
                "stuck",
                "%s cannot be settled, and is left to its lease",
                filled=("entry",),
                entry=bytes.decode(delivery.entry_id),
            )

    async def _answer(
        self, batch: Sequence[Ending], others: Sequence[Requeue | MoveToDeadLetter]
    ) -> Sequence[Settled]:
        """Send a batch until it is answered; a result for each.

        It is sent again as it was, so that the server can answer what the first did.
        """
        acks = [delivery for delivery, _ in batch[: len(batch) - len(others)]]
        stream = self._stream.keys.stream
        runs = b"" if others else self._together.runs([each.entry_id for each in acks])
        self._batches += 1
        # Kept for five minutes, or for a minute less: a write fewer in most batches.
        keep = time.monotonic() >= self._receipts_kept_until
        failures = 0
        while True:
            try:
                results = await self._stream.settle(
                    self._consumer,
                    acks,
                    others,
                    runs=runs,
                    batch=self._batches,
                    repeated=failures > 0,
                    keep_receipts=keep,
                    parts=parts_of(each.settle_part() for each in self._extensions),
                )
            except FatalError:
                raise
            except GroupMissing:
                # Stream and group are gone, and with them everything that was pending.
                results = [NOT_OURS] * len(batch)
            except ServerError as error:
                failures += 1
                self._outage.report_failure("settling", stream, error)
                await asyncio.sleep(RECONNECT.delay(failures))
                continue
            if keep:
                self._receipts_kept_until = time.monotonic() + _KEPT
            self._outage.report_recovery("settling", stream)
            return results

    def _conclude(self, batch: Sequence[Ending], results: Sequence[Settled]) -> None:
        """Emit the event of each, and let go of what is settled.

        Raises:
            FatalError: why one was refused, once the others are concluded.
        """
        # Of most there is nothing to say: see `SettlementReport.settled`.
        quiet = not self._report.begin_batch() and not self._apart
        fatal: FatalError | None = None
        for (delivery, end), result in zip(batch, results, strict=True):
            try:
                if quiet and result == SETTLED and type(end) is outcome.Ack:
                    self._in_flight.remove(delivery)
                elif isinstance(result, FatalError):
                    fatal = result
                elif isinstance(result, ServerError):
                    self._refused(delivery, end, result)
                else:
                    self._in_flight.remove(delivery)
                    if self._apart:
                        self._apart.accepted(delivery)
                    self._report.settled(delivery, end, result)
            except Exception as error:
                # It is settled, whatever its event raises out of the user's exception;
                # the others still get their events.
                text = "is settled; reporting it failed: %s"
                self._emit(
                    logging.ERROR,
                    "callback_failed",
                    text,
                    delivery,
                    filled=("error",),
                    error=type(error).__name__,
                )
        if not self._apart:
            self._outage.report_recovery("moving", self._stream.keys.stream)
        if not len(self):
            self._idle.set()
        self._in_flight.slot_may_be_free()
        self._quarantine.update()
        if fatal is not None:
            raise fatal

    def _move(
        self, delivery: Delivery, end: outcome.Outcome
    ) -> Requeue | MoveToDeadLetter:
        move = self._move_of(delivery, end)
        written(move)  # while what it raises concerns no other
        return move

    def _move_of(
        self, delivery: Delivery, end: outcome.Outcome
    ) -> Requeue | MoveToDeadLetter:
        match end:
            case outcome.Retry(after, error):
                envelope = delivery.requeue_envelope(failed=True, error=error)
                return Requeue(delivery, after, envelope)
            case outcome.Release(after, _):
                return Requeue(delivery, after, delivery.requeue_envelope(failed=False))
            case outcome.DeadLetter():
                return MoveToDeadLetter(
                    delivery, letter_fields(delivery, end, self._consumer)
                )
            case outcome.Ack() | outcome.Discard():
                raise AssertionError("acks travel apart")
            case _:
                assert_never(end)

    def _refused(
        self, delivery: Delivery, end: outcome.Outcome, error: ServerError
    ) -> None:
        """One was refused alone (out of memory): it stays ours, the others are done."""
        self._outage.report_failure("moving", self._stream.keys.stream, error)
        if self._apart.hold(delivery, end):
            return
        if isinstance(end, outcome.DeadLetter) and end.reason != "undecodable":
            # It takes no more room in the delayed set than it has in the stream.
            wait = _LATER * random.uniform(0.5, 1.5)
            self.submit(delivery, outcome.Release(wait, "no room for its dead letter"))
        else:
            self._in_flight.remove(delivery)
            text = f"cannot be settled, and is left to its lease: {error}"
            self._emit(logging.WARNING, "stuck", text, delivery)

    def _again(self, endings: Sequence[Ending]) -> None:
        self._ready += endings
        self._wake.set()


def _order(ending: Ending) -> int:
    """Acks first, then dead letters, as `Stream.settle` takes them."""
    match ending[1]:
        case outcome.Ack() | outcome.Discard():
            return 0
        case outcome.DeadLetter():
            return 1
        case _:
            return 2
