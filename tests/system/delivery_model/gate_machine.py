"""What operators may order of a queue with policies, and that nothing is left of it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from flowd.broker import control
from flowd.broker.dead_letters import purge, redrive
from flowd.broker.gate import counting, redriving
from flowd.broker.scripts import Part
from flowd.ops.control import JobFilter, due_now, end_jobs, for_each_job
from flowd.ops.jobs import JobView
from flowd.ops.limits import reset_limit, set_limit
from tests.system.delivery_model.gate_plans import picks
from tests.system.delivery_model.gate_snapshot import leftovers
from tests.system.delivery_model.gate_ticks import GateTicks
from tests.system.delivery_model.gate_workers import ALL
from tests.system.delivery_model.plans import CONSUMERS, Ending, seldom
from tests.system.delivery_model.policies import CUSTOMERS, HOSTS

__all__ = ["GateMachine"]


class GateMachine(GateTicks):
    """A queue with policies on a real server, and the model of it."""

    @precondition(lambda self: self.model.live)
    @rule(
        what=st.sampled_from(("cancel", "cancel", "delete", "run now", "clear")),
        pick=picks,
        really=seldom,
    )
    def withdraw(self, what: str, pick: int, really: bool) -> None:
        """Take jobs away, or let one go at once."""
        match what:
            case "cancel":
                self.cancel(pick)
            case "delete":
                self.delete(pick)
            case "run now":
                self.run_now(pick)
            case _ if really:
                self.clear()
            case _:
                pass

    @rule(
        really=seldom,
        pick=picks,
        limit=st.none() | st.integers(0, 3),
        by_slot=st.booleans(),
    )
    def govern(self, really: bool, pick: int, limit: int | None, by_slot: bool) -> None:
        """Pause or resume the queue, or change the limit of a key."""
        if pick % 2:
            self.pause(really)
        else:
            self.change_limit(pick // 2, limit, by_slot)

    @precondition(lambda self: self.letters)
    @rule(
        what=st.sampled_from(("redrive", "redrive", "purge")),
        pick=picks,
        waits=st.booleans(),
    )
    def look_at_letters(self, what: str, pick: int, waits: bool) -> None:
        """Redrive a dead letter, or purge it."""
        if what == "redrive":
            self.redrive(pick, waits)
        else:
            self.purge(pick)

    def redrive(self, pick: int, waits: bool) -> None:
        letter = self.letters[pick % len(self.letters)][:2]
        parts: list[Part] = []
        if self.gate is not None:
            parts.append(redriving(self.real, self.gate, waits=waits))
        (answer,) = self.ask(redrive(self.real, [letter], parts=parts))
        self.model.redriven(letter[0], waits, answer)
        self.agree(admits=None if self.gate is None else 0)

    def purge(self, pick: int) -> None:
        letter = self.letters[pick % len(self.letters)]
        self.model.purged(letter[0], self.ask(purge(self.real, *letter)))
        self.agree()

    def cancel(self, pick: int) -> None:
        job = self.model.jobs[-1 - pick % len(self.model.jobs)]
        self.model.cancelled(job, self.ask(control.cancel_by_id(self.real, job.id)))
        self.agree()

    def delete(self, pick: int) -> None:
        job = self.model.live[pick % len(self.model.live)]
        place = control.JobPlace(
            job.at if job.is_entry else "",
            job.id if job.is_entry else job.at,
            job.key,
            is_gated=bool(job.ticket) and job.has_ticket,
        )
        (found,) = self.ask(control.cancel(self.real, [place], running=False))
        self.model.deleted(job, found)
        self.agree()

    def clear(self) -> None:
        """Delete all that do not run, as `flowd queue clear` does."""

        async def step(jobs: Sequence[JobView]) -> int:
            found = await end_jobs(self.queries, jobs, running=False)
            return sum(each in ("waiting", "delayed", "parked") for _, each in found)

        everything = for_each_job(self.queries, JobFilter(), 0.0, step)
        self.ask(everything)
        for job in self.model.at("waiting", "delayed", "parked"):
            self.model.deleted(job, job.place)
        self.agree()

    def run_now(self, pick: int) -> None:
        delayed = self.model.at("delayed")
        if not delayed:
            return
        job = delayed[pick % len(delayed)]
        now = self.model.laws.now - self.model.now
        self.model.hurried(job, self.ask(due_now(self.queries, job.at, now)))
        self.agree()

    def pause(self, really: bool) -> None:
        """Pause, or resume, which is done more often."""
        order = control.pause if really else control.resume
        self.model.set_paused(really, self.ask(order(self.real)))
        self.agree()

    def change_limit(self, pick: int, limit: int | None, by_slot: bool) -> None:
        """Give one key a limit of its own, or that of the schema."""
        if self.gate is None or not (self.gate.concurrency or self.gate.rate):
            return
        by_slot = self.gate.rate is None or (
            self.gate.concurrency is not None and by_slot
        )
        name, values = ("customer", CUSTOMERS) if by_slot else ("host", HOSTS)
        fields = {name: values[pick % 2]}
        key = f"{'c' if by_slot else 'r'}:{name}={fields[name]}"
        if limit is None:
            self.ask(reset_limit(self.queries, fields))
            self.model.laws.limits.pop(key, None)
        else:
            if by_slot and self.model.laws.is_ordered:
                limit = min(limit, 1)  # more are refused
            assert self.ask(set_limit(self.queries, fields, limit)) == key
            self.model.laws.limits[key] = limit
        self.agree(admits=0)

    def teardown(self) -> None:
        """However it went on, all jobs can be ended, and nothing is left then."""
        if not self.sound:
            return
        self.pause(really=False)
        if self.gate is not None and (self.gate.concurrency or self.gate.rate):
            self.ask(reset_limit(self.queries))
            self.model.laws.limits.clear()
            self.agree(admits=0)
        self.running = {each: {} for each in CONSUMERS}
        for _ in range(2 * len(self.model.jobs) + 2):
            if not self.model.live:
                break
            self.time_passes(1e6)
            self.maintain("a", lost=False)
            self.read("a", ALL, waits=False, lost=False)
            mine = list(self.running["a"].values())
            if mine:
                done = [(each, Ending("ack", 0.0)) for each in mine]
                self.end("a", done, knows=True)
        assert not self.model.live
        for letter in self.letters:
            self.model.purged(letter[0], self.ask(purge(self.real, *letter)))
        self.maintain("b", lost=False)
        parts = counting(self.real, self.gate)
        assert self.ask(self.real.remaining(parts)) == (0, 0)
        assert self.ask(leftovers(self.connection, self.real.keys)) == []
