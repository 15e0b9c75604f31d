"""The page on operations names what the log and the doctor say."""

from __future__ import annotations

import re
from typing import Final

from tests.house.sources import RUNTIME, modules
from tests.ops.page import OPERATIONS
from tests.ops.test_doctor import CHECKS

_EVENTS: Final = re.compile(
    r'"event": "(\w+)"|_say\("(\w+)"|log\(\s*logging\.\w+, "(\w+)"'
)


def _first_cells(heading: str) -> list[str]:
    """What the table with this first heading names in its first column."""
    table = OPERATIONS.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_event_is_on_the_page() -> None:
    """Whoever reads the log finds the event, and no event that there is not."""
    source = "".join(path.read_text("utf-8") for path in modules(RUNTIME))
    events = {"".join(found) for found in _EVENTS.findall(source)}

    named = _first_cells("event")
    assert len(named) == len(set(named))
    assert set(named) == events


def test_every_check_is_on_the_page() -> None:
    """Whoever reads what the doctor says finds what it looked at, and why."""
    assert set(_first_cells("check")) == {*CHECKS, "queue", "server"}
