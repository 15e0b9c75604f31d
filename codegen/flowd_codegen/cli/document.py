"""What the commands share that make one text: `-o FILE` writes it, `--check` compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from flowd_codegen.cli.changes import apply_changes
from flowd_codegen.cli.command import Parser, path
from flowd_codegen.write import compare_document

__all__ = ["DocumentOptions", "document_options", "output_document"]


class DocumentOptions(argparse.Namespace):
    """What argparse fills in for a command that makes one text."""

    out: Path | None
    check: bool = False


Parsed = TypeVar("Parsed", bound=DocumentOptions)


def document_options(
    parser: Parser, arguments: Sequence[str], options: Parsed
) -> Parsed:
    """Let a command know `-o FILE` and `--check`, and read its arguments.

    Raises:
        SystemExit: with 2 on wrong usage, with 0 after `--help`.
    """
    parser.add_argument(
        *("-o", "--out"),
        metavar="FILE",
        type=path,
        help="file to write (default: print it)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; show in what FILE is out of date and exit 1",
    )
    parsed = parser.read(arguments, options)
    if parsed.check and parsed.out is None:
        parser.error("--check compares with a file: give it with -o FILE")
    return parsed


def output_document(text: str, options: DocumentOptions, command: list[str]) -> int:
    """Print the text, write it, or compare it with its file; returns the exit code.

    Args:
        text: begins with a line that says who wrote it.
        options: of the command.
        command: the words of the command, without `-o`.

    Raises:
        ForeignFiles: the file was not written by flowd-gen.
        OSError: the file cannot be read or written.
    """
    if options.out is None:
        sys.stdout.write(text)
        return 0
    changes = compare_document(text, options.out)
    rerun = ["flowd-gen", *command, "-o", str(options.out)]
    return apply_changes(changes, options.out, check=options.check, rerun=rerun)
