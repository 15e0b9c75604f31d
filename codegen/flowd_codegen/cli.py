"""The command line: `flowd-gen SRC -o OUT [--check]` and `flowd-gen validate SRC`.

Exit codes: 0 fine, 1 a check said no, 2 the schemas or the usage are invalid,
3 reading or writing failed, or flowd-gen has a bug.
"""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from flowd_codegen.diagnostics import Fault, SchemaErrors, github_line, json_line
from flowd_codegen.parse import parse
from flowd_codegen.render import blacken, render
from flowd_codegen.schema import Schema
from flowd_codegen.source import read
from flowd_codegen.write import Change, ForeignFiles, compare, write

__all__ = ["run"]

_EPILOG: Final = """\
exit codes: 0 fine; 1 --check found files out of date; 2 invalid schemas or usage;
3 reading or writing failed, or a bug

flowd-gen validate SRC checks the schemas and writes nothing."""


class _Options(argparse.Namespace):
    """What argparse fills in."""

    source: Path
    out: Path
    check: bool = False
    prune: bool = True
    format: Literal["text", "json", "github"]


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code.

    Raises:
        SystemExit: with 2 on wrong usage, with 0 after `--help` and `--version`.
    """
    # With -o the first word is always a path, even one named `validate`.
    validate = arguments[:1] == ["validate"] and not any(
        argument.startswith(("-o", "--out")) for argument in arguments
    )
    parser = _validate_parser() if validate else _generate_parser()
    options = parser.parse_args(arguments[validate:], _Options())
    try:
        schema = _schema(options)
        return 0 if validate else _generate(schema, options)
    except SchemaErrors as errors:
        if options.format == "text":
            print(errors, file=sys.stderr)
        else:
            _report(errors.faults, options)
        return 2
    except ForeignFiles as error:
        print(f"error: {error}", file=sys.stderr)
        print("move it away or give another -o; nothing was written", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 3
    except Exception:
        traceback.print_exc()
        print("this is a bug in flowd-gen, please report it", file=sys.stderr)
        return 3


def _schema(options: _Options) -> Schema:
    warnings: list[Fault] = []
    schema = parse(read(options.source), warnings.append)
    _report(warnings, options)
    return schema


def _generate(schema: Schema, options: _Options) -> int:
    out = options.out
    # One file of a folder cannot say what the others give.
    prune = options.prune and options.source.is_dir()
    changes = compare(render(schema), out, blacken, prune=prune)
    if options.check:
        sys.stdout.writelines(line for change in changes for line in _diff(change))
        if changes:
            command = shlex.join(["flowd-gen", str(options.source), "-o", str(out)])
            print(f"{out} is out of date: run {command}", file=sys.stderr)
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
        text.decode(errors="replace").splitlines(keepends=True)
        for text in (change.old, change.new)
    )
    name = change.path.as_posix()
    return difflib.unified_diff(old, new, f"{name} (on disk)", f"{name} (generated)")


def _report(faults: Iterable[Fault], options: _Options) -> None:
    for fault in faults:
        match options.format:
            case "text":
                text = str(fault)
            case "json":
                text = json_line(fault)
            case "github":
                text = github_line(fault)
        print(text, file=sys.stderr)


def _generate_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "flowd-gen SRC -o OUT [--check] [--no-prune] [--format FORMAT]",
        "Generate job classes from schemas.",
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        *("-o", "--out"),
        metavar="OUT",
        type=_path,
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


def _validate_parser() -> argparse.ArgumentParser:
    usage = "flowd-gen validate SRC [--format FORMAT]"
    return _parser(usage, "Check schemas and write nothing.")


def _parser(usage: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowd-gen",
        usage=usage,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SRC", type=_path, help="folder of *.toml, or one file"
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "github"),
        default="text",
        help="how faults are printed (default: text)",
    )
    return parser


def _path(text: str) -> Path:
    # For pathlib an empty path is the current folder, where pruning would begin.
    if not text:
        raise argparse.ArgumentTypeError("a path is empty; is a variable not set?")
    return Path(text)


def _version() -> str:
    try:
        return version("flowd-jobs")
    except PackageNotFoundError:
        return "(not installed)"
