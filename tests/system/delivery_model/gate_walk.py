"""Two workers, an enqueue and an operator at one gate: every step that may come next.

One customer has a limit of 1, and each url is unique. Of two jobs one was admitted, and a
worker has it; the other one is parked. A third has the url of the first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from flowd.broker import replies, scripts
from flowd.broker.commands import EnqueueCommand, Settled
from flowd.broker.connection import Argument, Connection
from flowd.broker.extension import EnqueueCall
from flowd.broker.gate import GateAdmission, GateScripts, counting
from flowd.broker.stream import Stream
from flowd.model.delivery import Delivery, Entry
from flowd.model.duplicate import Duplicate
from flowd.model.gate import Concurrency, Gate, Unique
from tests.system.delivery_model.gate_snapshot import (
    GateSnapshot,
    leftovers,
    take_gate_snapshot,
)
from tests.system.delivery_model.snapshot import Fields
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

__all__ = ["SLOT", "Belief", "GateState", "GateStep", "GateWalk"]

SLOT: Final = "customer=a"

_GATE: Final = Gate(
    concurrency=Concurrency(per=("customer",), limit=1), unique=Unique(fields=("url",))
)
_URLS: Final = {1: "x", 2: "y", 3: "x"}
_LIMITS: Final = (None, 0, 2)
_CHANGES: Final = 2
_ROUNDS: Final = 8

_COPY: Final = """
for n = 1, #KEYS / 2 do redis.call('COPY', KEYS[n], KEYS[#KEYS / 2 + n]) end
"""
_DUE: Final = """
for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('ZADD', KEYS[1], 'XX', 0, job)
end
"""


class Belief(NamedTuple):
    """What a worker holds as far as it knows."""

    entry: Entry
    fresh: bool = True
    """Whether no lease has run out since it was delivered."""


class GateStep(NamedTuple):
    """What happens next."""

    verb: str
    worker: int = 0
    belief: int = 0
    limit: int | None = None


class GateState(NamedTuple):
    """A queue in Redis that is never changed, and what two workers make of it."""

    queue: Stream
    snapshot: GateSnapshot
    beliefs: tuple[tuple[Belief, ...], ...] = ((), ())
    due: bool = False
    """Whether what is delayed may be promoted."""

    done: int = 0
    """How many acknowledgements succeeded."""

    accepted: int = 2
    enqueues: int = 2
    """How many jobs were enqueued; one may have been a duplicate."""

    limit: int | None = None
    """That an operator set."""

    changes: int = 0
    way: tuple[GateStep, ...] = ()
    """The steps that led here, for the message of a failure."""

    @property
    def most(self) -> int:
        """How many may start at once."""
        return 1 if self.limit is None else self.limit

    def owns(self, worker: int, belief: Belief) -> bool:
        """Whether Redis holds the entry for this worker with this count."""
        return owns(self.snapshot.queue, worker, belief.entry)

    def steps(self) -> Iterator[GateStep]:
        """Every step that may come next."""
        queue = self.snapshot.queue
        for worker, beliefs in enumerate(self.beliefs):
            if len(beliefs) < SLOTS:
                yield GateStep("claim", worker)
                if len(queue.held) < len(queue.entries):
                    yield GateStep("read", worker)
                    yield GateStep("lose the answer", worker)
            if beliefs:
                yield GateStep("crash", worker)
            for number in range(len(beliefs)):
                for verb in ENDS:
                    yield GateStep(verb, worker, number)
        if any(lease.idle < LEASE for lease in queue.held.values()):
            yield GateStep("expire")
        if queue.delayed and not self.due:
            yield GateStep("due")
        if self.enqueues < len(_URLS):
            yield GateStep("enqueue")
        if self.changes < _CHANGES:
            for limit in _LIMITS:
                if limit != self.limit:
                    yield GateStep("limit", limit=limit)

    def key(self) -> str:
        """Equal for states that what may follow cannot distinguish: workers are alike."""
        return min(repr(self._seen_by(0)), repr(self._seen_by(1)))

    def _seen_by(self, first: int) -> object:
        real, queue = self.snapshot, self.snapshot.queue
        at = {place: fields["n"] for place, fields in queue.entries.items()}
        at |= {f"@{job}": fields["n"] for job, fields in queue.delayed.items()}
        at |= {f"@{job}": fields["n"] for job, fields in real.parked.items()}
        order = (WORKERS[first], WORKERS[1 - first])
        held = [
            (
                at[each],
                order.index(lease.consumer),
                lease.deliveries,
                lease.idle > LEASE,
            )
            for each, lease in queue.held.items()
        ]
        beliefs = [
            [
                (at.get(each.entry.id.decode()), each.entry.delivery_count, each.fresh)
                for each in self.beliefs[worker]
            ]
            for worker in (first, 1 - first)
        ]
        return (
            *(_pasts(queue.entries), sorted(held), _pasts(queue.delayed)),
            *(_pasts(real.parked), sorted(_pasts(queue.dead))),
            sorted((key, at.get(who)) for key, who in real.slots),
            sorted((key, at.get(who)) for key, (who, _) in real.locks.items()),
            *(real.ready, real.blocked, beliefs, self.due, self.done),
            *(self.enqueues, self.limit, self.changes),
        )


class GateWalk:
    """Takes steps on a server."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._names = (f"{stream}-{number}" for number in itertools.count())

    async def start(self) -> GateState:
        """A worker has one job, and one is parked."""
        queue = Stream(self._connection, next(self._names), GROUP)
        await queue.init("0")
        for number in (1, 2):
            await self._enqueue(queue, number)
        mine = tuple(map(Belief, await self._read(queue, WORKERS[0])))
        return GateState(queue, await self._snapshot(queue), (mine, ()))

    async def take(
        self, state: GateState, step: GateStep
    ) -> tuple[GateState, Settled | None]:
        """The state after a step, and what a settle was answered."""
        verb, worker, number, limit = step
        state = state._replace(way=(*state.way, step))
        beliefs = list(state.beliefs[worker])
        if verb == "crash":
            return state._replace(beliefs=with_beliefs(state.beliefs, worker, ())), None
        queue = await self._copy(state.queue)
        state = state._replace(queue=queue)
        answer: Settled | None = None
        match verb:
            case "read":
                beliefs += map(Belief, await self._read(queue, WORKERS[worker]))
            case "lose the answer":
                await self._read(queue, WORKERS[worker])
            case "claim":
                taken = await self._claim(queue, WORKERS[worker], beliefs)
                beliefs += map(Belief, taken)
                state = state._replace(due=False)
            case "expire":
                await expire(queue, state.snapshot.queue)
            case "due":
                await self._connection.call("EVAL", _DUE, 1, queue.keys.delayed)
                state = state._replace(due=True)
            case "enqueue":
                enqueues = state.enqueues + 1
                said = await self._enqueue(queue, enqueues)
                accepted = state.accepted + (not isinstance(said, Duplicate))
                state = state._replace(enqueues=enqueues, accepted=accepted)
            case "limit":
                await self._set_limit(queue, limit)
                state = state._replace(limit=limit, changes=state.changes + 1)
            case _:
                belief = beliefs.pop(number)
                parts = [GateScripts(queue, _GATE).settle]
                answer = await settle(queue, WORKERS[worker], belief.entry, verb, parts)
                state = state._replace(
                    done=state.done + (verb == "ack" and answer == 1)
                )
        after = with_beliefs(state.beliefs, worker, beliefs)
        if verb == "expire":
            after = tuple(tuple(b._replace(fresh=False) for b in own) for own in after)
        snapshot = await self._snapshot(queue)
        return state._replace(snapshot=snapshot, beliefs=after), answer

    async def finish(self, state: GateState) -> tuple[tuple[int, int], list[str]]:
        """Let a third worker do what is left, without an operator's limit.

        Returns:
            What is left even then: jobs, and keys of the gate.
        """
        queue = await self._copy(state.queue)
        await self._set_limit(queue, None)
        snapshot, left = state.snapshot, (0, 0)
        for _ in range(_ROUNDS):
            await expire(queue, snapshot.queue)
            await self._connection.call("EVAL", _DUE, 1, queue.keys.delayed)
            entries = await self._claim(queue, "c", [])
            snapshot = await self._snapshot(queue)
            if len(snapshot.queue.held) < len(snapshot.queue.entries):
                entries += await self._read(queue, "c")
            if entries:
                acks = [Delivery(entry, 0.0) for entry in entries]
                parts = [GateScripts(queue, _GATE).settle]
                await queue.settle("c", acks, [], parts=parts)
            left = await queue.remaining(counting(queue, _GATE))
            if left == (0, 0):
                break
            snapshot = await self._snapshot(queue)
        return left, await leftovers(self._connection, queue.keys)

    async def _copy(self, queue: Stream) -> Stream:
        copy = Stream(self._connection, next(self._names), GROUP)
        keys = [
            (each.stream, each.delayed, each.bodies, each.dead, *each.gate)
            for each in (queue.keys, copy.keys)
        ]
        names = [*keys[0], *keys[1]]
        await self._connection.call("EVAL", _COPY, len(names), *names)
        return copy

    async def _snapshot(self, queue: Stream) -> GateSnapshot:
        return await take_gate_snapshot(self._connection, queue.keys, GROUP)

    async def _enqueue(self, queue: Stream, number: int) -> str:
        fields = {b"n": b"%d" % number, b"customer": b"a"}
        fields[b"url"] = _URLS[number].encode()
        own, ticket = f"job-{number}", _GATE.ticket(fields)
        job = EnqueueCommand(fields, 0, job_id=own, gate=_GATE, ticket=ticket)
        call = EnqueueCall(stream=queue, jobs=[job], lasts=0.0)
        (said,) = await GateAdmission().on_enqueue(call).send()
        assert isinstance(said, str)
        return said

    async def _read(self, queue: Stream, worker: str) -> list[Entry]:
        await GateScripts(queue, _GATE).admit(worker, 1, 0.0)
        return await queue.read(worker, 1)

    async def _claim(
        self, queue: Stream, worker: str, beliefs: Iterable[Belief]
    ) -> list[Entry]:
        running = (each.entry for each in beliefs)
        parts = [GateScripts(queue, _GATE).maintain]
        maintained = await claim(queue, worker, running, parts)
        assert maintained.answers == [0], "a holder was nowhere"
        return maintained.claimed

    async def _set_limit(self, queue: Stream, limit: int | None) -> None:
        what = (
            ("reset", f"c:{SLOT}", 0) if limit is None else ("set", f"c:{SLOT}", limit)
        )
        keys = (queue.keys.stream, queue.keys.bodies, *queue.keys.gate)
        args: list[Argument] = [GROUP, *what, _GATE.rules]
        await scripts.LIMIT.run(self._connection, keys, args, replies.array)


def _pasts(places: Mapping[str, Fields]) -> list[tuple[str, str, str]]:
    """Which jobs are there, in order, and what they have behind them."""
    return [
        (fields["n"], fields.get("_attempt", ""), fields.get("_deliveries", ""))
        for fields in places.values()
    ]
