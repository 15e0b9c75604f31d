"""The command line: `flowd-gen SRC -o OUT` generates, every other command has a name.

Each command is a module here whose `run` takes its arguments and returns the exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flowd_codegen.cli import diff, generate, lock, validate

__all__ = ["run"]

_COMMANDS: Final[dict[str, tuple[Callable[[Sequence[str]], int], str]]] = {
    "diff": (diff.run, "say what a change of the schemas breaks"),
    "lock": (lock.run, "write what is on the wire into one file, for review"),
    "validate": (validate.run, "check the schemas and write nothing"),
}


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code.

    Args:
        arguments: what stands behind `flowd-gen`.

    Raises:
        SystemExit: with 2 on wrong usage, with 0 after `--help` and `--version`.
    """
    name = arguments[0] if arguments else ""
    if name in _COMMANDS and not _is_path(arguments):
        command, _ = _COMMANDS[name]
        return command(arguments[1:])
    summaries = {name: summary for name, (_, summary) in _COMMANDS.items()}
    return generate.run(arguments, summaries)


def _is_path(arguments: Sequence[str]) -> bool:
    """Whether the first word is a folder to generate from, though a command's name.

    With `-o` it is a path, even one named `validate`, unless another word follows it.
    """
    out = any(argument.startswith(("-o", "--out")) for argument in arguments)
    return out and arguments[1].startswith("-")
