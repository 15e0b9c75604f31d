"""The widgets of `flowd top`: a table that keeps its cursor, and a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label

from flowd.cli.table import Table, lay_out

__all__ = ["Confirmation", "Rows"]


class Confirmation(ModalScreen[bool]):
    """Asks before something is changed; only `y` does it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q,enter", "answer(False)", "no"),
    ]
    DEFAULT_CSS = """
    Confirmation { align: center middle; }
    Confirmation > Vertical {
        width: auto; max-width: 90%; height: auto; padding: 1 2;
        border: thick $warning; background: $surface;
    }
    Confirmation Label { width: auto; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """The question, and how to answer it."""
        with Vertical():
            yield Label(Text(self.question))
            yield Label(Text("\ny: yes   n: no", "dim"))

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)


class Rows(DataTable[Text]):
    """A table whose rows stay chosen while their numbers change."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name, cursor_type="row", zebra_stripes=True, cell_padding=0)
        # Not the widget's own keys, which must differ: groups that share a stream by
        # mistake may run one job twice.
        self._keys: Sequence[str] = ()

    def show(self, table: Table, keys: Sequence[str], width: int) -> None:
        """Show these rows, and keep the cursor on the key it was on.

        Args:
            table: what to show; columns that do not fit are left out.
            keys: one for each row; two rows may have the same.
            width: how many columns of the terminal there are.
        """
        chosen = self.chosen
        head, *rows = lay_out(table, width)
        self._keys = [*keys]
        self.clear(columns=True)
        for cell in head:
            self.add_column(Text(cell, "bold"))
        for row in rows:
            self.add_row(*(Text(cell, cell.style) for cell in row))
        if chosen in self._keys:
            self.move_cursor(row=self._keys.index(chosen))

    @property
    def chosen(self) -> str:
        """The key of the row under the cursor; empty without rows."""
        return self._keys[self.cursor_row] if self._keys else ""
