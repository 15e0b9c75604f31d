"""What is wrong with a queue, and what is to be known of it: the one place that judges.

`flowd stats`, `flowd top`, `flowd doctor` and the dashboard show what is found here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowd.model.keys import QUEUES
from flowd.model.text import count_of
from flowd.ops.consumers import ConsumerView
from flowd.ops.cron import CronView
from flowd.ops.delays import Delays
from flowd.ops.finding import Finding, Level, worst_first
from flowd.ops.rows import Sizes
from flowd.worker.maintenance import DEAD_CONSUMER_LEASES

__all__ = ["Known", "find_problems"]

_LONG: Final = 60.0
_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a queue."""

    stream: str
    group: str
    sizes: Sizes
    waiting: int
    """As of `QueueView`, as are `oldest`, `delays`, `paused` and `schedules`."""

    oldest: float | None = None
    next_due: float | None = None
    """Seconds until the first delayed job is due, below 0 if it is overdue."""

    delays: Delays = field(default_factory=Delays)
    paused: float | None = None
    schedules: Sequence[CronView] = ()
    consumers: Sequence[ConsumerView] = ()
    silences: Sequence[float] = ()
    """Of some pending entries, the oldest: seconds without a sign of life."""

    lease: float
    """Seconds; of a queue whose workers do not say theirs."""


def find_problems(known: Known) -> list[Finding]:
    """What is to be said of a queue, the worst first; nothing if all is well."""
    queue = _Queue(known)
    return worst_first([*queue.judge(), *queue.judge_dead_letters()])


class _Queue:
    def __init__(self, known: Known) -> None:
        self._known = known
        stated = [each.lease for each in known.consumers if each.lease is not None]
        self._lease = max(stated, default=known.lease)
        self._live = [each for each in known.consumers if each.is_live]
        # The names may hold any text, and are to be copied into a shell.
        self._stream, self._group = shlex.quote(known.stream), shlex.quote(known.group)

    def judge(self) -> Iterator[Finding]:
        sizes = self._known.sizes
        if sizes.served_by:
            yield self._served_by_others()
            return
        for other in sizes.others:
            text = f"group {other} reads it too, so nothing can be settled"
            yield _say("wrong", text, "destroy one of the two (XGROUP DESTROY)")
        if sizes.own is not None:
            yield from self._judge_workers()
        elif count := sizes.waiting + sizes.delayed + sizes.parked:
            jobs = f"{count_of(count, 'job')} wait{'s' if count == 1 else ''}"
            text = f"{jobs}, and there is no consumer group: no worker ever ran, or a client deleted it"
            yield _say("wrong", text, "start a worker, which creates it")
        if sizes.parked and not self._live:
            text = f"no worker admits the parked jobs: {count_of(sizes.parked, 'job')}"
            yield _say("wrong", text, "start one")
        yield from self._judge_schedules()
        yield from self._judge_pause()
        yield from self._judge_jobs()

    def judge_dead_letters(self) -> Iterator[Finding]:
        if dead := self._known.sizes.dead:
            where = f"--stream {self._stream} --group {self._group}"
            advice = f"see `flowd dlq list {where}`"
            yield _say("warn", count_of(dead, "dead letter"), advice)

    def _served_by_others(self) -> Finding:
        """Other queues have the stream's jobs; what is of this one are dead letters."""
        names = " and ".join(self._known.sizes.served_by)
        return _say(
            "note",
            f"its group is not there, and the stream's jobs go to {names}",
            "name one group in producers and workers; to forget this one:"
            f" printf '%s\\n%s' {self._stream} {self._group}"
            f" | redis-cli -x SREM {QUEUES}",
        )

    def _judge_workers(self) -> Iterator[Finding]:
        known = self._known
        if known.waiting and not self._live:
            text = f"no worker reads what waits: {count_of(known.waiting, 'job')}"
            yield _say("wrong", text, "start one")
        long = DEAD_CONSUMER_LEASES * self._lease
        # While workers live, they claim what is left to them; that may take a while.
        lasts = long if self._live else self._lease
        abandoned = [each for each in known.silences if each > lasts]
        if abandoned:
            more = " or more" if len(known.silences) < known.sizes.running else ""
            yield _say(
                "wrong",
                f"abandoned for up to {max(abandoned):,.0f} s, and no worker claims them:"
                f" {count_of(len(abandoned), 'job')}{more}",
                "start a worker that has a Claimer",
            )
        yield from self._judge_dead_workers(said=bool(abandoned))
        if stuck := sum(each.owned for each in known.consumers if _is(each, "stuck")):
            text = f"{count_of(stuck, 'handler')} did not end when cancelled"
            yield _say("warn", text, "the log names them: event=stuck")

    def _judge_dead_workers(self, *, said: bool) -> Iterator[Finding]:
        """`said`: that their jobs are abandoned."""
        dead = [each for each in self._known.consumers if _is(each, "dead")]
        held = sum(each.owned for each in dead)
        names = [each.name for each in dead if each.owned or each.slots is not None]
        left = len(dead) - len(names)
        if names and not said:
            which = ", ".join(names[:_NAMED])
            if len(names) > _NAMED:
                which += f" and {len(names) - _NAMED:,} more"
            text = (
                f"{count_of(len(names), 'worker')} died, or cannot reach Redis: {which}"
            )
            if held:
                text = f"{count_of(held, 'job')} of dead workers, to be taken over: {which}"
            advice = "find out whether it was killed, or is frozen or cut off: others take over its jobs"
            yield _say("warn", text, advice)
        if left:
            long = DEAD_CONSUMER_LEASES * self._lease
            text = (
                f"consumers that own nothing and were silent for {long:,.0f} s:"
                f" {left:,}; they died, or wait on Redis before 7.2, and running"
                " workers forget them"
            )
            yield _say("note", text)

    def _judge_schedules(self) -> Iterator[Finding]:
        for each in self._known.schedules:
            if each.paused:
                yield _say("note", f"its schedule {each.name} is paused")
            elif each.late:
                text = f"a tick of its schedule {each.name} is {each.late:,.0f} s late"
                advice = "start a worker of the release whose schedules are registered"
                yield _say("wrong", text, advice)

    def _judge_pause(self) -> Iterator[Finding]:
        """A group that stands behind the end is paused, too."""
        since, own = self._known.paused, self._known.sizes.own
        advice = (
            f"`flowd resume {self._stream} --group {self._group}` lets workers go on"
        )
        if since is not None:
            text = f"it has been paused for {since:,.0f} s: no worker takes a job"
            yield _say("note", text, advice)
        elif own is not None and own.is_behind_the_end:
            text = "its group stands behind every entry, so no worker gets a job"
            yield _say("wrong", text, advice)

    def _judge_jobs(self) -> Iterator[Finding]:
        known = self._known
        overdue = -(known.next_due or 0.0)
        if overdue > self._lease:
            text = f"its first delayed job has been due for {overdue:,.0f} s"
            yield _say("wrong", text, "start a worker: none promotes what is due")
        late = known.oldest is not None and known.oldest > _LONG
        if late and self._live and known.paused is None:
            busy = all(each.free == 0 for each in self._live)
            why = ", and every slot is in use" if busy else ""
            text = f"jobs wait for longer than a minute{why}"
            yield _say("warn", text, "start more workers" if busy else "")
        if newer := known.delays.newer_version:
            waits = "waits" if newer == 1 else "wait"
            text = f"{count_of(newer, 'job')} {waits} for workers with newer classes"
            yield _say("warn", text, "start workers of the newest release")


def _is(consumer: ConsumerView, state: str) -> bool:
    return consumer.state == state


def _say(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level, "queue", text, advice)
