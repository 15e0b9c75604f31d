"""What counts of a comparison: versions are looked at, and what was allowed is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowd.errors import NewerVersion
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.diff import diff
from flowd_codegen.compat.jobs import pair_jobs
from flowd_codegen.compat.pair import Breaks
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.report import Code, Fault
from flowd_codegen.diagnostics.rules import Aspect, Rule
from flowd_codegen.model.schema import Enum, Job, Record

__all__ = ["Verdict", "assess"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings that count, and what the schema says of them.

    Attributes:
        changes: those that are not allowed.
        allowed: those that are.
        unused: a warning for each entry of an `allow` that matches nothing.
    """

    changes: tuple[SchemaChange, ...]
    allowed: tuple[SchemaChange, ...]
    unused: tuple[Fault, ...]


def assess(before: Contract, after: Contract) -> Verdict:
    """Compare two schemas.

    Args:
        before: what runs now.
        after: what is to be deployed, whose `allow` counts.
    """
    waivers = _Waivers(after)
    changed = diff(before, after)
    counting = [change for change in changed if not waivers.allow(change)]
    changed += _versions(before, after, counting)
    changed.sort(key=lambda one: (one.location.source.path, one.location.span()))
    return Verdict(
        changes=tuple(one for one in changed if not waivers.allow(one)),
        allowed=tuple(one for one in changed if waivers.allow(one)),
        unused=tuple(waivers.unused()),
    )


class _Waivers:
    """The `allow` of a schema, and which of it was of use."""

    def __init__(self, after: Contract) -> None:
        self._after = after
        self._used: set[tuple[str, str]] = set()

    def allow(self, change: SchemaChange) -> bool:
        """Whether its own declaration allows it, or every job that it concerns."""
        owner = [change.owner] if change.owner else []
        jobs = [self._after.jobs[job] for job in change.jobs]
        mine, theirs = (
            [self._allows(one, change.rule) for one in owners]
            for owners in (owner, jobs)
        )
        return any(mine) or (bool(theirs) and all(theirs))

    def _allows(self, owner: Job | Record | Enum, rule: Rule) -> bool:
        allowed = rule in owner.allow
        if allowed:
            self._used.add((owner.name, rule))
        return allowed

    def unused(self) -> Iterator[Fault]:
        """A warning for each rule that is allowed and was not broken."""
        after = self._after
        owners: tuple[Job | Record | Enum, ...] = (
            *after.jobs.values(),
            *after.records.values(),
            *after.enums.values(),
        )
        for owner in owners:
            for index, rule in enumerate(owner.allow):
                if (owner.name, rule) not in self._used:
                    yield Fault(
                        Code.WAIVER_UNUSED,
                        after.at(owner, "allow", index),
                        f"{owner.name} allows {rule}, and nothing breaks it",
                        "remove it",
                        severity="warning",
                    )


def _versions(
    before: Contract, after: Contract, changes: list[SchemaChange]
) -> Iterator[SchemaChange]:
    """Jobs that count versions, and have not counted this one."""
    for old, new in pair_jobs(before, after):
        if new is None or (old.version is None and new.version is None):
            continue
        was, now = old.version or 0, new.version or 0
        broken = _broken(new, changes)
        if now > was or (now == was and not broken):
            continue
        text = "two different messages of this version are met"
        lower: Breaks = {"messages": text, "workers": text}
        if was > max(now, 1):
            lower["messages"] = (
                f"released again and again, {NewerVersion(new.name, was, max(now, 1))}"
            )
        yield SchemaChange(
            rule=Rule.VERSION_NOT_BUMPED,
            owner=new,
            location=after.at(new, "version"),
            message=(
                f"{new.name} breaks its contract and is still version {now}"
                if now == was
                else f"{new.name} was version {was} and is {now or 'without one'}"
            ),
            breaks=broken if now == was else lower,
            label=f"write `version = {was + 1}`",
            jobs=(new.name,),
        )


def _broken(job: Job, changes: list[SchemaChange]) -> Breaks:
    """What breaks on the wire of a job, with the rules that say so."""
    concerned = [one for one in changes if job.name in one.jobs]
    breaks: Breaks = {}
    aspects: tuple[Aspect, ...] = ("messages", "workers")
    for aspect in aspects:
        if rules := {one.rule: None for one in concerned if aspect in one.breaks}:
            breaks[aspect] = f"see {', '.join(rules)}"
    return breaks
