"""What the workers found: one small file for each job.

A job may run twice (its worker may be killed before it is settled), so a result has the
job's name and the second run overwrites the first.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one job found, and how it came to run."""

    job_id: str
    path: str
    lines: int
    imports: int
    definitions: int
    attempt: int
    deliveries: int
    worker: int
    """Its process id."""

    began: float
    """Seconds since 1970."""

    @property
    def taken_over(self) -> bool:
        """Whether the job was first delivered to a worker that died."""
        return self.deliveries > self.attempt


def write(folder: Path, result: Result) -> None:
    """Store a result; readers see all of it or none."""
    path = folder / f"{result.job_id}.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(result)), "utf-8")
    draft.replace(path)


def count(folder: Path) -> int:
    """How many jobs have a result."""
    return sum(1 for _ in folder.glob("*.json"))


def read(folder: Path) -> list[Result]:
    """All results."""
    return [Result(**json.loads(p.read_text("utf-8"))) for p in folder.glob("*.json")]
