"""The command `flowd-gen lock SRC [-o LOCK] [--check]`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from flowd_codegen.cli.command import (
    Options,
    command_parser,
    default_of,
    ended,
    path,
    read_schema,
)
from flowd_codegen.cli.settings import read_settings
from flowd_codegen.lock import LOCK, lock_text
from flowd_codegen.write import Change, write

__all__ = ["run"]


class _Options(Options):
    """What argparse fills in."""

    out: Path
    check: bool = False


def run(arguments: Sequence[str]) -> int:
    """Write the wire model of all jobs into one file; returns the exit code."""
    options = _parser().parse_args(arguments, _Options())
    return ended(lambda: _lock(options), options.format)


def _lock(options: _Options) -> int:
    out = options.out
    new = lock_text(read_schema(options)).encode()
    old = out.read_bytes() if out.exists() else None
    if options.check:
        if old == new:
            return 0
        command = shlex.join(["flowd-gen", "lock", str(options.source), "-o", str(out)])
        state = "out of date" if old else "missing"
        print(f"{out} is {state}: run {command}", file=sys.stderr)
        print("and review what it changes:", file=sys.stderr)
        print(f"    flowd-gen diff {options.source} --against {out}", file=sys.stderr)
        return 1
    if old == new:
        print(f"{out} is up to date")
        return 0
    write([Change(out, old, new)], out.parent)
    print(f"wrote {out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    settings = read_settings()
    lock = settings.lock or Path(LOCK)
    parser = command_parser(
        "lock SRC [-o LOCK] [--check] [--format FORMAT]",
        "Write what is on the wire of every job into one file, to be reviewed.",
        settings,
    )
    parser.add_argument(
        *("-o", "--out"),
        metavar="LOCK",
        type=path,
        default=lock,
        help=f"file to write{default_of(lock)}",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if the file is out of date",
    )
    return parser
