"""How many CPUs this process may use: what `--processes auto` counts."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

__all__ = ["usable_cpus"]

_CGROUP: Final = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """The CPUs of its affinity, or of its container's limit if that is lower; at least 1.

    A container with a limit of 1.5 CPUs counts as 2.

    Args:
        cgroup: where the kernel shows the limit (version 2 and 1).
    """
    if hasattr(os, "sched_getaffinity"):
        here = len(os.sched_getaffinity(0))
    else:
        here = os.cpu_count() or 1
    limit = _limit(cgroup)
    return max(1, here if limit is None else min(here, math.ceil(limit)))


def _limit(cgroup: Path) -> float | None:
    """In CPUs; None without one."""
    try:
        if (both := cgroup / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        found = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # "max" is no number; no such file, no limit
    return found if found > 0 else None
