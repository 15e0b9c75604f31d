"""The command `flowd-gen init [DIR]`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flowd_codegen.cli.command import exit_code_of, path, plain_parser
from flowd_codegen.export.json_schema import json_schema_text
from flowd_codegen.scaffold import NEXT, STARTER

__all__ = ["run"]

_WIDTH: Final = max(len(command) for command, _ in NEXT)


class _Options(argparse.Namespace):
    """What argparse fills in."""

    folder: Path


def run(arguments: Sequence[str]) -> int:
    """Write a first schema, handler and test, and no file twice; returns the exit code."""
    parser = plain_parser("init [DIR]", "Write a first schema, a handler and its test.")
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=path,
        nargs="?",
        default=Path(),
        help="where to write; what is there is kept (default: the current folder)",
    )
    options = parser.read(arguments, _Options())
    return exit_code_of(lambda: _init(options.folder), "text")


def _init(folder: Path) -> int:
    for name, text in {
        **STARTER,
        "schemas/flowd.schema.json": json_schema_text(),
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Also a link that leads nowhere is there.
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except FileExistsError:
            print(f"kept {file}: it is there already")
        else:
            print(f"wrote {file}")
    print("\nnext:")
    if folder != Path():
        print(f"    cd {shlex.quote(str(folder))}")
    for command, purpose in NEXT:
        print(f"    {command:{_WIDTH}}  # {purpose}")
    return 0
