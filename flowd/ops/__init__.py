"""Tools for those who operate queues; nothing that runs jobs imports them."""

from __future__ import annotations

from flowd.ops.doctor import examine
from flowd.ops.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
