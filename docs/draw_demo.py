"""Draw `docs/demo.svg` from a run of the demo: `make picture`."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

PICTURE: Final = Path("docs/demo.svg")

_FILES: Final = "400"
_WIDTH: Final = 92
_FONTS: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_PROGRESS: Final = re.compile(r"^ +\d+ of \d+ files, \d+/s$")
_STRONG: Final = (
    ("bold green", r"^No job is lost"),
    ("bold red", r"killed|JOBS ARE MISSING"),
    ("bold", r"^\$ .*"),
    ("cyan", r"claimed \d+ of its jobs|[\d.]+ s after the kill"),
)


def main() -> None:
    """Run the demo and draw what it prints."""
    command = [sys.executable, "-m", "examples.stdlib_index", "--files", _FILES]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    console = Console(record=True, width=_WIDTH, file=io.StringIO())
    for line in ["$ make demo", *_shown(printed.stdout)]:
        text = Text(line, no_wrap=True, overflow="ellipsis")
        for style, pattern in _STRONG:
            text.highlight_regex(pattern, style)
        console.print(text)
    svg = console.export_svg(title="make demo", unique_id="demo")
    # No font from another site: what shows the picture may not fetch it.
    PICTURE.write_text(_FONTS.sub("", svg), "utf-8")


def _shown(printed: str) -> list[str]:
    """The lines without most of the progress, as a terminal shows them at the end."""
    lines = printed.split("\nThe first dead letters:", maxsplit=1)[0].splitlines()
    progress = [at for at, line in enumerate(lines) if _PROGRESS.match(line)]
    hidden = set(progress[:-1])
    return [line for at, line in enumerate(lines) if at not in hidden]


if __name__ == "__main__":
    main()
