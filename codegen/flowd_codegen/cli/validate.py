"""The command `flowd-gen validate SRC`."""

from __future__ import annotations

from collections.abc import Sequence

from flowd_codegen.cli.command import Options, command_parser, exit_code_of, read_schema

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Check schemas and write nothing; returns the exit code."""
    usage = "validate SRC [--format FORMAT]"
    parser = command_parser(usage, "Check schemas and write nothing.")
    options = parser.read(arguments, Options())

    def work() -> int:
        read_schema(options)
        return 0

    return exit_code_of(work, options.format)
