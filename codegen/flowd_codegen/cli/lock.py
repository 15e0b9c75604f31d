"""The command `flowd-gen lock SRC [-o LOCK] [--check]`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from flowd_codegen.cli.command import (
    Options,
    Parser,
    command_parser,
    default_of,
    exit_code_of,
    path,
    read_schema,
)
from flowd_codegen.cli.settings import read_settings
from flowd_codegen.compat.lock import LOCK_MARK, lock_text
from flowd_codegen.write import compare_document, write

__all__ = ["run"]


class _Options(Options):
    """What argparse fills in."""

    out: Path
    check: bool = False


def run(arguments: Sequence[str]) -> int:
    """Write the wire model of all jobs into one file; returns the exit code."""
    options = _parser().read(arguments, _Options())
    return exit_code_of(lambda: _lock(options), options.format)


def _lock(options: _Options) -> int:
    out = options.out
    changes = compare_document(lock_text(read_schema(options)), out, LOCK_MARK)
    if options.check:
        for change in changes:
            _advise(options, is_there=change.old is not None)
        return int(bool(changes))
    write(changes, out.parent)
    print(f"wrote {out}" if changes else f"{out} is up to date")
    return 0


def _advise(options: _Options, *, is_there: bool) -> None:
    """Say what brings the lock up to date; a review has to come before that."""
    source, out = str(options.source), str(options.out)
    rerun = shlex.join(["flowd-gen", "lock", source, "-o", out])
    if is_there:
        review = shlex.join(["flowd-gen", "diff", source, "--against", out])
        print(f"{out} is out of date: review what that breaks", file=sys.stderr)
        print(f"    {review}", file=sys.stderr)
        print("and, when it is deployed, run", file=sys.stderr)
        print(f"    {rerun}", file=sys.stderr)
    else:
        print(f"{out} is missing: run {rerun}", file=sys.stderr)


def _parser() -> Parser:
    settings = read_settings()
    parser = command_parser(
        "lock SRC [-o LOCK] [--check] [--format FORMAT]",
        "Write what is on the wire of every job into one file, to be reviewed.",
        settings,
    )
    parser.add_argument(
        *("-o", "--out"),
        metavar="LOCK",
        type=path,
        default=settings.lock,
        help=f"file to write{default_of(settings.lock)}",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if the file is out of date",
    )
    return parser
