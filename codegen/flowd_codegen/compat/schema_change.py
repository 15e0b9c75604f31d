"""A change that `diff` found, what it breaks, and how it is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Fault, Severity
from flowd_codegen.diagnostics.rules import LEVELS, RECIPES, Aspect, Level, Rule
from flowd_codegen.model.schema import Enum, Job, Record

__all__ = ["SchemaChange", "shown"]

_AFFECTED: Final[dict[Aspect, str]] = {
    "messages": "queued messages",
    "workers": "old workers",
    "queue": "the queue",
    "source": "your code",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """One change, at the one place where it was made.

    Attributes:
        rule: which one.
        owner: the new job, record or enum it is in; None when that is gone.
        location: where in the new schema.
        message: what was changed, one line.
        breaks: what it breaks, each with how that looks when it runs: the text of the
            error, or what happens silently.
        compatible_severity: its severity if it breaks nothing.
        label: printed after the caret.
        advice: what to do, where that is not what the rule says.
        old_location: the old place.
        jobs: the jobs whose messages it concerns.
    """

    rule: Rule
    owner: Job | Record | Enum | None
    location: SourceLocation
    message: str
    breaks: Mapping[Aspect, str] = field(default_factory=dict[Aspect, str])
    compatible_severity: Literal["warning", "note"] | None = None
    label: str = ""
    advice: str = ""
    old_location: SourceLocation | None = None
    jobs: tuple[str, ...] = ()

    def severity(self, level: Level) -> Severity | None:
        """How bad it is at a level; None if that level ignores it."""
        if self.breaks.keys() & LEVELS[level]:
            return "breaking"
        if self.compatible_severity == "warning" and level == "strict":
            return "breaking"
        return self.compatible_severity

    @property
    def more(self) -> dict[str, object]:
        """The keys of its JSON object that a fault does not have."""
        return {"breaks": dict(self.breaks), "jobs": self.jobs}

    def fault(self, severity: Severity) -> Fault:
        """What is printed."""
        users = [job for job in self.jobs if not self.owner or job != self.owner.name]
        message = f"{self.message} (in {', '.join(users)})" if users else self.message
        notes = [f"{_AFFECTED[aspect]}: {text}" for aspect, text in self.breaks.items()]
        if severity != "note":
            notes.append(f"do: {self.advice or RECIPES[self.rule].fix}")
        return Fault(
            self.rule,
            self.location,
            message,
            self.label,
            tuple(notes),
            also=(self.old_location, "it was here") if self.old_location else None,
            severity=severity,
        )


def shown(value: object) -> str:
    """A value of a schema as a finding shows it; 1 and true, which are equal, differ."""
    return json.dumps(value, ensure_ascii=False)
