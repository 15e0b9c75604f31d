"""The command `flowd-gen diff SRC --against LOCK|DIR|.git#ref=REF`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flowd_codegen.cli.command import (
    EXIT_CODES,
    Options,
    Parser,
    command_parser,
    exit_code_of,
    format_fault,
    print_faults,
)
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.git import is_revision, read_revision
from flowd_codegen.compat.lock import read_lock
from flowd_codegen.compat.verdict import assess
from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import Code, Fault, SchemaErrors
from flowd_codegen.diagnostics.rules import LEVELS, Level
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import did_you_mean_path, read

__all__ = ["run"]

_NOUNS: Final = ("warning", "note")
_LEVELS: Final = """\
levels, each with what it checks:
  messages  new workers can read what is queued
  workers   old workers can read what new programs write, until the deploy is complete
  wire      both
  full      wire, and the queue stays the same (default)
  source    full, and code that uses the classes still works
  strict    source, and warnings count too
"""


class _Options(Options):
    """What argparse fills in."""

    against: str
    level: Level


def run(arguments: Sequence[str]) -> int:
    """Compare schemas with older ones; returns the exit code."""
    options = _parser().read(arguments, _Options())
    return exit_code_of(lambda: _diff(options), options.format)


def _diff(options: _Options) -> int:
    sources = read(options.source)
    warnings: list[Fault] = []
    schema = parse(sources, warnings.append)
    after = Contract(options.source.as_posix(), schema, sources.files)
    before = _before(options)
    verdict = assess(before, after)
    print_faults([*warnings, *verdict.unused], options.format)
    counts: Counter[str] = Counter()
    for change in verdict.changes:
        if severity := change.severity(options.level):
            counts[severity] += 1
            print(format_fault(change.fault(severity), options.format, **change.more))
    for change in verdict.allowed:
        counts["allowed"] += change.severity(options.level) == "breaking"
    summary = [
        f"{counts[word]} {word}{'s' if counts[word] != 1 and word in _NOUNS else ''}"
        for word in ("breaking", "warning", "note", "allowed")
        if counts[word] or word == "breaking"
    ]
    print(
        f"{', '.join(summary)} (level {options.level}, against {before.name})",
        # A program that reads the findings has no use for it among them.
        file=sys.stdout if options.format == "text" else sys.stderr,
    )
    return 1 if counts["breaking"] else 0


def _before(options: _Options) -> Contract:
    """What is compared with: of a revision, of a folder or file, or of a lock."""
    against = options.against
    if is_revision(against):
        name, sources = read_revision(against, options.source)
    elif Path(against).is_file() and not against.endswith(".toml"):
        return read_lock(Path(against))
    elif Path(against).name != ".git" and Path(against).exists():
        name, sources = against, read(Path(against))
    else:
        raise SchemaErrors([_nothing(against)])
    return Contract(name, parse(sources), sources.files)


def _nothing(against: str) -> Fault:
    """What to say of an OLD that is not there."""
    location = SourceLocation(Source("", against))
    message = "neither a lock nor a folder of schemas is there"
    advice = "a branch, tag or commit is written like `.git#ref=main`"
    git = re.fullmatch(r"(?:(.*/)?\.?git[#@:])?(?:ref=)?([\w./~^-]+)", against)
    if Path(against).name == ".git" and Path(against).exists():
        message = "this is a repository, and no revision of it is named"
        advice = f"write `{against.rstrip('/')}#ref=HEAD`, or a branch, tag or commit"
    elif re.fullmatch(r"[^#@:]*[/.][^#@:]*", against) and (
        alike := did_you_mean_path(Path(against))
    ):
        advice = alike
    elif git and not git[2].endswith((".lock", ".toml", "/")):
        advice = (
            f"a branch, tag or commit is written like `{git[1] or ''}.git#ref={git[2]}`"
        )
    return Fault(Code.NOTHING_TO_READ, location, message, advice)


def _parser() -> Parser:
    parser = command_parser(
        "diff SRC --against OLD [--level LEVEL] [--format FORMAT]",
        "Report what a change of the schemas breaks for queued jobs and running programs.",
    )
    parser.epilog = f"{_LEVELS}\n{EXIT_CODES}"
    parser.add_argument(
        "--against",
        metavar="OLD",
        required=True,
        help="the schemas that run now: a lock, a folder, or .git#ref=REF[,subdir=DIR]",
    )
    parser.add_argument(
        "--level",
        choices=tuple(LEVELS),
        default="full",
        help="what may not break (default: full)",
    )
    return parser
