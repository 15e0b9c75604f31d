"""Ask on the terminal before something is changed that cannot be undone."""

from __future__ import annotations

import asyncio
import sys

from flowd.cli.load import UsageError

__all__ = ["check_terminal", "confirm"]


def check_terminal(what: str) -> None:
    """Refuse to ask where there is no terminal to ask on.

    Args:
        what: cannot be undone, as `purging`.

    Raises:
        UsageError: there is none.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{what} cannot be undone: confirm it with --yes")


async def confirm(question: str, otherwise: str) -> None:
    """Ask, and go on only after a yes.

    Args:
        question: ends with a question mark.
        otherwise: what the error says after any other answer.

    Raises:
        UsageError: the answer is not yes.
    """
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if (await _typed_line()).strip().lower() not in ("y", "yes"):
        raise UsageError(otherwise)


async def _typed_line() -> str:
    """The line that the user types; empty for Ctrl-D."""
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    # Not with `input`, which would keep the loop from ending at a Ctrl-C.
    loop.add_reader(sys.stdin, typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
    return line
