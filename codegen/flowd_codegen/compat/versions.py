"""Which versions of a job meet: which class reads the messages of each version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from flowd.errors import DecodeError
from flowd.model.job import FORMAT, JobSpec
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.rules import Aspect, Rule
from flowd_codegen.model.schema import Job

__all__ = ["VersionPair", "dropped_versions", "limited_to", "version_pairs"]

_ALWAYS: Final = frozenset[Aspect](["source", "queue"])

_ONLY_CODE: Final = (
    "change your code; older messages are read by the classes of their versions"
)

_AS_IT_WAS: Final = (
    "declare the table of version {} as that version was: its messages do not change"
)

_READ_OTHERWISE: Final = frozenset[Rule](
    [
        *(Rule.FIELD_REMOVED, Rule.FIELD_REMOVED_REQUIRED, Rule.FIELD_ALIAS_REMOVED),
        *(Rule.FIELD_NOW_REQUIRED, Rule.FIELD_DEFAULT_CHANGED),
        Rule.FIELD_SECRET_REMOVED,
    ]
)
"""Their warnings are about queued messages, which no error refuses: a value is lost, is
read as a default, or is shown."""


@dataclass(frozen=True, slots=True)
class VersionPair:
    """Two classes of a job to compare, and what of that counts.

    Attributes:
        old: the job that runs, or an older version that it still reads.
        new: the job to be deployed, or what reads messages of `old` there.
        aspects: what a difference of the two may break.
    """

    old: Job
    new: Job
    aspects: frozenset[Aspect]

    def relevant(self, changes: Iterable[SchemaChange]) -> Iterator[SchemaChange]:
        """The changes that count for this pair."""
        judge = self._of_programs if self.aspects & _ALWAYS else self._of_messages
        return filter(None, map(judge, changes))

    def _of_programs(self, change: SchemaChange) -> SchemaChange:
        """The change between two jobs, whose programs may run at the same time."""
        if change.rule is Rule.FIELD_SECRET_REMOVED:
            # Logs show the value whatever the version.
            return change
        kept = limited_to(change, self.aspects)
        severity = kept.compatible_severity
        if severity is None or (severity == "warning" and self.reads_directly):
            return kept
        label = f"new in version {self.new.version}"
        advice = change.advice if change.rule.startswith("SOURCE_") else _ONLY_CODE
        return replace(kept, compatible_severity="note", label=label, advice=advice)

    def _of_messages(self, change: SchemaChange) -> SchemaChange | None:
        """The change for messages that no program writes any more; None if none is lost."""
        kept = limited_to(change, self.aspects)
        number = self.old.version or 1
        different = f"version {number} was different"
        kept = replace(kept, advice=_AS_IT_WAS.format(number))
        if kept.breaks:
            return replace(kept, label=different)
        if change.compatible_severity == "warning" and change.rule in _READ_OTHERWISE:
            return replace(kept, label=change.label or different)
        return None

    @property
    def reads_directly(self) -> bool:
        """Whether `new` reads messages of `old`, and no other class stands between."""
        return "messages" in self.aspects


def version_pairs(old: Job, new: Job) -> Iterator[VersionPair]:
    """What of two schemas is to be compared for one job.

    A worker releases jobs of a newer version, so raising the version breaks no old worker.
    Messages of an older version are read by the class declared for that version.
    """
    raised = (new.version or 1) > (old.version or 1)
    for written in (old, *old.older):
        reader = _reader(new, written.version or 1)
        if written is old:
            aspects = set[Aspect](_ALWAYS)
            if not raised:
                aspects.add("workers")
            if reader is new:
                aspects.add("messages")
            yield VersionPair(old, new, frozenset(aspects))
        if reader and not (written is old and reader is new):
            yield VersionPair(written, reader, frozenset(["messages"]))


def _reader(job: Job, version: int) -> Job | None:
    """What reads messages of a version; None for one that is refused."""
    if version < job.oldest:
        return None
    return next((old for old in job.older if version <= (old.version or 1)), job)


def limited_to(change: SchemaChange, aspects: frozenset[Aspect]) -> SchemaChange:
    """A finding that breaks nothing but this; a note where nothing is left of it."""
    breaks = {key: text for key, text in change.breaks.items() if key in aspects}
    if len(breaks) == len(change.breaks):
        return change
    return replace(
        change, breaks=breaks, compatible_severity=change.compatible_severity or "note"
    )


def dropped_versions(after: Contract, old: Job, new: Job) -> Iterator[SchemaChange]:
    """Whether messages are refused that were read so far."""
    last = min(new.oldest - 1, old.version or 1)
    if last < old.oldest:
        return
    which = f"version {last}" if last == old.oldest else f"versions up to {last}"
    spec = JobSpec(
        name=new.name,
        fields=(),
        policy=new.policy,
        format=FORMAT,
        version=new.version or 1,
        oldest=new.oldest,
    )
    try:
        spec.version_of({b"_v": b"%d" % last})
    except DecodeError as error:
        refusal = str(error)
        written = last == (old.version or 1)
        yield SchemaChange(
            rule=Rule.VERSION_DROPPED,
            owner=new,
            location=after.at(new, "oldest"),
            message=f"{new.name} does not read {which} any more",
            breaks={"messages": refusal} if written else {},
            compatible_severity=None if written else "warning",
            label="" if written else refusal,
        )
