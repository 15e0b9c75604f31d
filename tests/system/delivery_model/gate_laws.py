"""What every policy promises: who may go, who must go, and what is held by whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from flowd.model.gate import Gate, Rate
from tests.system.delivery_model.gate_job import GatedJob
from tests.system.delivery_model.gate_snapshot import GateSnapshot

__all__ = ["Laws"]

_FEW: Final = 16
"""So many may wait in the stream, where turns do not matter."""

_ONE_IN: Final = 8
_AHEAD: Final = 2
"""How often one key may have its turn before another one that could go."""

_Lane: TypeAlias = tuple[str, ...]


class Laws:
    """The promises of one queue's policies.

    Args:
        gate: the policies; None: there are none.
    """

    def __init__(self, gate: Gate | None) -> None:
        self.parks = gate is not None and gate.parks
        self.is_ordered = gate is not None and gate.ordered
        self.runs_last = (
            gate is not None and gate.unique is not None and gate.unique.again == "last"
        )
        self.limits: dict[str, int] = {}
        """Those that an operator set, by `c:KEY` or `r:KEY`."""

        self.now = 0.0
        """Seconds, by the server's clock, and by which time was moved."""

        self._gate = gate
        self._rate = None if gate is None or gate.rate is None else RateLaw(gate.rate)
        self._takes_turns = gate is not None and bool(gate.fair or gate.priority)
        self._since_oldest = 0
        self._passed_over: dict[tuple[str, str], int] = {}
        self._newest: dict[str, int] = {}

    def begin(self, now: float) -> None:
        """A step has ended by this time; it began when the one before had ended."""
        self.now = now
        if self._rate is not None:
            self._rate.begin(now)

    def end(self, now: float) -> None:
        """The next step begins."""
        if self._rate is not None:
            self._rate.before = now

    def accepted(self, job: GatedJob) -> None:
        """A job was stored."""
        self._newest[job.keys.lock] = max(
            self._newest.get(job.keys.lock, 0), job.number
        )

    def pay(self, job: GatedJob) -> None:
        """A job starts by the rate of its key."""
        if self._rate is not None:
            self._rate.owing.append((job.keys.rate, self._rate_limit(job)))

    # Unique.

    def holder(self, jobs: Iterable[GatedJob], lock: str) -> GatedJob | None:
        """The job that has a unique key."""
        own = [job for job in jobs if job.has_lock and job.keys.lock == lock]
        assert len(own) <= 1, "two jobs of a unique key"
        return own[0] if own else None

    def next(self, jobs: Iterable[GatedJob], lock: str) -> GatedJob | None:
        """The job that runs when that one has ended, and gives way to a newer one."""
        own = [job for job in jobs if job.is_next and job.keys.lock == lock]
        assert len(own) <= 1, "two jobs run afterwards"
        return own[0] if own else None

    # Who may go.

    def admit(self, jobs: Sequence[GatedJob], job: GatedJob, *, judged: bool) -> None:
        """A job was admitted: it could go, and no other one had to go before.

        Args:
            jobs: all of the queue.
            job: which.
            judged: whether the jobs that were parked are known at this moment.
        """
        assert self._slots_left(jobs, job) > 0, f"beyond the limit: {job}"
        assert self._rate is None or self._rate.may(
            job.keys.rate, self._rate_limit(job)
        )
        if job.is_behind:
            assert self.holder(jobs, job.keys.lock) is None, "two of a key"
            if job.is_next:
                assert self._newest[job.keys.lock] == job.number, "with old data"
        parked = [each for each in jobs if each.place == "parked" and each is not job]
        ahead = [
            each
            for each in parked
            if _lane(each) == _lane(job) and _is_ahead(each, job)
        ]
        assert not ahead, f"{job} has overtaken {ahead}"
        if judged and self._takes_turns:
            self._judge_turn(job, [each for each in parked if self._can_go(jobs, each)])
        else:
            self._since_oldest += 1
        self.pay(job)
        if self._rate is not None:
            self._rate.settle()
        job.admitted = self._gate is not None
        job.has_slot, job.has_lock = bool(job.keys.slot), bool(job.keys.lock)
        job.is_behind = job.is_next = job.returned = False

    def check_nothing_stands_still(
        self, jobs: Sequence[GatedJob], real: GateSnapshot, asked: int
    ) -> None:
        """Who may go has gone, as far as there is room in the stream."""
        waiting = sum(job.place == "waiting" for job in jobs)
        if waiting >= (asked if self._takes_turns else max(asked, _FEW)):
            return
        stale = real.locks.keys() - {job.keys.lock for job in jobs if job.has_lock}
        still = [
            job
            for job in jobs
            if job.place == "parked"
            and not (job.is_behind and job.keys.lock in stale)
            and self._can_go(jobs, job)
        ]
        assert not still, f"nothing keeps them from going: {still}"

    def _slots_left(self, jobs: Iterable[GatedJob], job: GatedJob) -> float:
        if not job.keys.slot or self._gate is None or not self._gate.concurrency:
            return float("inf")
        taken = sum(j.has_slot and j.keys.slot == job.keys.slot for j in jobs)
        limit = self._gate.concurrency.limit
        return self.limits.get(f"c:{job.keys.slot}", limit) - taken

    def _rate_limit(self, job: GatedJob) -> int:
        assert self._gate is not None
        assert self._gate.rate is not None
        return self.limits.get(f"r:{job.keys.rate}", self._gate.rate.limit)

    def _can_go(self, jobs: Sequence[GatedJob], job: GatedJob) -> bool:
        """Whether it is at the head of its lane, and lacks nothing."""
        lane = [j for j in jobs if j.place == "parked" and _lane(j) == _lane(job)]
        return (
            self._slots_left(jobs, job) > 0
            and (
                self._rate is None
                or self._rate.must(job.keys.rate, self._rate_limit(job))
            )
            and not (job.is_behind and self.holder(jobs, job.keys.lock))
            and not any(_is_ahead(each, job) for each in lane if each is not job)
        )

    def _judge_turn(self, job: GatedJob, others: Sequence[GatedJob]) -> None:
        """Of those that could go the highest level goes, and of those the next key."""
        if any(each.keys.level < job.keys.level for each in others):
            assert self._since_oldest >= _ONE_IN - 1, f"{job} goes before {others}"
            self._since_oldest = 0
        else:
            self._since_oldest += 1
        if job.keys.turn:
            waiting = {each.keys.turn for each in others} - {job.keys.turn}
            counts = {
                key: self._passed_over.get((key, job.keys.turn), 0) + 1
                for key in waiting
            }
            self._passed_over = {
                pair: count
                for pair, count in self._passed_over.items()
                if pair[0] in waiting
            }
            self._passed_over |= {(k, job.keys.turn): n for k, n in counts.items()}
            assert max(counts.values(), default=0) <= _AHEAD, f"{counts} wait"

    # What is held.

    def check_gate(self, jobs: Sequence[GatedJob], real: GateSnapshot) -> None:
        """Slots, locks and lanes name jobs that live, and all that have them."""
        assert real.slots == {
            (job.keys.slot, _holder(job)) for job in jobs if job.has_slot
        }
        assert real.holds == {(job.at, job.ticket) for job in jobs if job.admitted}
        locks = {job.keys.lock: (_holder(job), job.id) for job in jobs if job.has_lock}
        assert len(locks) == sum(job.has_lock for job in jobs)
        assert locks.items() <= real.locks.items()
        for key in real.locks.keys() - locks.keys():
            # It was redriven, and ended before it was at the gate again.
            assert real.locks[key] in {
                (_holder(job), job.id)
                for job in jobs
                if not job.has_ticket and not job.is_live
            }
        assert real.quiet == {
            job.keys.quiet: job.at for job in jobs if job.first is not None
        }
        assert real.behind == {job.keys.lock: job.at for job in jobs if job.is_next}
        lanes = [*real.ready, *real.blocked]
        for lane in {*real.lane_of.values()}:
            assert lane in lanes, f"the lane {lane!r} is dropped"


