"""Check one queue: whether workers run, and what blocks it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from flowd.errors import AccessDenied, WrongKeyType
from flowd.model.heartbeat import Heartbeat
from flowd.model.keys import QUEUES
from flowd.model.text import count_of
from flowd.ops.finding import Finding, Level
from flowd.ops.nowhere import find_nowhere, judge_nowhere
from flowd.ops.rows import ConsumerRow, Sizes
from flowd.ops.snapshot import Snapshot
from flowd.worker.maintenance import DEAD_CONSUMER_LEASES

__all__ = ["DEAD", "judge_queue"]

DEAD: Final = "dead letters: "
"""Begins the finding that there are some."""

# A sample of the pending entries is enough.
_LOOKED_AT: Final = 1_000
_NAMED: Final = 3


async def judge_queue(snapshot: Snapshot, lease: float) -> list[Finding]:
    """What there is to say about a queue, without its name: one line if all is well.

    Args:
        snapshot: of the queue.
        lease: seconds; of a queue whose workers do not say theirs.

    Raises:
        ServerError: as `Connection.call`.
    """
    queue = _Queue(snapshot, lease)
    try:
        await queue.judge()
    except AccessDenied as error:
        advice = "grant what docs/security.md lists for an admin"
        queue.say("note", f"cannot be seen: {error}", advice)
    except WrongKeyType:
        for key in await snapshot.queries.foreign_keys():
            advice = "see what it is, and rename it: flowd needs the name"
            queue.say("wrong", f"its key {key} holds what is not flowd's", advice)
    return queue.findings


class _Queue:
    def __init__(self, snapshot: Snapshot, lease: float) -> None:
        self._snapshot = snapshot
        self._queries = snapshot.queries
        self._now = snapshot.now
        self._lease = lease
        self._beats: Mapping[str, Heartbeat] = {}
        self.findings: list[Finding] = []

    def say(self, level: Level, text: str, advice: str = "") -> None:
        self.findings.append(Finding(level, "queue", text, advice))

    async def judge(self) -> None:
        self._beats = await self._snapshot.heartbeats()
        leases = [each.lease for each in self._beats.values()]
        self._lease = max(leases, default=self._lease)
        first_due = await self._snapshot.first_due()
        sizes = await self._snapshot.sizes()
        if sizes.served_by:
            self._note_who_serves(sizes)
            return
        for other in sizes.others:
            text = f"group {other} reads it too, so nothing can be settled"
            self.say("wrong", text, "destroy one of the two (XGROUP DESTROY)")
        alive = 0
        if sizes.has_group:
            alive = await self._look_at_workers(sizes.waiting)
        elif count := sizes.waiting + sizes.delayed + sizes.parked:
            jobs = f"{count_of(count, 'job')} wait{'s' if count == 1 else ''}"
            text = f"{jobs}, no worker ever started, or its group is gone"
            self.say("wrong", text, "start a worker, which sets it up")
        await self._look_at_gate(sizes.parked, alive)
        await self._look_at_schedules()
        await self._look_at_pause()
        overdue = 0.0 if first_due is None else self._now - first_due
        if overdue > self._lease:
            text = f"its first delayed job has been due for {overdue:,.0f} s"
            self.say("wrong", text, "start a worker: none promotes what is due")
        if not self.findings:
            parked = f", {sizes.parked:,} are parked" if sizes.parked else ""
            self.say(
                "ok",
                f"{sizes.waiting:,} wait, {sizes.running:,} run, {sizes.delayed:,} are"
                f" delayed{parked}; workers: {alive:,}",
            )
        self._note_dead_letters(sizes)

    def _note_who_serves(self, sizes: Sizes) -> None:
        """Other queues have the stream's jobs; what is of this one are dead letters."""
        names = " and ".join(sizes.served_by)
        text = f"its group is not there, and the stream's jobs go to {names}"
        stream, group = self._quoted()
        self.say(
            "note",
            text,
            "name one group in producers and workers; to forget this one:"
            f" printf '%s\\n%s' {stream} {group} | redis-cli -x SREM {QUEUES}",
        )
        self._note_dead_letters(sizes)

    def _note_dead_letters(self, sizes: Sizes) -> None:
        if sizes.dead:
            stream, group = self._quoted()
            text = f"{DEAD}{sizes.dead:,}"
            self.say(
                "note", text, f"see `flowd dlq list --stream {stream} --group {group}`"
            )

    def _quoted(self) -> tuple[str, str]:
        """The names, to be copied into a shell: they may hold any text."""
        return shlex.quote(self._queries.keys.stream), shlex.quote(self._queries.group)

    async def _look_at_pause(self) -> None:
        """Say that the queue is paused; a group that stands behind the end is, too."""
        since = await self._snapshot.paused_since()
        stream, group = self._quoted()
        advice = f"`flowd resume {stream} --group {group}` lets workers go on"
        if since is not None:
            text = (
                f"it is paused, since {self._now - since:,.0f} s: no worker takes a job"
            )
            self.say("note", text, advice)
        elif await self._queries.is_behind_the_end():
            text = "its group stands behind every entry, so no worker gets a job"
            self.say("wrong", text, advice)

    async def _look_at_gate(self, parked: int, alive: int) -> None:
        if parked and not alive:
            text = f"no worker lets in what is parked: {count_of(parked, 'job')}"
            self.say("wrong", text, "start one")
        try:
            nowhere = await find_nowhere(self._queries, parked)
        except AccessDenied as error:
            advice = "grant what docs/security.md lists for a queue with policies"
            self.say(
                "note", f"what is held at its gate cannot be seen: {error}", advice
            )
        else:
            self.findings += judge_nowhere(nowhere, alive=alive > 0)

    async def _look_at_schedules(self) -> None:
        for each in await self._snapshot.schedules():
            if each.paused:
                self.say("note", f"its schedule {each.name} is paused")
            elif each.late:
                text = f"a tick of its schedule {each.name} is {each.late:,.0f} s late"
                advice = "start a worker of the release whose schedules are registered"
                self.say("wrong", text, advice)

    async def _look_at_workers(self, waiting: int) -> int:
        """Returns how many workers seem to be alive."""
        consumers = await self._snapshot.consumers() or []
        silences = await self._queries.silences(_LOOKED_AT)
        alive = self._count_live(consumers)
        long = DEAD_CONSUMER_LEASES * self._lease
        leftover = sum(
            not owned and silent > long and name not in self._beats
            for name, owned, silent in consumers
        )
        # While workers live, they claim what is left to them; that may take a while.
        lasts = long if alive else self._lease
        abandoned = [each for each in silences if each > lasts]
        # What the group will never get is in the stream, and is no job that waits.
        if waiting and not alive and await self._snapshot.oldest_waiting():
            text = f"no worker reads what waits: {count_of(waiting, 'job')}"
            self.say("wrong", text, "start one")
        if abandoned:
            more = " or more" if len(silences) == _LOOKED_AT else ""
            self.say(
                "wrong",
                f"abandoned for up to {max(abandoned):,.0f} s, and no worker claims them:"
                f" {count_of(len(abandoned), 'job')}{more}",
                "start a worker that has a Claimer",
            )
        dead = sorted(
            name for name, each in self._beats.items() if each.is_over(self._now)
        )
        if dead:
            more = f" and {len(dead) - _NAMED:,} more" if len(dead) > _NAMED else ""
            self.say(
                "note",
                f"{count_of(len(dead), 'worker')} gave no sign of life for a lease:"
                f" {', '.join(dead[:_NAMED])}{more}",
                "find out whether it was killed, or is frozen or cut off: others take"
                " over its jobs",
            )
        if leftover:
            self.say(
                "note",
                f"consumers that own nothing and were silent for"
                f" {long:,.0f} s: {leftover:,}; they died, or wait on Redis"
                " before 7.2, and running workers forget them",
            )
        return alive

    def _count_live(self, consumers: Sequence[ConsumerRow]) -> int:
        """How many workers live; of one that says so itself, what it says counts."""
        silent = DEAD_CONSUMER_LEASES * self._lease
        live = {
            each.name
            for each in consumers
            if each.silent <= silent and each.name not in self._beats
        }
        speaking = [
            each for each in self._beats.values() if not each.is_over(self._now)
        ]
        return len(live) + len(speaking)
