"""The command `flowd-gen SRC -o OUT [--check]`, the one without a name."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from typing import Final

from flowd_codegen.cli.changes import apply_changes
from flowd_codegen.cli.command import (
    EXIT_CODES,
    Options,
    Parser,
    command_parser,
    default_of,
    exit_code_of,
    path,
    print_faults,
    read_contract,
)
from flowd_codegen.cli.importable import hidden_modules, no_package
from flowd_codegen.cli.settings import read_settings
from flowd_codegen.compat.migrations import migration_faults
from flowd_codegen.diagnostics.report import SchemaErrors
from flowd_codegen.python.layout import formatter
from flowd_codegen.python.render import render, render_migrations
from flowd_codegen.write import ForeignFiles, compare

__all__ = ["run"]


_WORD: Final = re.compile(r"[a-z][a-z_-]*")


_OPTIONS: Final = ("help", "version")

_FILES: Final = (".py", ".pyi", ".toml")


_VALIDATE: Final = ("check", "lint", "verify", "test")


class _Options(Options):
    """What argparse fills in."""

    out: Path
    check: bool = False
    prune: bool | None


def run(arguments: Sequence[str], commands: Mapping[str, str]) -> int:
    """Generate job classes; returns the exit code.

    Args:
        arguments: what stands behind `flowd-gen`.
        commands: the other commands and what they do, for `--help`.
    """
    parser = _parser(commands)
    if advice := _advice(arguments, commands) or _advice_on_paths(arguments):
        parser.error(advice)
    options = parser.read(arguments, _Options())
    if options.out.suffix in _FILES:
        parser.error(_no_folder(options.out))
    if advice := no_package(options.out):
        parser.error(advice)
    return exit_code_of(lambda: _generate(options), options.format)


def _no_folder(out: Path) -> str:
    """What to say of an OUT that names a file."""
    folder = Path("jobs") if out.name == str(out) else out.parent
    return (
        f"`{out}` names a file, and -o a package folder, which gets a module for each"
        f" schema: write `-o {folder}`"
    )


def _advice(arguments: Sequence[str], commands: Mapping[str, str]) -> str:
    """What to say of a first word that is no folder, if a command was meant by it."""
    word = arguments[0] if arguments else ""
    if not _WORD.fullmatch(word) or Path(word).exists():
        return ""
    if word in _OPTIONS and "-o" not in arguments:
        other = arguments[1] if word == "help" and len(arguments) > 1 else ""
        command = f"flowd-gen {other}" if other in commands else "flowd-gen"
        return f"no command `{word}`: write `{command} --{word}`"
    second = bool(arguments[1:2]) and not arguments[1].startswith("-")
    if "-o" in arguments and not second:
        return ""  # a folder that is not there, which is said in the usual words
    if word in _VALIDATE:
        return f"no command `{word}`: did you mean `validate`, or --check with -o?"
    if near := get_close_matches(word, commands, n=1, cutoff=0.75):
        return f"no command `{word}`: did you mean `{near[0]}`?"
    if word.startswith(("gen", "build", "compile")):
        return f"no command `{word}`: leave it out, as in `flowd-gen SRC -o OUT`"
    known = ", ".join(commands)
    return f"no command `{word}`: it is one of {known}" if second else ""


def _advice_on_paths(arguments: Sequence[str]) -> str:
    """What to say of two paths where one has to stand."""
    plain = [*takewhile(lambda word: not word.startswith("-"), arguments)]
    if len(plain) < 2 or not Path(plain[0]).exists():
        return ""
    if all(word.endswith(".toml") for word in plain):
        folder = Path(plain[0]).parent
        return f"one folder or file is read: write `{shlex.quote(str(folder))}`"
    if len(plain) == len(arguments) == 2:
        words = shlex.join([plain[0], "-o", plain[1]])
        return f"the output stands behind -o: write `flowd-gen {words}`"
    return ""


def _generate(options: _Options) -> int:
    contract = read_contract(options)
    schema, out = contract.schema, options.out
    stubs = render_migrations(schema)
    found = [*migration_faults(contract, out, stubs)]
    faults = [fault for fault in found if fault.severity == "error"]
    if faults and not options.check:
        raise SchemaErrors(faults)
    print_faults(found, options.format)
    if foreign := hidden_modules(out, [module.name[0] for module in schema.modules]):
        raise ForeignFiles(foreign)
    # One file of a folder cannot say what the others give.
    prune = options.prune if options.source.is_dir() else False
    changes = compare(render(schema), out, formatter(), prune=prune, once=stubs)
    rerun = ["flowd-gen", str(options.source), "-o", str(out)]
    code = apply_changes(changes, out, check=options.check, rerun=rerun)
    # A stub dead-letters every job of its version: what is written may be, not released.
    unfinished = faults or (options.check and found)
    return code or int(bool(unfinished))


def _parser(commands: Mapping[str, str]) -> Parser:
    settings = read_settings()
    parser = command_parser(
        "SRC -o OUT [--check] [--no-prune] [--format FORMAT]",
        "Generate job classes from schemas.",
        settings,
    )
    listed = "\n".join(
        f"  flowd-gen {name:12} {summary}" for name, summary in commands.items()
    )
    parser.epilog = (
        f"other commands, each with a --help of its own:\n{listed}\n\n"
        f"[tool.flowd-gen] in pyproject.toml may give src, out, lock, format and prune\n"
        f"for those that are left out.\n\n{EXIT_CODES}"
    )
    parser.add_argument(
        *("-o", "--out"),
        metavar="OUT",
        type=path,
        required=settings.out is None,
        default=settings.out,
        help=f"package folder to write{default_of(settings.out)}",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if a file is out of date or a migration is a stub",
    )
    parser.add_argument(
        "--prune",
        action=argparse.BooleanOptionalAction,
        default=settings.prune,
        help="remove generated files that no schema gives now, or keep them"
        " (default: remove them unless all are of other schemas)",
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
