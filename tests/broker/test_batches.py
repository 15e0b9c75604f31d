"""Jobs are cut into batches that hold what each job would be by itself, in order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, permutations
from typing import TypeAlias

import pytest

from flowd import EncodeError, Fair, Gate, Item, Job
from flowd.broker.batches import BATCH_JOBS, Batch, batches
from flowd.broker.commands import EnqueueCommand, enqueue_command
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.email_job import email
from tests.support.jobs.odd import Blank, Blob
from tests.support.jobs.report import Note

AnyJob: TypeAlias = Job | Item[Job]


class ByClass:
    """A stream for each class, as a producer has."""

    def __init__(self) -> None:
        connection = Connection(Address.of("redis://127.0.0.1:1"))
        classes: Sequence[type[Job]] = (Email, Crawl, Blank, Blob, Note)
        self._streams: dict[type[Job], Stream] = {
            each: Stream(connection, each.SPEC.policy.stream, "group")
            for each in classes
        }

    def stream_of(self, job: Job) -> Stream:
        """As `Streams`."""
        return self._streams[type(job)]


def some_jobs(seed: int) -> Iterator[AnyJob]:
    """Runs of jobs of one class, some of them with options, some of them large."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 4, 8))):
        kind = chance.randrange(6)
        large = chance.random() < 0.6
        for number in range(chance.choice((1, 2, 49, 50, 51, 400, 500))):
            match kind:
                case 0 | 1:
                    job: Job = email(str(number))
                case 2:
                    job = Crawl(url=str(number), priority=number, tags=[])
                case 3:
                    job = Blank()
                case 4:
                    job = Note(lines=["a"])
                case _:
                    job = Blob(data=bytes(40_000 if large else 10))
            options = kind == 1 and chance.random() < 0.3
            yield Item(job, key=str(number)) if options else job


def held(batch: Batch) -> list[Mapping[bytes, bytes]]:
    """The fields of its jobs."""
    assert not (batch.entries and batch.commands)
    return [*batch.entries, *(command.fields for command in batch.commands)]


def without_time(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Without the digits that say when it was encoded."""
    return {name: fields[name] if name != b"_expires" else b"" for name in fields}


def lengths(jobs: Sequence[AnyJob], commands: Sequence[EnqueueCommand]) -> list[int]:
    """How many jobs each batch has if one after the other is put into the last."""
    found: list[list[tuple[type, EnqueueCommand]]] = []
    for job, command in zip(jobs, commands, strict=True):
        kind = type(job.job if isinstance(job, Item) else job)
        fuller = [*(found[-1] if found else []), (kind, command)]
        together = [each for _, each in fuller]
        fits = (
            len(fuller) <= BATCH_JOBS
            and len({each for each, _ in fuller}) == 1
            and sum(each.size for each in together) <= 1_000_000
        )
        if fits and found:
            found[-1] = fuller
        else:
            found.append([(kind, command)])
    return [len(each) for each in found]


@pytest.mark.parametrize("seed", range(12))
def test_batches_hold_each_job_once_and_in_order(
    seed: int,
) -> None:
    """They are within the limits, and each is of one stream."""
    jobs, streams = [*some_jobs(seed)], ByClass()
    policy = replace(Email.SPEC.policy, expires_after=1e9 if seed % 3 else None)
    wanted = [enqueue_command(each, policy) for each in jobs]
    cut = [*batches(iter(jobs), streams, policy)]

    found = [fields for batch in cut for fields in held(batch)]
    assert [without_time(each) for each in found] == [
        without_time(each.fields) for each in wanted
    ]
    assert [len(batch) for batch in cut] == lengths(jobs, wanted)
    left = iter(zip(jobs, wanted, strict=True))
    for batch in cut:
        alone = [*islice(left, len(batch))]
        for job, _ in alone:
            own = job.job if isinstance(job, Item) else job
            assert batch.stream is streams.stream_of(own)
        if batch.commands:
            assert [each.key for each in batch.commands] == [e.key for _, e in alone]


def test_full_batch_is_sent_before_the_job_behind_it_is_refused() -> None:
    """A job that cannot be encoded takes none of those with it that fill a batch."""
    for before in (1, 30, 49):
        bad = Email(to="\ud800", subject="hi")
        blobs: Sequence[Job] = [Blob(data=b"")] * before
        jobs = [*blobs, *[email()] * (BATCH_JOBS + 1), bad]
        sent: list[int] = []
        with pytest.raises(EncodeError):
            sent.extend(map(len, batches(jobs, ByClass(), None)))
        assert sent == [before, BATCH_JOBS]


def test_jobs_of_different_gates_share_no_batch() -> None:
    """Classes may share a stream, and the script of a batch asks one gate or none."""
    stream = ByClass().stream_of(email())
    plain, keyed = EnqueueCommand({}, 0), EnqueueCommand({}, 0, key="k")
    gates = [Gate(fair=Fair(per=("to",))), Gate(fair=Fair(per=("subject",)))]
    gated = [EnqueueCommand({}, 0, gate=gate, ticket=b"f:a") for gate in gates]
    for first, *others in permutations((plain, *gated)):
        batch = Batch(stream, [first, first])
        assert not any(batch.add(stream, other) for other in others)
        assert len(batch) == 2
    batch = Batch(stream, [plain, keyed, plain])
    assert (len(batch.commands), batch.entries) == (3, [])


def test_jobs_with_policies_go_in_smaller_batches() -> None:
    """They cost the server several times as much, and a script keeps it from all else."""
    streams = ByClass()
    gate = Gate(fair=Fair(per=("to",)))
    job = EnqueueCommand({b"to": b"a"}, 3, gate=gate, ticket=b"f:to=a")
    batch = Batch(streams.stream_of(email()), [job] * (BATCH_JOBS + 1))
    assert len(batch) == 200
