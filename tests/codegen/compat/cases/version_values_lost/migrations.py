"""What the user of version 2 wrote."""

from __future__ import annotations

from .schema import JobV1, JobV2


def job_v1_to_v2(old: JobV1) -> JobV2:
    """The values of the fields that were left out are not there."""
    return JobV2(all=[old.none, str(old.frist), old.aliased, str(old.timeout)])
