"""A job class with schedules of a test's choice."""

from __future__ import annotations

import dataclasses

from flowd import Policy, Schedule
from jobs.email import Email

__all__ = ["ARGUMENTS", "every", "scheduled"]

ARGUMENTS = ((b"to", b"nightly"), (b"subject", b"report"))


def every(seconds: float, name: str = "nightly", **rules: str) -> Schedule:
    """A schedule that ticks every few seconds."""
    plain = Schedule(name=name, every=seconds, fields=ARGUMENTS)
    changes: dict[str, object] = dict(rules)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def scheduled(*schedules: Schedule, policy: Policy = Email.SPEC.policy) -> type[Email]:
    """Email, with these schedules and rules as its schema's."""
    spec = dataclasses.replace(Email.SPEC, schedules=schedules, policy=policy)
    return type("Email", (Email,), {"SPEC": spec, "__slots__": ()})
