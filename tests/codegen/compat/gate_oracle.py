"""What generated classes do at the gate of their queue, against what `diff` says of it.

The words of a ticket are made by the runtime, of what both classes write for one job; no
code of `diff` is used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Final

from flowd import Job, OptionError
from flowd.model.gate import Gate, Priority
from flowd.model.job import JobSpec
from flowd_codegen.compat.schema_change import SchemaChange

__all__ = ["Tickets", "check_queue", "check_schedules"]

_SIGNS: Final = {
    "c": "concurrency",
    "r": "rate",
    "f": "fair",
    "u": "unique",
    "d": "debounce",
}
_BROKEN: Final = ("unique", "concurrency")
"""Their keys are promises, which another text breaks."""

_OF_KEYS: Final = ("fields", "per", "cost", "field")
"""The options that name fields: what is in the ticket is compared."""


def check_queue(changes: list[SchemaChange], old: JobSpec, new: JobSpec) -> None:
    """Policies came, went and changed where `diff` says it, and nowhere else."""
    found: dict[str, set[object]] = defaultdict(set)
    for one in changes:
        if one.rule in ("GATE_ADDED", "GATE_REMOVED"):
            found[one.rule] |= {*re.findall(r"`(\w+)`", one.message)}
        elif one.rule == "GATE_CHANGED":
            option, policy = re.findall(r"`(\w+)`", one.message)
            found[one.rule].add((policy, option))
    was, now = _policies(old.gate), _policies(new.gate)
    assert found["GATE_ADDED"] == now.keys() - was.keys()
    assert found["GATE_REMOVED"] == was.keys() - now.keys()
    differ = {
        (name, option)
        for name in was.keys() & now.keys()
        for option in _options(now[name]) - {*_OF_KEYS}
        if getattr(was[name], option) != getattr(now[name], option)
    }
    others = {(name, option) for name in was for option in _OF_KEYS}
    assert found["GATE_CHANGED"] - others == differ
    assert _raises(old, new) == any(
        "source" in one.breaks for one in changes if one.rule.startswith("GATE_")
    )
    policies = [one for one in changes if one.rule.startswith("QUEUE_")]
    assert bool(policies) == (old.policy != new.policy)


def check_schedules(changes: list[SchemaChange], old: JobSpec, new: JobSpec) -> None:
    """Schedules went and changed where `diff` says it; what they enqueue may be a field's."""
    was = {one.name: one for one in old.schedules}
    now = {one.name: one for one in new.schedules}
    found: dict[str, set[str]] = {"CRON_REMOVED": set(), "CRON_CHANGED": set()}
    for one in changes:
        if one.rule.startswith("CRON_"):
            (name,) = {*was, *now} & {*re.findall(r"`(\w+)`", one.message)}
            found[one.rule].add(name)
    assert found["CRON_REMOVED"] == was.keys() - now.keys()
    others = any(not one.rule.startswith("CRON_") for one in changes)
    for name, after in now.items():
        before = was.get(name)
        if before is None or before.text != after.text:
            assert name in found["CRON_CHANGED"]
        elif before.fields == after.fields:
            assert name not in found["CRON_CHANGED"]
        else:
            # A field that is written otherwise was reported as a field.
            assert name in found["CRON_CHANGED"] or others


class Tickets:
    """The tickets of jobs that both classes write.

    Args:
        old: of the class that runs.
        new: of the class to be deployed.
    """

    def __init__(self, old: JobSpec, new: JobSpec) -> None:
        self._specs = old, new
        self._differ: dict[str, set[bool]] = defaultdict(set)

    def compare(self, old: Job, new: Job) -> None:
        """Note which words differ for one job."""
        words = [
            {
                word[:1]: word
                for word in spec.gate.ticket(job.to_fields(), spec.secrets)
                .decode()
                .split()
            }
            for spec, job in zip(self._specs, (old, new), strict=True)
            if spec.gate is not None
        ]
        if len(words) == 2:
            for sign in words[0].keys() & words[1].keys():
                self._differ[sign].add(words[0][sign] != words[1][sign])

    def check(self, changes: list[SchemaChange]) -> None:
        """A key has another text where `diff` says it, and nowhere else."""
        said = {
            match[1]: one
            for one in changes
            if (match := re.search(r"has another key for `(\w+)`", one.message))
        }
        for sign, name in _SIGNS.items():
            if sign in self._differ:
                assert (name in said) == (True in self._differ[sign]), name
                # A key is another one for every job, or for none.
                assert len(self._differ[sign]) == 1
        for name, one in said.items():
            assert ("queue" in one.breaks) == (name in _BROKEN)
        rules = {one.message for one in changes if one.rule == "GATE_CHANGED"}
        if True in self._differ["w"]:
            assert any("of `rate`" in text for text in rules)
        if self._differ["w"] == {False}:
            assert not any("`cost` of `rate`" in text for text in rules)
        if True in self._differ["p"]:
            assert any("of `priority`" in text for text in rules)


def _policies(gate: Gate | None) -> dict[str, object]:
    if gate is None:
        return {}
    return {
        one.name: policy
        for one in fields(Gate)
        if (policy := getattr(gate, one.name)) is not None
    }


def _options(policy: object) -> set[str]:
    assert is_dataclass(policy)
    return {one.name for one in fields(policy)}


def _raises(old: JobSpec, new: JobSpec) -> bool:
    """Whether a call that names a level of the old queue raises OptionError now."""
    return any(_is_refused(level, new) for level in _levels(old.gate))


def _levels(gate: Gate | None) -> Iterator[str]:
    match gate and gate.priority:
        case Priority(order=order, field=""):
            yield from order
        case _:
            pass


def _is_refused(level: str, spec: JobSpec) -> bool:
    # Of a gate without keys, a ticket needs no field.
    gate = (
        Gate(priority=spec.gate.priority) if spec.gate and spec.gate.priority else None
    )
    try:
        if gate is None:
            return True
        gate.ticket({}, (), level)
    except OptionError:
        return True
    return False
