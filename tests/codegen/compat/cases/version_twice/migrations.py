"""What the user of version 3 wrote."""

from __future__ import annotations

from .schema import JobV1, JobV2, JobV3


def job_v1_to_v2(old: JobV1) -> JobV2:
    """A number became a name."""
    return JobV2(name=str(old.n))


def job_v2_to_v3(old: JobV2) -> JobV3:
    """One name became many."""
    return JobV3(names=[old.name])
