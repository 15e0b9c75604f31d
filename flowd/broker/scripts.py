"""The Lua scripts: each is one atomic step, described at the top of its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final, TypeVar

from flowd.broker import replies
from flowd.broker.connection import TIMEOUT, Argument, Link
from flowd.broker.refusals import ScriptMissing, refusal
from flowd.errors import ServerError

__all__ = [
    "ABANDON",
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
    "results",
]

T = TypeVar("T")


class Script:
    """One file of `lua/`, behind the preludes it needs.

    A script that is run often is asked for by its hash; one that is run once in a
    process is sent whole, which saves the round trip of asking in vain.
    """

    def __init__(self, name: str, *preludes: str, often: bool = True) -> None:
        folder = resources.files("flowd.broker") / "lua"
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
        read: replies.Reader[T],
        *,
        patience: float = TIMEOUT,
    ) -> T:
        """Run the script; it has `patience` seconds for an answer that `read` takes.

        Raises:
            ServerError: as `Link.call`.
        """
        call = (len(keys), *keys, *args)
        if self._often:
            try:
                return await link.call(
                    "EVALSHA", self.sha, *call, read=read, timeout=patience
                )
            except ScriptMissing:
                pass  # the server is new, or was restarted
        return await link.call("EVAL", self.source, *call, read=read, timeout=patience)


def results(
    reader: replies.Reader[T], *, exactly: int | None = None, most: int | None = None
) -> replies.Reader[list[T | ServerError]]:
    """One result for each thing that was asked; a text behind a `!` refuses that one.

    With `most`, the first that is refused may be the last answer.
    """

    def read(reply: object) -> T | ServerError:
        if type(reply) is bytes and reply[:1] == b"!":
            return refusal(reply[1:].decode("utf-8", "replace"))
        return reader(reply)

    every = replies.items(read, exactly)

    def read_all(reply: object) -> list[T | ServerError]:
        found = every(reply)
        if most is not None and len(found) != most:
            broke_off = 0 < len(found) < most and isinstance(found[-1], ServerError)
            if not broke_off:
                raise replies.unlike(f"{most} items", reply)
        return found

    return read_all


ENQUEUE: Final = Script("enqueue")
EXPIRE: Final = Script("expire", "fence", often=False)
INIT: Final = Script("init", "only_group", often=False)
LEAVE: Final = Script("leave", often=False)
LEFT: Final = Script("left", "fence")
LOOK: Final = Script("look")
PROGRESS: Final = Script("progress", "fence")
PURGE: Final = Script("purge")
RECOUNT: Final = Script("recount", "fence", often=False)
ABANDON: Final = Script("abandon", "fence", often=False)
REDRIVE: Final = Script("redrive", "only_group")
RENEW: Final = Script("renew", "fence")
SETTLE: Final = Script("settle", "fence", "only_group")
TEND: Final = Script("tend", "fence", "only_group")
