"""A queue with policies on a real server, and the model of it: producers and workers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from flowd.broker.commands import Maintained, MoveToDeadLetter, Requeue
from flowd.broker.connection import Argument, Connection
from flowd.broker.extension import EnqueueCall
from flowd.broker.gate import (
    GateAdmission,
    GateScripts,
    announce,
)
from flowd.broker.idempotency import Idempotency
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.model.delivery import Delivery, Entry
from flowd.model.gate import Gate
from flowd.ops.queries import Queries
from tests.system.delivery_model.gate_job import GatedJob, Place
from tests.system.delivery_model.gate_model import GateModel
from tests.system.delivery_model.gate_plans import (
    JobPlan,
    command,
    job_of,
    job_plans,
    picks,
)
from tests.system.delivery_model.gate_snapshot import (
    let_time_pass,
    take_gate_snapshot,
)
from tests.system.delivery_model.model import LEASE
from tests.system.delivery_model.plans import (
    CONSUMERS,
    Ending,
    Held,
    consumers,
    endings,
    move,
    seldom,
)

__all__ = ["ALL", "GROUP", "GateWorkers"]

R = TypeVar("R")

GROUP: Final = "g"
ALL: Final = 100


WORK: Final = rule(
    what=st.sampled_from(("read", "read", "settle", "settle", "maintain", "renew")),
    consumer=consumers,
    count=st.integers(1, 3),
    waits=st.booleans(),
    ends=st.lists(endings, min_size=1, max_size=3),
    lost=seldom,
)


class GateWorkers(RuleBasedStateMachine):
    """A queue with policies on a real server, and the model of it."""

    def __init__(
        self,
        runner: asyncio.Runner,
        connection: Connection,
        stream: str,
        gate: Gate | None,
    ) -> None:
        super().__init__()
        self.runner = runner
        self.connection = connection
        self.real = Stream(connection, stream, GROUP)
        self.queries = Queries(connection, stream, GROUP)
        self.gate = gate
        self.scripts = None if gate is None else GateScripts(self.real, gate)
        self.model = GateModel(gate)
        self.numbers = itertools.count(1)
        self.running: dict[str, dict[bytes, Delivery]] = {c: {} for c in CONSUMERS}
        self.spent: list[Held] = []
        """Deliveries that have ended, or whose consumer has crashed."""

        self.maintaining = [Part("maintain_control", (self.real.keys.control,))]
        self.settling: list[Part] = []
        if self.scripts is not None:
            self.maintaining.append(self.scripts.maintain)
            self.settling.append(self.scripts.settle)
        self.letters: list[tuple[str, str, str | None]] = []
        self.sound = False

    def ask(self, question: Coroutine[object, object, R]) -> R:
        """Ask the real one."""
        self.sound = False
        return self.runner.run(question)

    def agree(self, *, admits: int | None = None) -> None:
        """Compare the two; see `GateModel.agree`."""
        real = self.ask(take_gate_snapshot(self.connection, self.real.keys, GROUP))
        self.model.agree(real, admits=admits)
        self.sound = True

    @initialize(batch=st.lists(job_plans, min_size=4, max_size=8))
    def set_up(self, batch: Sequence[JobPlan]) -> None:
        assert self.ask(self.real.init("0"))
        self.ask(announce(self.real, self.gate))
        self.agree()
        self.enqueue(batch)
        self.read("a", 3, waits=False, lost=False)

    # Producers.

    @rule(batch=st.lists(job_plans, min_size=1, max_size=4))
    def enqueue(self, batch: Sequence[JobPlan]) -> None:
        if self.gate is not None and self.gate.debounce is not None:
            batch = [plan._replace(delay=0.0) for plan in batch]
        jobs = [job_of(next(self.numbers), plan, self.gate) for plan in batch]
        commands = [
            command(job, plan, self.gate) for job, plan in zip(jobs, batch, strict=True)
        ]
        call = EnqueueCall(stream=self.real, jobs=commands, lasts=0.0)
        call = GateAdmission().on_enqueue(Idempotency().on_enqueue(call))
        answers = self.ask(call.send())
        self.model.enqueued(jobs, [plan.delay for plan in batch], answers)
        self.agree(admits=0)

    @precondition(lambda self: self.gate is not None)
    @rule(plan=job_plans, really=seldom)
    def append(self, plan: JobPlan, really: bool) -> None:
        """As a program that knows no policies."""
        if not really:
            return
        job = job_of(next(self.numbers), plan._replace(key=None), self.gate)
        job.expires = None
        fields = {name.encode(): value.encode() for name, value in job.own.items()}
        self.model.added(job, self.ask(self.real.add(fields)))
        self.agree()

    # Workers.

    @WORK
    def work(self, **asked: Any) -> None:
        self.take_step(**asked)

    # Hypothesis leaves each rule out of some histories.
    @WORK
    def work_on(self, **asked: Any) -> None:
        self.take_step(**asked)

    def take_step(
        self,
        what: str,
        consumer: str,
        count: int,
        waits: bool,
        ends: Sequence[Ending],
        lost: bool,
    ) -> None:
        """Take a step of a worker."""
        match what:
            case "settle" if self.running[consumer]:
                self.settle(consumer, ends, knows=waits, lost=lost)
            case "renew" if self.running[consumer]:
                self.renew(consumer)
            case "maintain":
                self.maintain(consumer, lost)
            case _:
                self.read(consumer, count, waits, lost)

    @rule(
        what=st.sampled_from(("crash", "comes back", "is late", "time")),
        consumer=consumers,
        pick=picks,
        end=endings,
    )
    def fail(self, what: str, consumer: str, pick: int, end: Ending) -> None:
        """Let a worker fail, or one that has failed come back."""
        match what:
            case "crash":
                self.crash(consumer)
            case "comes back" if self.spent:
                self.settle_what_is_over(pick, None, end)
            case "is late" if self.spent:
                self.settle_what_is_over(pick, consumer, end)
            case _:
                self.time_passes((0.4, 1.1)[pick % 2] * LEASE)

    def read(self, consumer: str, count: int, waits: bool, lost: bool) -> None:
        """As a consumer does; one that `waits` says so to the gate."""
        if self.scripts is not None and self.gate is not None and self.gate.parks:
            wait = LEASE if waits else 0.0
            self.ask(_admit(self.scripts, consumer, count, wait))
            self.agree(admits=count)
        # An empty read would wait for the server's next tick.
        if self.model.waiting() and not self.model.paused:
            entries = self.ask(self.real.read(consumer, count))
            self.model.read(consumer, count, entries)
            self.agree()
            self.start(consumer, () if lost else entries)

    def maintain(self, consumer: str, lost: bool) -> None:
        """Look at what is due and abandoned; at own entries if there are such."""
        maintained = self.maintain_once(consumer, None)
        if maintained.unsorted:
            running = list(self.running[consumer])
            maintained = self.maintain_once(consumer, running)
        self.start(consumer, () if lost else maintained.claimed)

    def maintain_once(
        self, consumer: str, running: Sequence[bytes] | None
    ) -> Maintained:
        """Take over what is abandoned, or with what it is `running` its own entries."""
        maintained = self.ask(
            self.real.maintain(
                consumer,
                lease=LEASE,
                takeovers=ALL if running is None else 0,
                cursor=b"0-0",
                orphans=0 if running is None else ALL,
                running=running or (),
                parts=self.maintaining,
            )
        )
        self.model.promoted(maintained.promoted)
        if running is not None or not maintained.unsorted:
            self.model.taken_over(consumer, maintained.claimed, running)
        self.agree(admits=0)
        return maintained

    def renew(self, consumer: str) -> None:
        held = [(each.entry_id, each.count) for each in self.running[consumer].values()]
        lost = self.ask(self.real.renew(consumer, held))
        self.model.renewed(consumer, held, lost)
        for entry_id in lost:
            self.spent.append(Held(consumer, self.running[consumer].pop(entry_id)))
        self.agree()

    def settle(
        self, consumer: str, ends: Sequence[Ending], knows: bool, lost: bool
    ) -> None:
        """End the first that run; a worker that `knows` the marks obeys them."""
        mine = list(self.running[consumer].values())[: len(ends)]
        pairs = list(zip(mine, ends, strict=False))
        self.end(consumer, pairs, knows=knows, lost=lost)

    def settle_what_is_over(self, pick: int, consumer: str | None, end: Ending) -> None:
        """A worker that lost its lease, or has died and comes back."""
        owner, delivery = self.spent[-1 - pick % len(self.spent)]
        self.end(consumer or owner, [(delivery, end)])

    def crash(self, consumer: str) -> None:
        lost = self.running[consumer].values()
        self.spent += [Held(consumer, each) for each in lost]
        self.running[consumer] = {}

    def time_passes(self, jump: float) -> None:
        self.ask(let_time_pass(self.connection, self.real.keys, GROUP, jump))
        self.model.now += jump
        self.agree()

    def start(self, consumer: str, entries: Iterable[Entry]) -> None:
        """Run what was delivered; what has no ticket yet comes to the gate."""
        unticketed: list[tuple[Delivery, Ending]] = []
        for entry in entries:
            delivery = Delivery(entry, 0.0)
            delivery.read_envelope()
            if self.gate is not None and b"_gate" not in entry.fields:
                ticket = self.gate.ticket(delivery.fields)
                delivery.fields[b"_gate"] = ticket
                unticketed.append((delivery, Ending("release", 0.0)))
            else:
                former = self.running[consumer].get(entry.id)
                if former is not None:
                    self.spent.append(Held(consumer, former))
                self.running[consumer][entry.id] = delivery
        if unticketed:
            self.end(consumer, unticketed)

    def end(
        self,
        consumer: str,
        ends: Sequence[tuple[Delivery, Ending]],
        *,
        knows: bool = False,
        lost: bool = False,
    ) -> None:
        """Settle in one call, again if the answer is lost."""
        acks: list[tuple[Delivery, Place]] = []
        others: list[tuple[Requeue | MoveToDeadLetter, bool]] = []
        for delivery, end in ends:
            marked = knows and delivery.job_id in self.model.marks
            if end.verb == "ack" or (marked and end.verb != "bury"):
                place: Place = "done" if end.verb == "ack" else "cancelled"
                acks.append((delivery, place))
            else:
                others.append((move(consumer, delivery, end), end.verb == "retry"))
        others.sort(key=lambda other: isinstance(other[0], Requeue))
        marks = [each for each, _ in ends if each.job_id in self.model.marks]
        parts: list[Part] = []
        if knows and marks:
            args: list[Argument] = []
            for each in marks:
                args += (each.entry_id, each.job_id)
            args.append(len(marks))
            parts.append(Part("settle_control", (self.real.keys.control,), args))
        parts += self.settling
        batch = next(self.numbers)
        items = [item for item, _ in others]
        given = [delivery for delivery, _ in acks]
        answers = self.ask(
            self.real.settle(consumer, given, items, batch=batch, parts=parts)
        )
        if lost:
            repeat = self.real.settle(
                consumer, given, items, batch=batch, repeated=True, parts=parts
            )
            assert self.ask(repeat) == answers
        for (delivery, place), answer in zip(acks, answers, strict=False):
            held = (delivery.entry_id, delivery.count)
            self.model.ended(consumer, held, answer, place)
            if knows and answer:
                self.model.unmarked(delivery.job_id)
        for (item, failed), answer in zip(others, answers[len(acks) :], strict=True):
            self.model.moved(consumer, item, failed, answer)
            if isinstance(answer, bytes):
                if knows:
                    self.model.unmarked(item.delivery.job_id)
                job = _dead(self.model, answer.decode())
                self.letters.append((job.at, job.id, job.key))
        for delivery, _ in ends:
            if self.running[consumer].get(delivery.entry_id) is delivery:
                self.spent.append(Held(consumer, delivery))
                del self.running[consumer][delivery.entry_id]
        self.agree(admits=0)


def _dead(model: GateModel, letter: str) -> GatedJob:
    (job,) = [each for each in model.at("dead") if each.at == letter]
    return job


async def _admit(scripts: GateScripts, consumer: str, count: int, wait: float) -> None:
    # What sends at once needs a loop that runs.
    await scripts.admit(consumer, count, wait)
