"""What a command does with its output: `--check` compares it, otherwise it is written."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from flowd_codegen.write import Change, write

__all__ = ["apply_changes"]


def apply_changes(
    changes: list[Change], out: Path, *, check: bool, rerun: Sequence[str]
) -> int:
    """Make the changes, or show them; returns the exit code.

    Args:
        changes: what differs from the disk.
        out: the folder or file that they are all in.
        check: write nothing, and say no when there is a change.
        rerun: the command that makes the changes, shown to the user by `--check`.

    Raises:
        OSError: a file or folder cannot be written.
    """
    if check:
        changes = [change for change in changes if not change.is_only_stamp]
        sys.stdout.writelines(line for change in changes for line in _diff(change))
        if changes:
            print(f"{out} is out of date: run {shlex.join(rerun)}", file=sys.stderr)
        return 1 if changes else 0
    write(changes, out)
    for change in changes:
        print(f"{'removed' if change.new is None else 'wrote'} {change.path}")
    if not changes:
        print(f"{out} is up to date")
    return 0


def _diff(change: Change) -> Iterable[str]:
    if change.new is None:
        return [f"stale: {change.path}\n"]
    if change.old is None:
        return [f"missing: {change.path}\n"]
    old, new = (
        text.decode(errors="replace").replace("\r\n", "\n").splitlines(keepends=True)
        for text in (change.old, change.new)
    )
    name = change.path.as_posix()
    return difflib.unified_diff(old, new, f"{name} (on disk)", f"{name} (generated)")
