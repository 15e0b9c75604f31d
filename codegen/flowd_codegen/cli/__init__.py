"""The command line: `flowd-gen SRC -o OUT` generates, every other command has a name.

Each command is a module here whose `run` takes its arguments and returns the exit code.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from flowd_codegen.cli import (
    catalogue,
    diff,
    generate,
    init,
    json_schema,
    lock,
    rust,
    validate,
)
from flowd_codegen.cli.command import exit_code_of

__all__ = ["run"]


_COMMANDS: Final[dict[str, tuple[Callable[[Sequence[str]], int], str]]] = {
    "catalogue": (catalogue.run, "describe the jobs in Markdown"),
    "diff": (diff.run, "say what a change of the schemas breaks"),
    "init": (init.run, "write a first schema, handler and test"),
    "json-schema": (json_schema.run, "give the schema language to an editor"),
    "lock": (lock.run, "write what is on the wire into one file, for review"),
    "rust": (rust.run, "generate the Rust structs of the jobs"),
    "validate": (validate.run, "check the schemas and write nothing"),
}


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code.

    Args:
        arguments: what stands behind `flowd-gen`.

    Raises:
        SystemExit: with 2 on wrong usage, with 0 after `--help` and `--version`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows what it cannot as an escape.
            stream.reconfigure(errors="backslashreplace")
    # The settings, which every command reads first, may have faults too.
    return exit_code_of(lambda: _run(arguments), "text")


def _run(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in _COMMANDS and not _is_path(arguments):
        command, _ = _COMMANDS[name]
        return command(arguments[1:])
    summaries = {name: summary for name, (_, summary) in _COMMANDS.items()}
    return generate.run(arguments, summaries)


def _is_path(arguments: Sequence[str]) -> bool:
    """Whether the first word is a folder to generate from, though a command's name.

    With `-o` it is a path, even one named `validate`, unless another word follows it
    or nothing of that name is there.
    """
    out = any(argument.startswith(("-o", "--out")) for argument in arguments)
    return out and arguments[1].startswith("-") and Path(arguments[0]).exists()
