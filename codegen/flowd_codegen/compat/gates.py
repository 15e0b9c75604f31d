"""Compares the policies of a queue: what a change does while jobs are queued."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

from flowd.model.gate import (
    Concurrency,
    Debounce,
    Fair,
    Gate,
    Priority,
    Rate,
    Unique,
)
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.pair import Breaks
from flowd_codegen.compat.schema_change import SchemaChange, shown
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.canonical import Form, gate_form
from flowd_codegen.model.schema import Field, Job, is_table

__all__ = ["gate_changes"]

_Policy: TypeAlias = Unique | Concurrency | Rate | Fair | Debounce | Priority

_KEYS: Final = ("fields", "per")
"""The options that say what the key is."""

_FIELDS: Final = ("cost", "field")
"""The options that name one field, of which only the value counts."""

_SHARED_KEY: Final = {
    "unique": "what is queued holds its old key, so two jobs of a new one may be queued",
    "concurrency": "what is queued counts for its old key, so more of a new one may run",
}
"""The promises that a change of their key breaks, each with how that looks."""

_REMOVED: Final = {
    "unique": "a key may be queued twice from now on",
    "debounce": "a job waits for no later one any more",
}
_ALL_START: Final = "what is parked may start at once"

_WARNED: Final = {
    "ordered": "what is queued may still run in another order",
    "order": "what is queued keeps the number of its level",
    "field": "what is queued keeps the number of its level",
}
"""The options whose change is seen in what is queued, each with how that looks."""


def gate_changes(
    before: Contract, after: Contract, old: Job, new: Job
) -> Iterator[SchemaChange]:
    """What was changed in the policies of a queue."""
    for policy in fields(Gate):
        change = _Change(before, after, old, new, policy.name)
        match change.was, change.now:
            case None, None:
                pass
            case None, _:
                yield change.added()
            case was, None:
                yield change.removed(was)
            case was, now:
                yield from change.key_changed()
                yield from change.options_changed(was, now)


@dataclass(frozen=True, slots=True)
class _Change:
    """One policy of a job before and after."""

    before: Contract
    after: Contract
    old: Job
    new: Job
    name: str

    @property
    def was(self) -> _Policy | None:
        return _policy(self.old, self.name)

    @property
    def now(self) -> _Policy | None:
        return _policy(self.new, self.name)

    def added(self) -> SchemaChange:
        return SchemaChange(
            rule=Rule.GATE_ADDED,
            owner=self.new,
            location=self.after.at(self.new, "queue", self.name).key(),
            message=f"{self.new.name} has the policy `{self.name}` now",
            compatible_severity="warning",
            label="it holds once no old program runs, and what is queued now has ended",
        )

    def removed(self, was: _Policy) -> SchemaChange:
        return SchemaChange(
            rule=Rule.GATE_REMOVED,
            owner=self.new,
            location=self.after.at(self.new, "queue").key(),
            message=f"{self.new.name} has no policy `{self.name}` any more",
            breaks=_level_gone(was, None),
            compatible_severity="warning",
            label=_REMOVED.get(self.name, _ALL_START),
        )

    def key_changed(self) -> Iterator[SchemaChange]:
        old = _identity(self.before, self.old, self.name)
        if old == _identity(self.after, self.new, self.name):
            return
        was = _names(self.old, self.name)
        text = _SHARED_KEY.get(self.name)
        breaks: Breaks = {"queue": text} if text else {}
        before = f"it was {shown(was)}" if was else "it was the whole queue"
        yield SchemaChange(
            rule=Rule.GATE_KEY_CHANGED,
            owner=self.new,
            location=self.after.at(self.new, "queue", self.name),
            message=f"{self.new.name} has another key for `{self.name}`",
            breaks=breaks,
            compatible_severity=None if breaks else "warning",
            label=(
                "its text is another one"
                if was == _names(self.new, self.name)
                else before
            ),
        )

    def options_changed(self, was: _Policy, now: _Policy) -> Iterator[SchemaChange]:
        before, behind = _options(self.old, self.name), _options(self.new, self.name)
        for option in fields(now):
            name = option.name
            if name in _KEYS or getattr(was, name) == getattr(now, name):
                continue
            if name in _FIELDS and before.get(name) == behind.get(name):
                # The field has another key, which is no part of what it says.
                continue
            warned = _WARNED.get(name, "")
            said = f"it was {shown(before[name])}" if name in before else "it is new"
            place = (self.name, name) if name in behind else (self.name,)
            yield SchemaChange(
                rule=Rule.GATE_CHANGED,
                owner=self.new,
                location=self.after.at(self.new, "queue", *place),
                message=f"{self.new.name} has another `{name}` of `{self.name}`",
                breaks=_level_gone(was, now) if name == "order" else {},
                compatible_severity="warning" if warned else "note",
                label=", and ".join(filter(None, (said, warned))),
            )


def _options(job: Job, name: str) -> Form:
    """The options of a policy; none of one that is an array."""
    form = gate_form(job).get(name)
    return form if is_table(form) else {}


def _policy(job: Job, name: str) -> _Policy | None:
    found: _Policy | None = getattr(job.gate, name, None)
    return found


def _level_gone(was: _Policy, now: _Policy | None) -> Breaks:
    """How it looks that a level is gone which a caller may name."""
    if not isinstance(was, Priority) or was.field:
        return {}
    known = now.order if isinstance(now, Priority) else ()
    gone = next((level for level in was.order if level not in known), None)
    if gone is None:
        return {}
    return {"source": f'`enqueue(…, priority="{gone}")` raises OptionError'}


def _keys(job: Job, name: str) -> tuple[str, ...]:
    """The wire names that make the key of a policy."""
    policy = _policy(job, name)
    found = (getattr(policy, option, ()) for option in _KEYS)
    return tuple(key for keys in found for key in keys)


def _names(job: Job, name: str) -> list[str]:
    """The same as the schema names them."""
    names = {field.key: field.name for field in job.fields}
    return [names[key] for key in _keys(job, name)]


def _identity(contract: Contract, job: Job, name: str) -> list[object]:
    """What the text of a key depends on: names, order, and how each value is written."""
    found = {field.key: field for field in job.fields}
    secrets = contract.secrets(job)
    return [(key, key in secrets, _written(found[key])) for key in _keys(job, name)]


def _written(field: Field) -> object:
    """What writes a value; where a mapper does it the encoding counts for nothing."""
    return (field.mapper and field.mapper.serialize) or field.encoding
