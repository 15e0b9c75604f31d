"""Tables and progress as rich draws them; imported only where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

import rich.progress
import rich.table
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flowd.cli.show import Block
from flowd.model.text import printable

__all__ = ["print_blocks", "progress", "screen"]

_ALARMING: Final = {"expired": "red", "silent": "yellow", "working": "green"}


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print tables and lines."""
    Console().print(_group(blocks))


@contextmanager
def screen() -> Generator[Callable[[Sequence[Block]], None]]:
    """A function that shows blocks in the place of those before."""
    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda blocks: live.update(_group(blocks), refresh=True)


@contextmanager
def progress(what: str, total: int) -> Generator[Callable[[], object]]:
    """A function that moves a bar on standard error by one."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    bar = rich.progress.Progress(
        *columns,
        # Lines that are printed meanwhile keep their length, as all others do.
        console=Console(stderr=True, soft_wrap=True),
        transient=True,
        # Else rich would send to the terminal what is printed into a file.
        redirect_stdout=sys.stdout.isatty(),
    )
    task = bar.add_task(what, total=total)

    def advance() -> None:
        bar.start()
        bar.advance(task)

    try:
        yield advance
    finally:
        bar.stop()


def _group(blocks: Sequence[Block]) -> Group:
    drawn: list[Text | rich.table.Table] = []
    for block in blocks:
        if isinstance(block, str):
            drawn.append(Text(printable(block)))
            continue
        table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
        for name in block.head:
            table.add_column(
                name,
                justify="right" if name in block.right else "left",
                overflow="fold",
            )
        for row in block.rows:
            table.add_row(*map(_cell, row))
        drawn += [Text(), table] if drawn else [table]
    return Group(*drawn)


def _cell(text: str) -> Text:
    """Never markup: what others wrote stays text."""
    return Text(printable(text), style=_ALARMING.get(text, ""))
