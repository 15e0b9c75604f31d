"""For the tests of programs that use flowd: no server, no waiting.

    queue = MemoryQueue(Email, send)
    await queue.enqueue(Email(to="a@b.c", subject="hi"))
    await queue.drain()
    assert queue.done == [Email(to="a@b.c", subject="hi")]

Every job goes through its own `to_fields` and `from_fields`, and a handler is run by the
same code as in production, so what raises there raises here.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, count
from typing import Generic, TypeVar

from flowd import outcome
from flowd.delivery import Delivery, Entry
from flowd.durable import Durable
from flowd.errors import IdNotIncreasing
from flowd.event import Witnesses
from flowd.handler import BoundHandler, Handler
from flowd.item import KEY_TTL, Item, addition_of
from flowd.job import Job
from flowd.letter import Letter, letter_fields, read_letter
from flowd.policy import Policy
from flowd.worker import Worker

__all__ = ["FakeClock", "MemoryQueue", "debug_map", "from_text", "round_trip"]

J = TypeVar("J", bound=Job)


def debug_map(job: Job) -> dict[str, str]:
    """A job's fields as text, as they go over the wire; the seed's `debug_map`.

    Bytes that are not UTF-8 are written out; a secret field is `<secret>`.
    """
    secrets = type(job).SPEC.secrets
    return {
        name.decode(): (
            "<secret>"
            if name.decode() in secrets
            else value.decode("utf-8", "backslashreplace")
        )
        for name, value in job.to_fields().items()
    }


def round_trip(job: J) -> J:
    """A job as a worker would get it; the seed's `round_trip`.

    Raises:
        EncodeError: a value has no form on the wire.
        DecodeError: what was written cannot be read, as with a mapper whose two
            functions do not fit.
    """
    return type(job).from_fields(job.to_fields())


def from_text(job_class: type[J], fields: Mapping[str, str]) -> J:
    """A job from wire names and texts; the seed's constructor from string pairs.

    Raises:
        DecodeError: a field is missing or cannot be read.
    """
    return job_class.from_fields({k.encode(): v.encode() for k, v in fields.items()})


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now
        """Seconds since 1970."""

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


class MemoryQueue(Generic[J]):
    """A `Queue` without a server: jobs are kept in a list and run one by one.

    It enqueues, delays, retries, times out and dead-letters as `Queue` does. Delays and
    backoff follow `clock`; a handler's timeout is real.

    Args:
        job_class: a generated class.
        handler: as for `Queue`.
        policy: instead of the schema's.
        clock: shared with other queues if they are to see the same time.
        on_dead_letter: as for `Queue`; awaited before `drain` goes on.
    """

    def __init__(
        self,
        job_class: type[J],
        handler: Handler[J],
        *,
        policy: Policy | None = None,
        clock: FakeClock | None = None,
        on_dead_letter: Callable[[Letter[J]], object] | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        """What delays and backoff go by."""

        self.enqueued: list[J] = []
        """Every job that was enqueued, as a worker sees it, in order."""

        self.done: list[J] = []
        """The jobs whose handler returned, in that order."""

        self.dead: list[Letter[J]] = []
        """What was given up."""

        self._job_class = job_class
        self._policy = policy or job_class.SPEC.policy
        self._handler = BoundHandler(
            handler, self._policy.stream, self._policy.claim_after
        )
        self._on_dead_letter = on_dead_letter
        self._waiting: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._last = (0, 0)
        self._keys: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        """How many jobs wait, delayed ones included."""
        return len(self._waiting)

    async def enqueue(
        self,
        job: J,
        *,
        id: str = "*",  # noqa: A002 - the seed's name
        delay: float = 0.0,
        key: str | None = None,
        key_ttl: float = KEY_TTL,
        durable: Durable | bool = False,  # noqa: ARG002 - nothing here outlives a crash
    ) -> str:
        """Enqueue one job and return its id; as `Queue.enqueue`, with nothing to prove."""
        return self._add(Item(job, id, delay, key, key_ttl))

    async def enqueue_bulk(
        self,
        jobs: Iterable[J | Item[J]],
        *,
        durable: Durable | bool = False,  # noqa: ARG002 - as above
    ) -> list[str]:
        """Enqueue many jobs and return their ids; as `Queue.enqueue_bulk`."""
        return [self._add(job if isinstance(job, Item) else Item(job)) for job in jobs]

    async def run_due(self) -> int:
        """Run every job that is due by the clock; returns how many attempts it took."""
        attempts = 0
        while self._waiting and self._waiting[0][0] <= self.clock.now:
            _, _, entry = heapq.heappop(self._waiting)
            await self._run(entry)
            attempts += 1
        return attempts

    async def drain(self) -> None:
        """Run until nothing is left, moving the clock to each job that is delayed."""
        while self._waiting:
            self.clock.now = max(self.clock.now, self._waiting[0][0])
            await self.run_due()

    def _add(self, item: Item[J]) -> str:
        addition = addition_of(item)
        if item.key is not None:
            known, until = self._keys.get(item.key, ("", 0.0))
            if self.clock.now < until:
                return known
        entry_id = self._entry_id(addition.id)
        job_id = addition.job_id or entry_id
        fields = dict(addition.fields)
        if item.delay:
            fields[b"_at"] = str(int(self.clock.now * 1000)).encode()
        if item.key is not None:
            self._keys[item.key] = (job_id, self.clock.now + item.key_ttl)
        self.enqueued.append(self._job_class.from_fields(fields))
        self._push(item.delay, Entry(entry_id.encode(), 1, fields, len(fields)))
        return job_id

    def _push(self, delay: float, entry: Entry) -> None:
        due = self.clock.now + delay
        heapq.heappush(self._waiting, (due, next(self._order), entry))

    def _entry_id(self, wanted: str = "*") -> str:
        if wanted == "*":
            now = (int(self.clock.now * 1000), 0)
            new = max(now, (self._last[0], self._last[1] + 1))
        else:
            ms, _, sequence = wanted.partition("-")
            new = (int(ms), int(sequence or 0))
            if new <= self._last:
                raise IdNotIncreasing(f"{wanted} is not above the stream's last id")
        self._last = new
        return f"{new[0]}-{new[1]}"

    async def _run(self, entry: Entry) -> None:
        ends: asyncio.Queue[outcome.Outcome] = asyncio.Queue()
        worker = Worker(
            self._job_class,
            self._handler,
            self._policy,
            max_crashes=None,
            ended=lambda _, end: ends.put_nowait(end or outcome.Release()),
            witnesses=Witnesses(self._policy.stream, self._policy.group),
        )
        delivery = Delivery(entry, time.monotonic())
        worker.start(delivery)
        end = await ends.get()
        worker.close()
        match end:
            case outcome.Ack():
                self.done.append(self._job_class.from_fields(delivery.fields))
            case outcome.Retry(after):
                self._requeue(delivery, after, failed=True)
            case outcome.Release(after):
                self._requeue(delivery, after, failed=False)
            case outcome.DeadLetter():
                await self._bury(delivery, end)

    def _requeue(self, delivery: Delivery, after: float, *, failed: bool) -> None:
        fields = {**delivery.fields, **delivery.next_envelope(failed=failed)}
        self._push(after, Entry(self._entry_id().encode(), 1, fields, len(fields)))

    async def _bury(self, delivery: Delivery, end: outcome.DeadLetter) -> None:
        own = letter_fields(delivery, end, "memory")
        flat = [*chain.from_iterable(delivery.fields.items()), *own]
        letter = read_letter(self._entry_id().encode(), flat, self._job_class)
        self.dead.append(letter)
        if self._on_dead_letter is not None:
            result = self._on_dead_letter(letter)
            if inspect.isawaitable(result):
                await result
