"""Which flowd this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["flowd_version"]


@cache
def flowd_version() -> str:
    """The version that is installed; empty if flowd runs from a folder."""
    try:
        return version("flowd-jobs")
    except PackageNotFoundError:
        return ""
