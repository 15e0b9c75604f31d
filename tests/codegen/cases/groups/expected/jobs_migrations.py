"""Migrations of the jobs of `jobs.toml`: written once by flowd-gen, and yours since.

Each function takes a job of an older version, as it was queued, and makes one of the
next version of it.
"""

from __future__ import annotations

from .jobs import StopV1, StopV2


def stop_v1_to_v2(old: StopV1) -> StopV2:
    """Make a StopV2 of a StopV1."""
    raise NotImplementedError("write stop_v1_to_v2 in jobs_migrations.py")
