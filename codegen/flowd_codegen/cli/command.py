"""What all commands of `flowd-gen` share: options, reading schemas, exit codes.

Exit codes: 0 fine, 1 a check said no, 2 the schemas or the usage are invalid,
3 reading or writing failed, or flowd-gen has a bug.
"""

from __future__ import annotations

import argparse
import errno
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar

from flowd.model.text import printable
from flowd_codegen.cli.settings import FORMATS, Format, Settings, read_settings
from flowd_codegen.compat.contract import Contract
from flowd_codegen.diagnostics.report import (
    Fault,
    SchemaErrors,
    github_line,
    json_line,
)
from flowd_codegen.extra import ExtraMissing
from flowd_codegen.model.schema import Schema
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read
from flowd_codegen.write import ForeignFiles

__all__ = [
    "EXIT_CODES",
    "Options",
    "Parser",
    "command_parser",
    "default_of",
    "exit_code_of",
    "format_fault",
    "path",
    "plain_parser",
    "print_faults",
    "read_contract",
    "read_schema",
]

_Given = TypeVar("_Given", bound=argparse.Namespace)

EXIT_CODES: Final = """\
exit codes: 0 fine; 1 a check said no; 2 invalid schemas or usage;
3 reading or writing failed, or a bug"""
"""The last lines of every `--help`."""


class Options(argparse.Namespace):
    """What argparse fills in for every command that reads schemas."""

    source: Path
    format: Format


class Parser(argparse.ArgumentParser):
    """A parser that says which option was probably meant."""

    def read(self, arguments: Sequence[str], options: _Given) -> _Given:
        """Parse; what is missing is only said of a line that has no unknown option.

        Raises:
            SystemExit: with 2 on wrong usage, with 0 after `--help` and `--version`.
        """
        known = self._option_string_actions
        for argument in arguments:
            if argument == "--":
                break
            word = argument.partition("=")[0]
            long = f"-{word}" if word[1:2] != "-" else word
            if word in known or not word.startswith("-") or word == "-":
                continue
            near = long if long in known else _OPTIONS.get(word)
            if near is None and long == word:
                near = next(
                    iter(get_close_matches(word, known, n=1, cutoff=0.75)), None
                )
            if near in known:
                self.error(f"no option `{printable(word)}`: did you mean `{near}`?")
        return self.parse_args(arguments, options)


_RIGHTS: Final = "; change the rights of it and of its folder, or give other paths"
_ADVICE: Final = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOSPC: "; make room and run it again",
}
"""What to do where the system refuses a file."""

_OPTIONS: Final = {
    **dict.fromkeys(("-v", "-V", "--ver"), "--version"),
    **dict.fromkeys(("-?", "/?", "--usage"), "--help"),
    **dict.fromkeys(("--output", "--output-dir", "--out-dir", "--dest", "-d"), "--out"),
    **dict.fromkeys(("--dry-run", "-n", "--verify", "--test"), "--check"),
    **dict.fromkeys(("--clean", "--delete", "--remove"), "--prune"),
    **dict.fromkeys(("--keep", "--no-delete", "--no-clean"), "--no-prune"),
    **dict.fromkeys(("-f", "--json", "--output-format"), "--format"),
    **dict.fromkeys(("--base", "--old", "--from", "--ref"), "--against"),
}
"""Options of other tools, and what flowd-gen has instead."""


def plain_parser(usage: str, description: str) -> Parser:
    """A parser that knows nothing yet.

    Args:
        usage: behind `flowd-gen`, as a person writes it.
        description: one sentence.
    """
    return Parser(
        prog="flowd-gen",
        usage=f"flowd-gen {usage}",
        description=description,
        epilog=EXIT_CODES,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def command_parser(
    usage: str, description: str, settings: Settings | None = None
) -> Parser:
    """A parser that knows `SRC` and `--format`.

    Args:
        usage: as for `plain_parser`.
        description: as for `plain_parser`.
        settings: where they were read already.

    Raises:
        SchemaErrors: the project's settings have faults.
    """
    settings = settings or read_settings()
    print_faults(settings.warnings, settings.format)
    parser = plain_parser(usage, description)
    parser.add_argument(
        "source",
        metavar="SRC",
        type=path,
        nargs="?" if settings.src else None,
        default=settings.src,
        help=f"folder of *.toml, or one file{default_of(settings.src)}",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=settings.format,
        help=f"how faults are printed{default_of(settings.format)}",
    )
    return parser


def default_of(value: object) -> str:
    """The help text of a default; empty for None."""
    return "" if value is None else f" (default: {value})".replace("%", "%%")


def path(text: str) -> Path:
    """Read a path argument; an empty one is refused."""
    # For pathlib an empty path is the current folder, where pruning would begin.
    if not text:
        raise argparse.ArgumentTypeError("a path is empty; is a variable not set?")
    return Path(text)


def read_schema(options: Options) -> Schema:
    """Read the schemas at `SRC`; warnings are printed.

    Raises:
        SchemaErrors: they have faults.
        OSError: a file or folder is there and cannot be read.
    """
    return read_contract(options).schema


def read_contract(options: Options) -> Contract:
    """The same, with the places of what is declared."""
    warnings: list[Fault] = []
    sources = read(options.source)
    schema = parse(sources, warnings.append)
    print_faults(warnings, options.format)
    return Contract(options.source.as_posix(), schema, sources.files)


def print_faults(faults: Iterable[Fault], output_format: Format) -> None:
    """Print faults or warnings to stderr, one after the other."""
    for fault in faults:
        print(format_fault(fault, output_format), file=sys.stderr)


def format_fault(fault: Fault, output_format: Format, **more: object) -> str:
    """A fault as it is printed.

    Args:
        fault: of a schema, or of a comparison.
        output_format: text, json or github.
        **more: further keys of the JSON object.
    """
    match output_format:
        case "text":
            return str(fault)
        case "json":
            return json_line(fault, **more)
        case "github":
            return github_line(fault)


def exit_code_of(work: Callable[[], int], output_format: Format) -> int:
    """Do a command's work; returns its exit code, or the one of what it raised.

    Args:
        work: returns 0 or 1.
        output_format: how faults of the schemas are printed.
    """
    try:
        return work()
    except SchemaErrors as errors:
        if output_format == "text":
            print(errors, file=sys.stderr)
        else:
            print_faults(errors.faults, output_format)
        return 2
    except ExtraMissing as error:
        print(error, file=sys.stderr)
        return 2
    except ForeignFiles as error:
        _failed(error, 2)
        print("move it away or give another -o; nothing was written", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "")
        return _failed(f"{where}{error.strerror or error}{advice}", 3)
    except Exception:  # a bug, which has an exit code as well
        traceback.print_exc()
        print("this is a bug in flowd-gen, please report it", file=sys.stderr)
        return 3


def _failed(error: object, code: int) -> int:
    """Print what went wrong, as argparse does; returns the exit code."""
    print(f"flowd-gen: error: {error}", file=sys.stderr)
    return code
