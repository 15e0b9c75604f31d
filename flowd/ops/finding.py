"""What is wrong with a server or a queue, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["Finding", "Level", "is_problem", "severity", "worst_first", "worst_level"]

Level: TypeAlias = Literal["ok", "note", "warn", "wrong"]
"""`wrong` loses or delays jobs, `warn` may, `note` is information, `ok` is no problem."""

_WORST_FIRST: Final[Sequence[Level]] = ("wrong", "warn", "note", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    level: Level
    check: str
    """What was looked at, in a word."""

    text: str
    """What was found. It may contain names that users chose, not escaped."""

    advice: str = ""
    """What to do about it; empty if nothing has to be done."""


def is_problem(finding: Finding) -> bool:
    """Whether something has to be done about it."""
    return finding.level in ("wrong", "warn")


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings; those of one level stay in order."""
    return sorted(findings, key=lambda each: severity(each.level))


def worst_level(findings: Sequence[Finding]) -> Level:
    """Of findings that are the worst first; `ok` without any."""
    return findings[0].level if findings else "ok"


def severity(level: Level) -> int:
    """The lower, the worse."""
    return _WORST_FIRST.index(level)
