"""Do what a page of `docs/` says, block by block, and compare what the commands print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.readme.quickstart import Folder

__all__ = ["follow"]

_BLOCK: Final = re.compile(r"(?:`([\w./]+)`[^\n`]*:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)


def follow(page: Path, folder: Folder, *, update: bool) -> None:
    """Write each file that the page shows, run each command in order.

    Args:
        page: its `text` blocks are what the last command of the block before prints.
        folder: where a reader would be.
        update: write what was printed into the page, instead of comparing.
    """
    text = page.read_text("utf-8")
    printed = ""

    def step(block: re.Match[str]) -> str:
        nonlocal printed
        name, language, body = block.groups()
        if name:
            folder.write({name: body})
        elif language == "sh":
            for command in body.splitlines():
                printed = folder.output_of(command)
        elif language == "text":
            return f"```text\n{printed}```"
        return block[0]

    followed = _BLOCK.sub(step, text)
    if update:
        page.write_text(followed, "utf-8")
    else:
        assert followed == text