class RateLaw:
    """How many jobs of a key may have started, as far as the time of each is known.

    Args:
        rate: the policy.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self.before = self.after = 0.0
        """The step took place between these moments of the server's clock."""

        self.owing: list[tuple[str, int]] = []
        self._paid: dict[str, tuple[float, float]] = {}

    def begin(self, now: float) -> None:
        """A step has ended."""
        self.after = now
        self.settle()

    def settle(self) -> None:
        """Pay for what has started in this step."""
        for key, limit in self.owing:
            if limit > 0:
                each = self._each(limit)
                low, high = self._paid.get(key, (0.0, 0.0))
                low, high = max(low, self.before), max(high, self.after)
                self._paid[key] = (low + each, high + each)
        self.owing.clear()

    def may(self, key: str, limit: int) -> bool:
        """Whether a job may have started."""
        return limit > 0 and self._opens(key, limit, 0) <= self.after

    def must(self, key: str, limit: int) -> bool:
        """Whether nothing kept a job from starting."""
        return limit > 0 and self._opens(key, limit, 1) <= self.before

    def _each(self, limit: int) -> float:
        return self._rate.every / limit

    def _opens(self, key: str, limit: int, bound: int) -> float:
        paid = self._paid.get(key, (0.0, 0.0))[bound]
        return paid - (self._rate.burst - 1) * self._each(limit)


def _lane(job: GatedJob) -> _Lane:
    """What jobs have in common that wait one behind the other."""
    return (*job.keys[:3], job.keys.level, job.keys.lock if job.is_behind else "")


def _is_ahead(one: GatedJob, other: GatedJob) -> bool:
    if one.returned == other.returned:
        return one.arrived < other.arrived
    # Of those that came in one step, the first may be admitted before the next one comes.
    return one.returned and one.arrived != other.arrived


def _holder(job: GatedJob) -> str:
    waits = job.place in ("delayed", "parked")
    return f"@{job.at}" if waits else job.at
