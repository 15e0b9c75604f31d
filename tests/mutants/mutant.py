"""A deliberate bug: what it is, what has to catch it, and how it is put in."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ROOT", "Mutant", "Rotten", "mutants"]

ROOT: Final = Path(__file__).parents[2]

_HEAD: Final = re.compile(r"# (.+)\n# caught by: (.+)\n")


class Rotten(Exception):
    """A patch that does not say what it is, or that does not fit the source any more."""


class Mutant(NamedTuple):
    """One patch of this folder."""

    name: str
    bug: str
    """In one sentence."""

    tests: tuple[str, ...]
    """What pytest is given; at least one of them fails."""

    patch: Path

    def apply(self, folder: Path, *, check: bool = False) -> None:
        """Put the bug into a copy of the project; with `check` only see if it fits.

        Raises:
            Rotten: it does not fit.
        """
        command = ["git", "apply", "--whitespace=nowarn", str(self.patch)]
        done = subprocess.run(
            command + ["--check"] * check,
            cwd=folder,
            # A copy in a folder of some repository is not that repository.
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Rotten(f"{self.patch.name} does not apply: {done.stderr.strip()}")


def mutants() -> list[Mutant]:
    """All of them, by number."""
    return [_read(path) for path in sorted(Path(__file__).parent.glob("*.patch"))]


def _read(path: Path) -> Mutant:
    head = _HEAD.match(path.read_text("utf-8"))
    if head is None:
        raise Rotten(f"{path.name} does not begin with its bug and `# caught by: …`")
    return Mutant(path.stem, head[1], tuple(head[2].split()), path)
