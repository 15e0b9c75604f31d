"""The Lua scripts: each is one atomic step, described at the top of its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

from flowd.connection import TIMEOUT, Argument, Link
from flowd.refusal import ScriptMissing

__all__ = [
    "ENQUEUE",
    "EXPIRE",
    "INIT",
    "LEAVE",
    "LEFT",
    "LOOK",
    "PROGRESS",
    "PURGE",
    "RECOUNT",
    "REDRIVE",
    "RENEW",
    "SETTLE",
    "TEND",
    "Script",
]


class Script:
    """One file of `lua/`, behind the preludes it needs.

    A script that is run often is asked for by its hash; one that is run once in a
    process is sent whole, which saves the round trip of asking in vain.
    """

    def __init__(self, name: str, *preludes: str, often: bool = True) -> None:
        folder = resources.files("flowd") / "lua"
        parts = [(folder / f"{part}.lua").read_text("utf-8") for part in preludes]
        parts.append((folder / f"{name}.lua").read_text("utf-8"))
        self.name = name
        self._often = often
        self.source = "\n".join(parts)
        # Redis knows a script by this hash; it protects nothing.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self,
        link: Link,
        keys: Sequence[str],
        args: Iterable[Argument],
        *,
        patience: float = TIMEOUT,
    ) -> object:
        """Run the script and return its raw answer, for which it has `patience` seconds.

        Raises:
            ServerError: as `Link.call`.
        """
        call = (len(keys), *keys, *args)
        if self._often:
            try:
                return await link.call("EVALSHA", self.sha, *call, timeout=patience)
            except ScriptMissing:
                pass  # the server is new, or was restarted
        return await link.call("EVAL", self.source, *call, timeout=patience)


ENQUEUE: Final = Script("enqueue")
EXPIRE: Final = Script("expire", "fence", often=False)
INIT: Final = Script("init", "only_group", often=False)
LEAVE: Final = Script("leave", often=False)
LEFT: Final = Script("left", "fence")
LOOK: Final = Script("look")
PROGRESS: Final = Script("progress", "fence")
PURGE: Final = Script("purge")
RECOUNT: Final = Script("recount", "fence", often=False)
REDRIVE: Final = Script("redrive", "only_group")
RENEW: Final = Script("renew", "fence")
SETTLE: Final = Script("settle", "fence", "only_group")
TEND: Final = Script("tend", "fence", "only_group")
