"""The command `flowd-gen SRC -o OUT [--check]`, the one without a name."""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flowd_codegen.cli.command import (
    EXIT_CODES,
    Options,
    command_parser,
    ended,
    path,
    read_contract,
    report,
)
from flowd_codegen.diagnostics import SchemaErrors
from flowd_codegen.migrations import migration_faults
from flowd_codegen.render import blacken, render, render_migrations
from flowd_codegen.suggest import nearest
from flowd_codegen.write import Change, compare, write

__all__ = ["run"]


class _Options(Options):
    """What argparse fills in."""

    out: Path
    check: bool = False
    prune: bool = True


def run(arguments: Sequence[str], commands: Mapping[str, str]) -> int:
    """Generate job classes; returns the exit code.

    Args:
        arguments: what stands behind `flowd-gen`.
        commands: the other commands and what they do, for `--help`.
    """
    parser = _parser(commands)
    word = arguments[0] if len(arguments) > 1 else ""
    near = nearest(word, commands) if "-o" not in arguments else None
    if near and not Path(word).exists():
        parser.error(f"no command `{word}`: did you mean `{near}`?")
    options = parser.parse_args(arguments, _Options())
    return ended(lambda: _generate(options), options.format)


def _generate(options: _Options) -> int:
    contract = read_contract(options)
    schema, out = contract.schema, options.out
    stubs = render_migrations(schema)
    found = [*migration_faults(contract, out, stubs)]
    faults = [fault for fault in found if fault.severity == "error"]
    if faults and not options.check:
        raise SchemaErrors(faults)
    report(found, options.format)
    # One file of a folder cannot say what the others give.
    prune = options.prune and options.source.is_dir()
    changes = compare(render(schema), out, blacken, prune=prune, once=stubs)
    if options.check:
        sys.stdout.writelines(line for change in changes for line in _diff(change))
        if changes:
            command = shlex.join(["flowd-gen", str(options.source), "-o", str(out)])
            print(f"{out} is out of date: run {command}", file=sys.stderr)
        return 1 if changes or faults else 0
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
        text.decode(errors="replace").splitlines(keepends=True)
        for text in (change.old, change.new)
    )
    name = change.path.as_posix()
    return difflib.unified_diff(old, new, f"{name} (on disk)", f"{name} (generated)")


def _parser(commands: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = command_parser(
        "SRC -o OUT [--check] [--no-prune] [--format FORMAT]",
        "Generate job classes from schemas.",
    )
    listed = "\n".join(
        f"  flowd-gen {name:12} {summary}" for name, summary in commands.items()
    )
    parser.epilog = (
        f"other commands, each with a --help of its own:\n{listed}\n\n{EXIT_CODES}"
    )
    parser.add_argument(
        *("-o", "--out"),
        metavar="OUT",
        type=path,
        required=True,
        help="package folder to write",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; show what is out of date and exit 1",
    )
    parser.add_argument(
        "--no-prune",
        dest="prune",
        action="store_false",
        help="keep generated files that no schema gives now",
    )
    parser.add_argument(
        "--version", action="version", version=f"flowd-gen {_version()}"
    )
    return parser


def _version() -> str:
    try:
        return version("flowd-jobs")
    except PackageNotFoundError:
        return "(not installed)"
