"""Compares which jobs there are, and who reads which stream."""

from __future__ import annotations

from collections.abc import Iterator

from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.pair import Breaks
from flowd_codegen.compat.readability import MISREAD
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.schema import Job
from flowd_codegen.parse.table import written

__all__ = [
    "describe_waiting_jobs",
    "pair_jobs",
    "removed_job",
    "reservation_changes",
    "reused_streams",
]


def pair_jobs(before: Contract, after: Contract) -> Iterator[tuple[Job, Job | None]]:
    """Each old job with the new one of its name, or else on its stream."""
    streams = {
        job.policy.stream: job
        for job in after.jobs.values()
        if job.name not in before.jobs
    }
    for name, job in before.jobs.items():
        successor = None if name in after.removed else streams.get(job.policy.stream)
        yield job, after.jobs.get(name) or successor


def removed_job(job: Job, before: Contract, after: Contract) -> SchemaChange:
    """What is to be said of an old job that has no new one."""
    stream = job.policy.stream
    if job.name in after.removed:
        reserved = stream in after.removed.values()
        return SchemaChange(
            rule=Rule.JOB_REMOVED,
            owner=None,
            location=after.removed_location(job.name),
            message=f"the job {job.name} was removed",
            compatible_severity="note" if reserved else "warning",
            label=(
                ""
                if reserved
                else f"its stream is not reserved: {job.name} = {written(stream)}"
            ),
        )
    old_location = before.location(job)
    return SchemaChange(
        rule=Rule.JOB_REMOVED,
        owner=None,
        location=after.file(before.module(job.name)),
        message=f"the job {job.name} is gone",
        breaks={"messages": describe_waiting_jobs(stream, after)},
        old_location=old_location and old_location.key(),
    )


def describe_waiting_jobs(stream: str, after: Contract) -> str:
    """What becomes of what waits on a stream that its job does not read any more."""
    for other in after.jobs.values():
        if other.policy.stream == stream:
            return f"what waits on the stream `{stream}` is read by {other.name}"
    return (
        f"what waits on the stream `{stream}` stays there, and no new worker reads it"
    )


def reused_streams(before: Contract, after: Contract) -> Iterator[SchemaChange]:
    """Jobs on a stream that another job had."""
    successors = {
        old.policy.stream: (old, new) for old, new in pair_jobs(before, after)
    }
    for job in after.jobs.values():
        old, successor = successors.get(job.policy.stream, (None, None))
        if old is None or successor is job:
            continue
        yield SchemaChange(
            rule=Rule.QUEUE_STREAM_TAKEN,
            owner=job,
            location=after.at(job, "queue", "stream"),
            message=f"{job.name} is on the stream `{job.policy.stream}`, which was {old.name}'s",
            breaks={
                "messages": f"jobs of {old.name} that wait there are run as {job.name}"
                " where they can be read, else dead-lettered",
                "workers": f"old workers of {old.name} run jobs of {job.name}"
                " where they can read them, else dead-letter them",
            },
            jobs=(job.name,),
        )


def reservation_changes(before: Contract, after: Contract) -> Iterator[SchemaChange]:
    """Removed jobs whose name or stream is not reserved any more."""
    streams = {job.policy.stream: job for job in after.jobs.values()}
    for name, stream in before.removed.items():
        reader = streams.get(stream) or after.jobs.get(name)
        if reader:
            own = reader.policy.stream == stream
            breaks: Breaks = {"messages": MISREAD, "workers": MISREAD} if own else {}
            what = f"stream `{stream}`" if own else "name"
            yield SchemaChange(
                rule=Rule.RESERVED_REUSED,
                owner=reader,
                location=(
                    after.at(reader, "queue", "stream") if own else after.at(reader)
                ),
                message=f"{reader.name} has the {what} of the removed job {name}",
                breaks=breaks,
                compatible_severity=None if own else "warning",
                jobs=(reader.name,),
            )
        elif after.removed.get(name) != stream:
            yield SchemaChange(
                rule=Rule.RESERVED_REMOVED,
                owner=None,
                location=(
                    after.removed_location(name)
                    if name in after.removed
                    else after.file("")
                ),
                message=f"the stream `{stream}` of the removed job {name} is not reserved any more",
                compatible_severity="warning",
            )
