"""A queue on a real server, compared with its model: what may be asked, and what has to hold."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterable, Sequence
from typing import Final, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from flowd import StreamShared
from flowd.broker.commands import Requeue
from flowd.broker.connection import Connection
from flowd.broker.dead_letters import purge, redrive
from flowd.broker.extension import EnqueueCall
from flowd.broker.idempotency import Idempotency
from flowd.broker.stream import Stream
from flowd.errors import IdNotIncreasing, ServerError
from flowd.model.delivery import Delivery, Entry
from tests.system.delivery_model.model import LEASE, Model
from tests.system.delivery_model.plans import (
    CONSUMERS,
    Ending,
    Held,
    Plan,
    anywhere,
    command,
    consumers,
    endings,
    move,
    plans,
    seldom,
    too_low,
)
from tests.system.delivery_model.snapshot import pass_time, take_snapshot

__all__ = ["QueueMachine"]

R = TypeVar("R")

GROUP: Final = "g"
ALL: Final = 100


class QueueMachine(RuleBasedStateMachine):
    """A queue on a real server, and the model of it."""

    deliveries: Bundle[Held] = Bundle("deliveries")
    spent: Bundle[Held] = Bundle("spent")

    def __init__(
        self, runner: asyncio.Runner, connection: Connection, stream: str
    ) -> None:
        super().__init__()
        self.runner = runner
        self.connection = connection
        self.real = Stream(connection, stream, GROUP)
        self.model = Model()
        self.agreed = False
        self.numbers = itertools.count()
        self.running: dict[str, dict[bytes, Delivery]] = {c: {} for c in CONSUMERS}
        self.cursors: dict[str, bytes] = dict.fromkeys(CONSUMERS, b"0-0")
        self.letters: list[tuple[str, str, str | None]] = []

    def ask(self, question: Coroutine[object, object, R]) -> R:
        """Ask the real one."""
        self.agreed = False
        return self.runner.run(question)

    @initialize(target=deliveries)
    def set_up(self) -> MultipleResults[Held]:
        assert self.ask(self.real.init("0"))
        plain = [Plan(None, 0.0, "*")] * 4
        self.enqueue([*plain, Plan("k1", 0.0, "*"), Plan(None, 0.3 * LEASE, "*")])
        return multiple(*self.take("a", 2), *self.take("b", 1))

    @rule(batch=st.lists(plans, min_size=1, max_size=3))
    def enqueue(self, batch: Sequence[Plan]) -> None:
        commands = [command(next(self.numbers), plan) for plan in batch]
        call = EnqueueCall(stream=self.real, jobs=commands, lasts=0.0)
        answers = self.ask(Idempotency().on_enqueue(call).send())
        self.model.enqueued(commands, answers)

    @rule(entry_id=anywhere | too_low)
    def add(self, entry_id: str) -> None:
        added = command(next(self.numbers), Plan(None, 0.0, entry_id))
        answer: str | ServerError
        try:
            answer = self.ask(self.real.add(added.fields, added.id))
        except IdNotIncreasing as error:
            answer = error
        self.model.enqueued([added], [answer])

    # An empty read would wait for the server's next tick.
    @precondition(lambda self: self.model.waiting)
    @rule(target=deliveries, consumer=consumers, count=st.integers(1, 3), lost=seldom)
    def read(self, consumer: str, count: int, lost: bool) -> MultipleResults[Held]:
        return multiple(*self.take(consumer, count, lost=lost))

    @precondition(lambda self: self.model.rows or self.model.delayed)
    @rule(
        target=deliveries,
        consumer=consumers,
        room=st.sampled_from((0, 1, 2, ALL)),
        lost=seldom,
    )
    def maintain(self, consumer: str, room: int, lost: bool) -> MultipleResults[Held]:
        cursor = self.cursors[consumer]
        maintained = self.ask(
            self.real.maintain(consumer, lease=LEASE, takeovers=room, cursor=cursor)
        )
        self.model.maintained(consumer, room, cursor, maintained)
        if lost:
            return multiple()
        self.cursors[consumer] = maintained.cursor
        return multiple(*self.start(consumer, maintained.claimed))

    @precondition(lambda self: len(self.model.rows) > len(self.model.waiting))
    @rule(target=deliveries, consumer=consumers)
    def recover(self, consumer: str) -> MultipleResults[Held]:
        running, cursor = self.running[consumer], self.cursors[consumer]
        maintained = self.ask(
            self.real.maintain(
                consumer,
                lease=LEASE,
                takeovers=0,
                cursor=cursor,
                orphans=ALL,
                running=running,
            )
        )
        self.model.recovered(consumer, running, maintained.claimed)
        self.model.maintained(consumer, 0, cursor, maintained._replace(claimed=[]))
        return multiple(*self.start(consumer, maintained.claimed))

    @rule(held=st.lists(deliveries | spent, min_size=1, max_size=4))
    def renew(self, held: Sequence[Held]) -> None:
        for consumer, mine in _by_consumer(held):
            # As in a worker, where an entry that came again replaces its former self.
            leases = {each.entry_id: each for each in mine}
            pairs = [(each.entry_id, each.count) for each in leases.values()]
            lost = self.ask(self.real.renew(consumer, pairs))
            self.model.renewed(consumer, pairs, lost)
            for entry_id in lost:
                self.forget(consumer, leases[entry_id])

    @rule(target=deliveries, held=consumes(deliveries), counted=st.booleans())
    def recount(self, held: Held, counted: bool) -> Held:
        """As a suspect that waits, and as one whose turn has come."""
        consumer, delivery = held
        new = delivery.recounted(counted)
        change = (delivery.entry_id, delivery.count, new.count)
        lost = self.ask(self.real.recount(consumer, [change]))
        assert bool(lost) == (not self.model.recounted(consumer, *change))
        if self.running[consumer].get(delivery.entry_id) is delivery and not lost:
            self.running[consumer][delivery.entry_id] = new
        return Held(consumer, new)

    @rule(
        target=spent,
        held=st.lists(consumes(deliveries), min_size=1, max_size=3),
        ends=st.lists(endings, min_size=3, max_size=3),
        lost=seldom,
    )
    def settle(
        self, held: Sequence[Held], ends: Sequence[Ending], lost: bool
    ) -> MultipleResults[Held]:
        for consumer, mine in _by_consumer(held):
            self.end(consumer, list(zip(mine, ends, strict=False)), lost=lost)
        return multiple(*held)

    @rule(held=deliveries | spent, consumer=consumers, end=endings)
    def settle_what_others_hold(self, held: Held, consumer: str, end: Ending) -> None:
        self.end(consumer, [(held.delivery, end)])

    @precondition(lambda self: self.model.rows or self.model.delayed)
    @rule(jump=st.sampled_from((0.4 * LEASE, 1.1 * LEASE)))
    def time_passes(self, jump: float) -> None:
        self.ask(pass_time(self.connection, self.real.keys, GROUP, jump))
        self.model.now += jump

    @precondition(lambda self: self.letters)
    @rule(picks=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def redrive(self, picks: Sequence[int]) -> None:
        picked = [self.letters[pick % len(self.letters)][:2] for pick in picks]
        self.model.redriven(picked, self.ask(redrive(self.real, picked)))

    @precondition(lambda self: self.letters)
    @rule(pick=st.integers(0, 5))
    def purge(self, pick: int) -> None:
        letter = self.letters[pick % len(self.letters)]
        self.model.purged(letter[0], self.ask(purge(self.real, *letter)))

    @rule(consumer=st.none() | consumers)
    def forget_consumers(self, consumer: str | None) -> None:
        real = self.ask(take_snapshot(self.connection, self.real.keys, GROUP))
        idle = real.consumers - {lease.consumer for lease in real.held.values()}
        if consumer is None:
            assert self.ask(self.real.reap(0.0)) == len(idle)
        else:
            assert self.ask(self.real.forget_consumer(consumer)) == (consumer in idle)

    async def group(self, *command: str) -> None:
        """Create or destroy a group."""
        await self.connection.call("XGROUP", *command)

    @rule(held=deliveries, consumer=consumers)
    def share(self, held: Held, consumer: str) -> None:
        """Nothing is moved while a second group reads the stream."""
        other = (self.real.keys.stream, "auditors")
        self.ask(self.group("CREATE", *other, "0"))
        for attempt in (
            self.real.settle(held.consumer, [held.delivery], []),
            self.real.maintain(consumer, lease=LEASE, takeovers=ALL, cursor=b"0-0"),
            redrive(self.real, [("1-1", "1-1")]),
        ):
            with pytest.raises(StreamShared):
                self.ask(attempt)
        self.ask(self.group("DESTROY", *other))

    @invariant()
    def agree(self) -> None:
        self.model.agree(
            self.ask(take_snapshot(self.connection, self.real.keys, GROUP))
        )
        self.agreed = True

    def teardown(self) -> None:
        """Whatever has happened, another worker can end every job that is not dead."""
        if not self.agreed:
            return
        self.time_passes(1e6)
        self.running["a"] = {}
        self.cursors["a"] = b"0-0"
        self.recover("a")
        self.maintain("a", ALL, lost=False)
        self.agree()
        if self.model.waiting:
            self.take("a", ALL)
        mine = list(self.running["a"].values())
        if mine:
            self.end("a", [(each, Ending("ack", 0.0)) for each in mine])
        self.agree()
        assert self.ask(self.real.remaining()) == (0, 0)
        dead = len(self.model.dead)
        assert len(self.model.gone) + dead == len(self.model.accepted)

    def take(self, consumer: str, count: int, *, lost: bool = False) -> list[Held]:
        """Read, and start what came; or not, because the answer was lost."""
        entries = self.ask(self.real.read(consumer, count))
        self.model.read(consumer, count, entries)
        return self.start(consumer, () if lost else entries)

    def start(self, consumer: str, entries: Iterable[Entry]) -> list[Held]:
        """Run what was delivered."""
        held = [Held(consumer, Delivery(entry, 0.0)) for entry in entries]
        for _, delivery in held:
            delivery.read_envelope()
            self.running[consumer][delivery.entry_id] = delivery
        return held

    def forget(self, consumer: str, delivery: Delivery) -> None:
        """It does not run any more."""
        if self.running[consumer].get(delivery.entry_id) is delivery:
            del self.running[consumer][delivery.entry_id]

    def end(
        self,
        consumer: str,
        ends: Sequence[tuple[Delivery, Ending]],
        *,
        lost: bool = False,
    ) -> None:
        """Settle in one call, again if the answer is lost; each answer is the model's."""
        acks = [delivery for delivery, end in ends if end.verb == "ack"]
        others = [
            (move(consumer, delivery, end), end.verb == "retry")
            for delivery, end in ends
            if end.verb != "ack"
        ]
        others.sort(key=lambda other: isinstance(other[0], Requeue))
        batch = next(self.numbers)
        moves = [item for item, _ in others]
        answers = self.ask(self.real.settle(consumer, acks, moves, batch=batch))
        if lost:
            # What a repeat is answered has to be what happened, whatever it was.
            repeat = self.real.settle(consumer, acks, moves, batch=batch, repeated=True)
            assert self.ask(repeat) == answers
        assert len(answers) == len(ends)
        for delivery, answer in zip(acks, answers, strict=False):
            held = (delivery.entry_id, delivery.count)
            self.model.acked(consumer, held, answer)
        for (item, failed), answer in zip(others, answers[len(acks) :], strict=True):
            self.model.moved(consumer, item, failed, answer)
            if isinstance(answer, bytes):
                job = self.model.dead[answer.decode()]
                self.letters.append((answer.decode(), job.id, job.key))
        for delivery, _ in ends:
            self.forget(consumer, delivery)


def _by_consumer(held: Iterable[Held]) -> list[tuple[str, list[Delivery]]]:
    ordered = sorted(held, key=lambda each: each.consumer)
    groups = itertools.groupby(ordered, key=lambda each: each.consumer)
    return [(consumer, [each.delivery for each in mine]) for consumer, mine in groups]
