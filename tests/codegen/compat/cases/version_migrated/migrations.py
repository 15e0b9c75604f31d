"""What the user of version 2 wrote."""

from __future__ import annotations

from .schema import JobV1, JobV2


def job_v1_to_v2(old: JobV1) -> JobV2:
    """One address became many."""
    return JobV2(urls=[old.url], depth=str(old.depth), kind=old.kind)
