"""The output of commands: tables, JSON, and escaped text.

On a terminal, and with the extra `cli`, tables are drawn by rich; else they are aligned text.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias, TypeGuard

from flowd.cli.table import Cell, Table, lay_out
from flowd.model.text import printable, span

if TYPE_CHECKING:
    from rich.console import Group

__all__ = [
    "Block",
    "Listing",
    "as_json",
    "blocks_that_fit",
    "field_texts",
    "fields_as_json",
    "is_drawn",
    "object_of",
    "print_blocks",
    "print_details",
    "print_error",
    "print_json",
    "print_note",
    "screen",
    "span",
    "summary",
]

_SHORT: Final = 40
_LONG: Final = 10_000
_FEWEST: Final = 2
_CHUNK: Final = 100


Block: TypeAlias = Table | str
"""A table, or a line of text."""


class Listing:
    """A table whose rows come one by one, as many as there are; `close` prints the last.

    Args:
        table: its head and columns; its rows are left out.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: list[Sequence[str]] = []
        self._began = False

    def add(self, row: Sequence[str]) -> None:
        """Print a row, with others."""
        self._rows.append(row)
        if len(self._rows) >= _CHUNK:
            self.close()

    def close(self) -> None:
        """Print the rows that were not printed yet."""
        if not self._rows:
            return
        table = dataclasses.replace(self._table, rows=self._rows)
        print_blocks([table], head=not self._began)
        self._began = True
        self._rows = []


def print_error(error: object) -> None:
    """Print what went wrong: one line on standard error, as argparse does."""
    print_note(f"error: {error}")


def print_note(text: str) -> None:
    """Print one line on standard error."""
    print(f"flowd: {printable(text)}", file=sys.stderr, flush=True)


def print_blocks(blocks: Sequence[Block], *, head: bool = True) -> None:
    """Print tables and lines, with an empty line before each table but the first.

    Args:
        blocks: what to print.
        head: whether tables have one.
    """
    if is_drawn(sys.stdout):
        from rich.console import Console  # noqa: PLC0415 - rich may not be installed

        console = Console()
        console.print(_drawn(blocks, console.width, head=head), soft_wrap=True)
        return
    for index, block in enumerate(blocks):
        if isinstance(block, str):
            print(printable(block))
            continue
        if index:
            print()
        _print_table(block, head=head)


