"""A queue with policies in plain Python: what may happen to each job, and what must not.

What an operation does to the jobs that it names is known, and compared with its answer.
Which of the parked jobs go on is the gate's choice. The model judges it: `agree` sees who
was admitted, in which order, and `laws` says whether they could go, and whether another had to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowd.broker.commands import MoveToDeadLetter, Requeue, Settled
from flowd.broker.control import CancelResult
from flowd.errors import KeyTaken, ServerError
from flowd.model.delivery import Entry, order
from flowd.model.duplicate import Duplicate
from flowd.model.gate import Debounce, Gate
from tests.system.delivery_model.gate_job import GatedJob, Place
from tests.system.delivery_model.gate_laws import Laws
from tests.system.delivery_model.gate_snapshot import GateSnapshot
from tests.system.delivery_model.job import Hold, check_leases
from tests.system.delivery_model.model import LEASE

__all__ = ["GateModel"]


class GateModel:
    """One queue; each method gets an answer of the real one, and judges it.

    Args:
        gate: its policies; None: it has none.
    """

    def __init__(self, gate: Gate | None) -> None:
        self.gate = gate
        self.laws = Laws(gate)
        self.now = 0.0
        """Seconds by which time was moved."""

        self.jobs: list[GatedJob] = []
        """All that were accepted, as they were."""

        self.keys: dict[str, str] = {}
        self.marks: set[str] = set()
        self.run: GatedJob | None = None
        """The last one that a schedule has enqueued."""

        self.paused = False
        self.steps = 0
        self.arrivals: list[GatedJob] = []
        """Those that came to the gate in this step."""

    @property
    def live(self) -> list[GatedJob]:
        """Jobs that have still to run."""
        return [job for job in self.jobs if job.is_live]

    def at(self, *places: Place) -> list[GatedJob]:
        """Jobs in these places."""
        return [job for job in self.jobs if job.place in places]

    def waiting(self) -> list[GatedJob]:
        """Entries that no consumer has, the oldest first."""
        return sorted(self.at("waiting"), key=lambda job: _order(job.at))

    def owned(self, consumer: str, entry_id: bytes, count: int) -> GatedJob | None:
        """The job whose entry this consumer has with this count."""
        for job in self.at("held"):
            assert job.hold is not None
            if job.at.encode() == entry_id:
                ours = (job.hold.consumer, job.hold.count) == (consumer, count)
                return job if ours else None
        return None

    # Producers.

    def enqueued(
        self,
        jobs: Sequence[GatedJob],
        delays: Sequence[float],
        answers: Sequence[str | ServerError],
    ) -> None:
        """Each is accepted, or is there already."""
        for job, delay, answer in zip(jobs, delays, answers, strict=True):
            assert isinstance(answer, str)
            if job.key is not None and job.key in self.keys:
                assert answer == self.keys[job.key]
                continue
            if job.key is not None:
                self.keys[job.key] = answer
            self._accept(job, delay, answer)

    def _accept(self, job: GatedJob, delay: float, answer: str) -> None:
        holder = self.laws.holder(self.jobs, job.keys.lock)
        former = self.laws.next(self.jobs, job.keys.lock)
        if holder is not None and not self.laws.runs_last:
            assert isinstance(answer, Duplicate)
            assert (answer, answer.replaced) == (holder.id, False)
            return
        if holder is not None or former is not None:
            assert isinstance(answer, Duplicate) == (former is not None)
            if former is not None:
                assert answer == former.id
                former.end("replaced")
            if delay:
                job.place, job.due, job.at = "delayed", self.now + delay, answer
            else:
                self._arrive(job, behind=True)
            job.is_next = True
        else:
            replaces = isinstance(answer, Duplicate) and answer.replaced
            assert replaces == (self._unquiet(job) is not None)
            job.has_lock = bool(job.keys.lock)
            if self.gate is not None and self.gate.debounce is not None:
                self._delay_until_quiet(job, self.gate.debounce, answer)
            elif delay:
                job.place, job.due = "delayed", self.now + delay
                job.at = answer
            else:
                self._arrive(job)
        job.id, job.born = answer, self.now
        self.jobs.append(job)
        self.laws.accepted(job)

    def _unquiet(self, job: GatedJob) -> GatedJob | None:
        """The debounced job of its key whose place it takes."""
        same = [
            each
            for each in self.at("delayed")
            if each.first is not None and each.keys.quiet == job.keys.quiet
        ]
        assert len(same) <= 1, "two debounced jobs of a key"
        return same[0] if same else None

    def _delay_until_quiet(self, job: GatedJob, rule: Debounce, answer: str) -> None:
        former = self._unquiet(job)
        job.first = self.now if former is None else former.first
        assert job.first is not None
        if former is not None:
            assert answer == former.id
            former.end("replaced")
        job.place, job.at = "delayed", answer
        job.due = min(self.now + rule.wait, job.first + rule.longest)

    def added(self, job: GatedJob, answer: str) -> None:
        """A program that knows no gate has appended a job."""
        job.id = job.at = answer
        job.place, job.has_ticket, job.born = "waiting", False, self.now
        self.jobs.append(job)

    def ticked(self, job: GatedJob, skips: bool, stored: bool) -> None:
        """A schedule has enqueued a job, unless its runs must not overlap."""
        assert stored != (skips and self.run is not None and self.run.is_live)
        if not stored:
            return
        job.place, job.has_ticket, job.born = "waiting", False, self.now
        self.jobs.append(job)
        self.run = job

    # Workers.

    def read(self, consumer: str, count: int, answer: Sequence[Entry]) -> None:
        """The oldest that wait are delivered, unless the queue is paused."""
        jobs = [] if self.paused else self.waiting()[:count]
        assert [entry.id.decode() for entry in answer] == [job.at for job in jobs]
        for job, entry in zip(jobs, answer, strict=True):
            job.place, job.hold = "held", Hold(consumer, 1, self.now)
            assert entry.delivery_count == 1

    def renewed(
        self, consumer: str, held: Sequence[tuple[bytes, int]], lost: Iterable[bytes]
    ) -> None:
        """Who owns an entry has it for another lease."""
        for entry_id, count in held:
            job = self.owned(consumer, entry_id, count)
            assert (entry_id in lost) == (job is None)
            if job is not None:
                job.hold = Hold(consumer, count, self.now)

    def promoted(self, count: int) -> None:
        """What is due comes to the gate, or waits."""
        due = [job for job in self.at("delayed") if job.due <= self.now]
        assert count == len(due)
        for job in due:
            job.has_slot, job.first = False, None
            self._arrive(job, returned=job.counted)

    def taken_over(
        self,
        consumer: str,
        answer: Sequence[Entry],
        running: Sequence[bytes] | None,
    ) -> None:
        """What was abandoned has a new owner.

        With what the consumer is `running`, what of its own it never received is delivered
        again instead, uncounted, and the leases of what runs are renewed.
        """
        taken = {entry.id.decode(): entry for entry in answer}
        for job in self.at("held"):
            assert job.hold is not None
            entry = taken.pop(job.at, None)
            mine = job.hold.consumer == consumer
            late = self.now - job.hold.since >= LEASE
            if running is None:
                wanted = late and not mine
            else:
                wanted = mine and job.at.encode() not in running
            assert (entry is not None) == (wanted and not self.paused), job
            if entry is not None:
                job.hold = Hold(consumer, job.hold.count + (not mine), self.now)
                assert entry.delivery_count == job.hold.count
            elif mine and late and running is not None and not self.paused:
                job.hold.since = self.now
        assert not taken

    def ended(
        self, consumer: str, held: tuple[bytes, int], answer: Settled, place: Place
    ) -> None:
        """Who owns an entry ends its job; it holds nothing from then on."""
        job = self.owned(consumer, *held)
        assert answer == (job is not None)
        if job is not None:
            # A worker does not start it behind its deadline.
            late = job.expires is not None and self.now - job.born > job.expires
            job.end("expired" if late and place == "done" else place)

    def unmarked(self, job_id: str) -> None:
        """Its job has ended, in a worker that knows the marks."""
        self.marks.discard(job_id)

    def moved(
        self,
        consumer: str,
        item: Requeue | MoveToDeadLetter,
        failed: bool,
        answer: Settled,
    ) -> None:
        """Who owns an entry puts its job back, or among the dead."""
        delivery = item.delivery
        job = self.owned(consumer, delivery.entry_id, delivery.count)
        if job is None:
            assert answer == 0
            return
        if isinstance(item, MoveToDeadLetter):
            assert isinstance(answer, bytes)
            job.end("dead")
            job.at = answer.decode()
            return
        assert answer == 1
        assert job.hold is not None
        job.attempt += failed
        job.deliveries += job.hold.count - (not failed)
        job.counted, job.has_ticket = True, True
        job.hold = None
        if item.delay:
            job.place, job.due, job.at = "delayed", self.now + item.delay, job.id
            job.admitted = False
            job.has_slot = job.has_slot and self.laws.is_ordered
        elif job.admitted or not job.ticket:
            job.place, job.at = "waiting", ""
            self.laws.pay(job)
        else:
            self._arrive(job)

    # Operators.

    def cancelled(self, job: GatedJob, answer: CancelResult) -> None:
        """What waits is gone at once; what runs is marked."""
        if not job.is_live:
            same = [each for each in self.live if each.id == job.id]
            if not same:
                assert answer == "not_found"
                return
            (job,) = same
        if job.place == "held":
            assert answer == "cancelling"
            self.marks.add(job.id)
        else:
            assert answer == "cancelled"
            self._withdraw(job, "cancelled")

    def deleted(self, job: GatedJob, found: object) -> None:
        """What waits is gone; what runs is left alone."""
        if job.place == "held":
            assert found == "running"
            return
        assert found == job.place
        self._withdraw(job, "deleted")

    def hurried(self, job: GatedJob, answer: bool) -> None:
        """A delayed job is due now."""
        assert answer == (job.place == "delayed")
        if answer:
            job.due = min(job.due, self.now)

    def set_paused(self, paused: bool, answer: bool) -> None:
        """The queue is paused, or goes on; the answer says whether that is new."""
        assert answer == (paused != self.paused)
        self.paused = paused

    def redriven(self, letter: str, waits: bool, answer: bool | ServerError) -> None:
        """A dead job starts afresh, unless its key is taken."""
        job = next((each for each in self.at("dead") if each.at == letter), None)
        if job is None:
            assert answer is False
            return
        holder = self.laws.holder(self.jobs, job.keys.lock)
        if holder is not None and not waits:
            assert isinstance(answer, KeyTaken)
            assert holder.id in str(answer)
            return
        assert answer is True
        if job is self.run:
            self.run = None  # a dead run has ended, whatever becomes of it
        job.attempt, job.deliveries, job.counted = 1, 0, False
        job.expires = None
        self.marks.discard(job.id)
        if holder is not None:
            self._arrive(job, behind=True)
            return
        job.place, job.at, job.has_ticket = "waiting", "", False
        job.has_lock = bool(job.keys.lock)

    def purged(self, letter: str, answer: bool) -> None:
        """A dead job is gone for good, and its idempotency key is free."""
        job = next((each for each in self.at("dead") if each.at == letter), None)
        assert answer == (job is not None)
        if job is not None:
            self._withdraw(job, "purged")

    # What Redis holds.

    def agree(self, real: GateSnapshot, *, admits: int | None = None) -> None:
        """Every job is in its one place, and who was admitted could go.

        Args:
            real: what Redis holds after the step.
            admits: how many a worker has asked for; 0: the step admits what may go
                anyway; None: it admits nothing.
        """
        seen = _sightings(real)
        there = {job.number: job for job in self.jobs if job.is_live}
        there |= {job.number: job for job in self.at("dead")}
        assert seen.keys() == there.keys(), (seen.keys(), there.keys())
        admitted: list[GatedJob] = []
        for number, job in there.items():
            place, at, fields = seen[number]
            if job.place == "parked" and place == "waiting":
                admitted.append(job)
            else:
                assert place == ("waiting" if job.is_entry else job.place), job
                assert job.at in ("", at), job
                job.at = at
            if job not in admitted:
                _check_fields(job, fields)
        self.laws.begin(real.now + self.now)
        for job in sorted(admitted, key=lambda job: _order(seen[job.number][1])):
            assert not self.paused or (
                job in self.arrivals and not self.laws.parks and not job.is_behind
            ), "admitted while the queue is paused"
            self.laws.admit(self.jobs, job, judged=admits is not None and admits > 0)
            job.place, job.at = "waiting", seen[job.number][1]
            _check_fields(job, seen[job.number][2])
        if admits is not None and not self.paused:
            self.laws.check_nothing_stands_still(self.jobs, real, admits)
        holds = {job.at: job.hold for job in self.at("held")}
        check_leases(holds, real.queue.held, self.now)
        self.laws.check_gate(self.jobs, real)
        assert real.paused == self.paused
        assert real.marks == self.marks
        self.arrivals.clear()
        self.steps += 1
        self.laws.end(real.now + self.now)

    def _arrive(
        self, job: GatedJob, *, returned: bool = False, behind: bool = False
    ) -> None:
        """It comes to the gate: `agree` sees whether it was admitted or parked."""
        if not job.has_lock and not behind and job.keys.lock:
            behind = self.laws.holder(self.jobs, job.keys.lock) is not None
        job.has_lock = bool(job.keys.lock) and not behind
        job.is_behind, job.returned = behind, returned
        job.is_next = job.is_next and behind
        job.place, job.at, job.has_ticket = "parked", "", True
        job.arrived = self.steps
        self.arrivals.append(job)

    def _withdraw(self, job: GatedJob, place: Place) -> None:
        if job.key is not None and self.keys.get(job.key) == job.id:
            del self.keys[job.key]
        job.end(place)


def _check_fields(job: GatedJob, fields: dict[str, str]) -> None:
    """They are the job's own, and of flowd's only what it may carry."""
    found = dict(fields)
    at = found.pop("_at", "")
    if not at:  # a letter says it in a field of its own
        at = job.enqueued_ms if job.place == "dead" else job.at.partition("-")[0]
    job.enqueued_ms = job.enqueued_ms or at
    assert at == job.enqueued_ms, f"{job} has another time now"
    own = job.carries()
    if job.place == "parked":
        found["_gate"] = found["_gate"].rpartition(" s:")[0]
    if job.expires is None:
        assert "_expires" not in found or job.place == "dead"
    else:
        assert found.pop("_expires") == f"+{round(job.expires * 1000)}"
    if job.place == "dead":
        assert found.items() >= own.items()
    else:
        assert found == own, job


def _sightings(real: GateSnapshot) -> dict[int, tuple[Place, str, dict[str, str]]]:
    """Where each job is, by its number; one that is in two places fails."""
    places: list[tuple[Place, dict[str, dict[str, str]]]] = [
        ("waiting", real.queue.entries),
        ("delayed", real.queue.delayed),
        ("parked", real.parked),
        ("dead", real.queue.dead),
    ]
    rows: list[tuple[Place, str, dict[str, str]]] = [
        (place, at, fields) for place, there in places for at, fields in there.items()
    ]
    found = {int(row[2]["n"]): row for row in rows}
    assert len(found) == len(rows), "a job is in two places"
    assert real.queue.bodies == len(real.queue.delayed) + len(real.parked)
    return found


def _order(entry_id: str) -> tuple[int, int]:
    return order(entry_id.encode()) if "-" in entry_id else (0, 0)
