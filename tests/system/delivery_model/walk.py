"""Two workers and one job: every step that may come next, taken on a copy of the queue."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flowd.broker.commands import Settled
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.model.delivery import Delivery, Entry
from tests.system.delivery_model.snapshot import Fields, Snapshot, take_snapshot
from tests.system.delivery_model.two_workers import (
    ENDS,
    GROUP,
    LEASE,
    SLOTS,
    WORKERS,
    claim,
    expire,
    owns,
    settle,
    with_beliefs,
)

__all__ = ["State", "Step", "Walk", "WorkerState"]


class WorkerState(NamedTuple):
    """What a worker holds as far as it knows."""

    entry: Entry
    running: bool = False
    fresh: bool = True
    """Whether no lease has run out since the server last confirmed that the entry is its own."""


class Step(NamedTuple):
    """What happens next."""

    verb: str
    worker: int = 0
    belief: int = 0


class State(NamedTuple):
    """A queue in Redis that is never changed, and what two workers make of it."""

    queue: Stream
    snapshot: Snapshot
    beliefs: tuple[tuple[WorkerState, ...], ...] = ((), ())
    due: bool = False
    """Whether what is delayed may be promoted."""

    done: int = 0
    """How many acknowledgements succeeded."""

    way: tuple[Step, ...] = ()
    """The steps that led here, for the message of a failure."""

    def owns(self, worker: int, belief: WorkerState) -> bool:
        """Whether Redis holds the entry for this worker with this count."""
        return owns(self.snapshot, worker, belief.entry)

    def steps(self) -> Iterator[Step]:
        """Every step that may come next."""
        for worker, beliefs in enumerate(self.beliefs):
            if len(beliefs) < SLOTS:
                yield Step("claim", worker)
                if len(self.snapshot.held) < len(self.snapshot.entries):
                    yield Step("read", worker)
            if beliefs:
                yield Step("crash", worker)
            for number, belief in enumerate(beliefs):
                for verb in ("renew", *(ENDS if belief.running else ("run",))):
                    yield Step(verb, worker, number)
        if any(lease.idle < LEASE for lease in self.snapshot.held.values()):
            yield Step("expire")
        if self.snapshot.delayed and not self.due:
            yield Step("due")

    def key(self) -> str:
        """Equal for states that what may follow cannot distinguish."""
        rank = {entry_id: rank for rank, entry_id in enumerate(self.snapshot.entries)}
        held = [
            (rank[entry_id], lease.consumer, lease.deliveries, lease.idle >= LEASE)
            for entry_id, lease in self.snapshot.held.items()
        ]
        beliefs = [
            [
                (rank.get(entry.id.decode()), entry.delivery_count, running, fresh)
                for entry, running, fresh in beliefs
            ]
            for beliefs in self.beliefs
        ]
        places = (_pasts(self.snapshot.entries), held, _pasts(self.snapshot.delayed))
        return repr((*places, len(self.snapshot.dead), beliefs, self.due, self.done))


class Walk:
    """Takes steps on a server."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._names = (f"{stream}-{number}" for number in itertools.count())

    async def start(self) -> State:
        """One job that waits."""
        queue = Stream(self._connection, next(self._names), GROUP)
        await queue.init("0")
        await queue.add({b"n": b"1"})
        return State(queue, await self._snapshot(queue))

    async def take(self, state: State, step: Step) -> tuple[State, Settled | None]:
        """The state after a step, and what a settle was answered."""
        verb, worker, number = step
        state = state._replace(way=(*state.way, step))
        beliefs = list(state.beliefs[worker])
        if verb == "run":
            beliefs[number] = beliefs[number]._replace(running=True)
        elif verb == "crash":
            beliefs = []
        if verb in ("run", "crash"):
            return (
                state._replace(beliefs=with_beliefs(state.beliefs, worker, beliefs)),
                None,
            )
        queue = await self._copy(state.queue)
        answer: Settled | None = None
        done, due = state.done, state.due
        match verb:
            case "read":
                beliefs += map(WorkerState, await self._read(queue, WORKERS[worker]))
            case "claim":
                taken = await self._claim(queue, WORKERS[worker], beliefs)
                beliefs += map(WorkerState, taken)
                due = False
            case "renew":
                belief = beliefs.pop(number)
                held = [(belief.entry.id, belief.entry.delivery_count)]
                if not await queue.renew(WORKERS[worker], held):
                    beliefs.insert(number, belief._replace(fresh=True))
            case "expire":
                await expire(queue, state.snapshot)
            case "due":
                due = True
                for job in state.snapshot.delayed:
                    await self._connection.call(
                        "ZADD", queue.keys.delayed, "XX", 0, job
                    )
            case _:
                belief = beliefs.pop(number)
                answer = await settle(queue, WORKERS[worker], belief.entry, verb)
                done += verb == "ack" and answer == 1
        after = with_beliefs(state.beliefs, worker, beliefs)
        if verb == "expire":
            after = tuple(
                tuple(each._replace(fresh=False) for each in beliefs)
                for beliefs in after
            )
        snapshot = await self._snapshot(queue)
        return State(queue, snapshot, after, due, done, state.way), answer

    async def finish(self, state: State) -> tuple[int, int]:
        """Let a third worker do what is left; returns what is left even then."""
        queue = await self._copy(state.queue)
        await expire(queue, state.snapshot)
        for job in state.snapshot.delayed:
            await self._connection.call("ZADD", queue.keys.delayed, "XX", 0, job)
        entries = await self._claim(queue, "c", [])
        snapshot = await self._snapshot(queue)
        if len(snapshot.held) < len(snapshot.entries):
            entries += await self._read(queue, "c")
        if entries:
            await queue.settle("c", [Delivery(entry, 0.0) for entry in entries], [])
        return await queue.remaining()

    async def _copy(self, queue: Stream) -> Stream:
        copy = Stream(self._connection, next(self._names), GROUP)
        old, new = queue.keys, copy.keys
        await self._connection.call("COPY", old.stream, new.stream)
        await self._connection.call("COPY", old.delayed, new.delayed)
        await self._connection.call("COPY", old.bodies, new.bodies)
        await self._connection.call("COPY", old.dead, new.dead)
        return copy

    async def _snapshot(self, queue: Stream) -> Snapshot:
        return await take_snapshot(self._connection, queue.keys, GROUP)

    async def _read(self, queue: Stream, worker: str) -> list[Entry]:
        return await queue.read(worker, 1)

    async def _claim(
        self, queue: Stream, worker: str, beliefs: Iterable[WorkerState]
    ) -> list[Entry]:
        maintained = await claim(queue, worker, (each.entry for each in beliefs))
        return maintained.claimed


def _pasts(places: dict[str, Fields]) -> list[tuple[str | None, str | None]]:
    return [(f.get("_attempt"), f.get("_deliveries")) for f in places.values()]