@contextmanager
def screen() -> Generator[Callable[[Sequence[Block]], None]]:
    """A function that shows blocks instead of those before; below them, if not drawn."""
    if is_drawn(sys.stdout):
        from rich.live import Live  # noqa: PLC0415 - rich may not be installed

        with Live(auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda blocks: live.update(
                _drawn(
                    blocks_that_fit(blocks, live.console.height - 1), live.console.width
                ),
                refresh=True,
            )
    else:
        yield _append


def print_json(value: object, *, indent: bool = False) -> None:
    """Print a JSON document: on one line, or for people as well."""
    print(json.dumps(value, indent=2 if indent else None), flush=True)


def as_json(view: object, *, without: Collection[str] = ()) -> object:
    """A dataclass, with all that is in it, as JSON knows it.

    Args:
        view: a dataclass, a sequence of them, or what one holds.
        without: attributes that are left out, wherever they are.
    """
    if isinstance(view, datetime):
        return view.isoformat()
    if isinstance(view, float):
        return round(view, 3)
    if _is_many(view):
        return [as_json(each, without=without) for each in view]
    if dataclasses.is_dataclass(view):
        return object_of(view, without=without)
    return view


def object_of(view: object, *, without: Collection[str] = ()) -> dict[str, object]:
    """A dataclass as a JSON object; as `as_json`."""
    assert dataclasses.is_dataclass(view)
    return {
        field.name: as_json(getattr(view, field.name), without=without)
        for field in dataclasses.fields(view)
        if field.name not in without
    }


def field_texts(
    fields: Mapping[bytes, bytes], hidden: Mapping[bytes, str]
) -> dict[str, str]:
    """An entry's fields as text: other bytes as escapes, without hidden values."""
    return {
        name.decode("utf-8", "backslashreplace"): (
            hidden.get(name) or value.decode("utf-8", "backslashreplace")
        )
        for name, value in fields.items()
    }


def fields_as_json(
    fields: Mapping[bytes, bytes], hidden: Mapping[bytes, str]
) -> dict[str, object]:
    """An entry's fields, nothing lost that is not hidden: `fields` are those of text.

    The others are `bytes`, a list of name and value in base64.
    """
    texts = {
        name: value
        for name, value in fields.items()
        if name in hidden or _is_text(name, value)
    }
    others = [
        [base64.b64encode(each).decode() for each in pair]
        for pair in fields.items()
        if pair[0] not in texts
    ]
    return {"fields": field_texts(texts, hidden), "bytes": others}


def summary(fields: Mapping[bytes, bytes], hidden: Mapping[bytes, str]) -> str:
    """The fields of a job on one line; flowd's own are left out."""
    shown = field_texts(fields, hidden).items()
    return " ".join(
        f"{printable(name, _SHORT)}={printable(value, _SHORT)}"
        for name, value in shown
        if not name.startswith("_")
    )


def print_details(rows: Mapping[str, str], fields: Mapping[str, str]) -> None:
    """Print all that is known of one job, a line each, then its fields."""
    for name, value in rows.items():
        print(f"{name:<11} {printable(value, _LONG)}")
    print("fields")
    for name, value in fields.items():
        print(f"  {printable(name)} = {printable(value, _LONG)}")


def _append(blocks: Sequence[Block]) -> None:
    print_blocks(blocks)
    print(flush=True)


def is_drawn(stream: TextIO | None) -> bool:
    """Whether it is a terminal that can be drawn on; None was closed by the caller."""
    return (
        stream is not None
        and stream.isatty()
        and os.environ.get("TERM") not in ("dumb", "unknown")
        and find_spec("rich") is not None
    )


def _is_many(view: object) -> TypeGuard[Sequence[object]]:
    return isinstance(view, list | tuple)


def _is_text(*several: bytes) -> bool:
    try:
        b"".join(several).decode()
    except UnicodeDecodeError:
        return False
    return True


def _print_table(table: Table, *, head: bool) -> None:
    for line in lay_out(table, _terminal_width())[not head :]:
        print("".join(line).rstrip())


def _terminal_width() -> int | None:
    """How wide the terminal is; None if the output goes elsewhere, or was closed."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def _drawn(blocks: Sequence[Block], width: int, *, head: bool = True) -> Group:
    """Tables and lines as rich draws them; text of others is never markup."""
    from rich.cells import cell_len  # noqa: PLC0415 - rich may not be installed
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn: list[Text] = []
    for block in blocks:
        if isinstance(block, str):
            style = block.style if isinstance(block, Cell) else ""
            drawn.append(Text(printable(block), style))
            continue
        if drawn:
            drawn.append(Text())
        first, *rows = lay_out(block, width, cell_len)
        if head:
            drawn.append(Text("".join(first).rstrip(), "bold"))
        drawn += [
            Text.assemble(*((str(cell), cell.style) for cell in row)) for row in rows
        ]
    return Group(*drawn)


def blocks_that_fit(blocks: Sequence[Block], height: int) -> Sequence[Block]:
    """The blocks with fewer rows, if a screen has not so many lines; the longest lose most."""
    rows = [1 if isinstance(each, str) else len(each.rows) for each in blocks]
    heads = sum(2 for each in blocks if not isinstance(each, str))
    whole = [*rows]
    while sum(rows) + heads > height and max(rows, default=0) > _FEWEST:
        rows[rows.index(max(rows))] -= 1
    shown: list[Block] = []
    for block, kept, all_of_it in zip(blocks, rows, whole, strict=True):
        if isinstance(block, str) or kept == all_of_it:
            shown.append(block)
            continue
        left = all_of_it - kept + 1
        shown += [
            dataclasses.replace(block, rows=block.rows[: kept - 1]),
            f"… and {left:,} more",
        ]
    return shown
