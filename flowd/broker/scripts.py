"""The Lua scripts: each is one atomic step, described at the top of its file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Iterable, Sequence
from importlib import resources
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from flowd.broker import replies
from flowd.broker.connection import TIMEOUT, Argument, Connection
from flowd.broker.refusals import ScriptMissing, refusal
from flowd.errors import ServerError

__all__ = [
    "ABANDON",
    "ADMIT",
    "CANCEL",
    "DELAYED_KINDS",
    "ENQUEUE",
    "EXPIRE",
    "FORGET_CONSUMER",
    "INIT",
    "LETTERS",
    "LIMIT",
    "MAINTAIN",
    "NOWHERE",
    "PAUSE",
    "PROGRESS",
    "PURGE",
    "QUERY",
    "RECOUNT",
    "REDRIVE",
    "REMAINING",
    "RENEW",
    "RESUME",
    "RUN_SCHEDULE",
    "SCHEDULES",
    "SETTLE",
    "TICK",
    "Part",
    "Script",
    "results",
]

T = TypeVar("T")

_SEAM: Final = re.compile(r"^ *--@ (\w+)\n", re.MULTILINE)


class Part(NamedTuple):
    """What a capability adds to a script: a file of `lua/parts/`, and what it is given.

    Its sections take the place of the lines `--@ NAME` of the script. They see the script's
    locals. In `begin` they remove their own KEYS and ARGV, which are behind the script's.
    """

    name: str
    keys: Sequence[str] = ()
    args: Sequence[Argument] = ()


class Script:
    """One file of `lua/`, behind the preludes it needs, with the parts of capabilities.

    A script that is run often is asked for by its hash; one that is run once in a
    process is sent whole, which saves the round trip of asking in vain.
    """

    def __init__(
        self,
        name: str,
        *preludes: str,
        often: bool = True,
        parts: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._preludes = preludes
        needed = (_PRELUDES.get(each.partition("_")[2], ()) for each in parts)
        preludes = (*preludes, *chain.from_iterable(needed))
        self._often = often
        self._assembled: dict[tuple[str, ...], Script] = {}
        texts = [_text(each) for each in dict.fromkeys(preludes)]
        texts.append(_assembled(_text(name), parts))
        self.source = "\n".join(texts)
        # Redis knows a script by this hash; it protects nothing.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def with_parts(self, parts: Sequence[Part]) -> Script:
        """The script with the text of these parts."""
        names = tuple(part.name for part in parts)
        script = self._assembled.get(names)
        if script is None:
            script = Script(self.name, *self._preludes, often=self._often, parts=names)
            self._assembled[names] = script
        return script

    async def run(
        self,
        connection: Connection,
        keys: Sequence[str],
        args: Iterable[Argument],
        read: replies.Reader[T],
        parts: Sequence[Part] = (),
        *,
        patience: float = TIMEOUT,
    ) -> T:
        """Run the script; it has `patience` seconds for an answer that `read` takes.

        Raises:
            ServerError: as `Connection.call`.
        """
        if parts:
            keys = [*keys, *chain.from_iterable(part.keys for part in parts)]
            args = [*args, *chain.from_iterable(part.args for part in parts)]
            script = self.with_parts(parts)
            return await script.run(connection, keys, args, read, patience=patience)
        call = (len(keys), *keys, *args)
        if self._often:
            try:
                return await connection.call(
                    "EVALSHA", self.sha, *call, read=read, timeout=patience
                )
            except ScriptMissing:
                pass  # the server is new, or was restarted
        return await connection.call(
            "EVAL", self.source, *call, read=read, timeout=patience
        )

    def ask(
        self,
        connection: Connection,
        keys: Sequence[str],
        args: Iterable[Argument],
        read: replies.Reader[T],
    ) -> Awaitable[T]:
        """As `run`, but the command is under way when this returns."""
        call = (len(keys), *keys, *args)
        asked = connection.call("EVALSHA", self.sha, *call, read=read)
        return self._answer(asked, connection, call, read)

    async def _answer(
        self,
        asked: Awaitable[T],
        connection: Connection,
        call: Sequence[Argument],
        read: replies.Reader[T],
    ) -> T:
        try:
            return await asked
        except ScriptMissing:
            return await connection.call("EVAL", self.source, *call, read=read)


_GATE: Final = (
    *("by_name", "paused", "untaken", "packed", "later", "gate_needs", "gate_lanes"),
    *("gate_holds", "gate_entry", "gate_admission", "gate"),
)
_PRELUDES: Final = {"gate": _GATE}
"""What parts of a capability need ahead of the script."""

_FOLDER: Final = resources.files("flowd.broker") / "lua"

_PARTS: Final = {
    file.name: file.read_text("utf-8") for file in (_FOLDER / "parts").iterdir()
}
"""Read at import as the scripts are: after an upgrade in place, a process that runs must
not put a new part into an old script."""


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text("utf-8")


def _assembled(core: str, parts: Iterable[str]) -> str:
    """A script whose seams are filled with the sections of parts, or are left out."""
    sections: dict[str, list[str]] = {}
    for part in parts:
        _, *texts = _SEAM.split(_PARTS[f"{part}.lua"])
        for seam, text in zip(texts[::2], texts[1::2], strict=True):
            # The last part's arguments are at the end, so they are removed first.
            at = 0 if seam == "begin" else len(sections.get(seam, ()))
            sections.setdefault(seam, []).insert(at, text.strip("\n"))
    seams = set(_SEAM.findall(core))
    assert sections.keys() <= seams, f"no such seam: {sections.keys() - seams}"
    return _SEAM.sub(
        lambda found: "".join(f"{text}\n" for text in sections.get(found[1], ())), core
    )


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


ADMIT: Final = Script("admit", "replica", *_GATE)
CANCEL: Final = Script(
    *("cancel", "now", "replica", "by_name", "only_group", "marks", "key_of"),
    "removed",
)
DELAYED_KINDS: Final = Script("delayed_kinds", "by_name")
ENQUEUE: Final = Script("enqueue", "now", "packed")
EXPIRE: Final = Script("expire", "replica", often=False)
INIT: Final = Script("init", "by_name", "only_group", often=False)
FORGET_CONSUMER: Final = Script("forget_consumer", "by_name", often=False)
REMAINING: Final = Script("remaining", "by_name", "paused", "replica")
PAUSE: Final = Script("pause", "now", "replica", "by_name", "only_group", "paused")
QUERY: Final = Script("query", "by_name", "paused")
LIMIT: Final = Script("limit", *_GATE, often=False)
LETTERS: Final = Script("letters")
NOWHERE: Final = Script("nowhere", *_GATE, often=False)
PROGRESS: Final = Script("progress", "fence")
PURGE: Final = Script("purge", "key_of")
RECOUNT: Final = Script("recount", "replica", often=False)
ABANDON: Final = Script("abandon", "replica", often=False)
REDRIVE: Final = Script("redrive", "by_name", "only_group", "now", "marks")
RESUME: Final = Script("resume", "replica", "by_name", "only_group", "paused")
RENEW: Final = Script("renew", "fence", "replica")
RUN_SCHEDULE: Final = Script("run_schedule", "now", often=False)
SCHEDULES: Final = Script("schedules", "now", often=False)
SETTLE: Final = Script("settle", "now", "fence", "replica", "by_name", "only_group")
TICK: Final = Script("tick", "now")
MAINTAIN: Final = Script("maintain", "now", "replica", "by_name", "only_group")
