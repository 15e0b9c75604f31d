"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

__all__ = ["Commands", "add_app_dir", "add_server", "seconds"]


class Commands(Protocol):
    """What `add_subparsers` returns."""

    def add_parser(
        self,
        name: str,
        *,
        help: str,  # noqa: A002 - argparse's name
        description: str,
        formatter_class: type[argparse.HelpFormatter],
    ) -> argparse.ArgumentParser:
        """Add a command and return its parser."""
        ...


def add_app_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the user's code is."""
    parser.add_argument(
        "--app-dir",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="folder that MODULE is imported from (default: the current one)",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks a server."""
    parser.add_argument("--url", help="as redis://localhost:6379 (default: $FLOWD_URL)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def seconds(text: str) -> float:
    """A time on the command line: 0 or more, and not for ever.

    Raises:
        ValueError: it is none, which argparse says by this function's name.
    """
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError
    return value
