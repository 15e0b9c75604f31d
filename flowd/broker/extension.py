"""Where a capability hooks into the path of a job: enqueue, settle, maintain, renew.

The core knows none of the capabilities. One that is not core is a module of its own; it
implements the protocols of the seams that it needs, and adds parts to the scripts that run
there (`lua/parts/`). A queue that does not use it runs the plain scripts.

    enqueue   durability, idempotency, gate
    settle    progress, cancellation, gate, cron
    maintain  event feed, heartbeat, cancellation, gate, cron
    renew     progress, heartbeat, cancellation
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flowd.broker.commands import EnqueueCommand
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import ServerError

__all__ = [
    "Confirmation",
    "EnqueueCall",
    "EnqueueExtension",
    "MaintainExtension",
    "RenewExtension",
    "SettleExtension",
    "parts_of",
]


class EnqueueExtension(Protocol):
    """A capability that changes how jobs are stored."""

    def on_enqueue(self, call: EnqueueCall) -> EnqueueCall:
        """What is done instead of `call`; the same if it does not concern this capability."""
        ...


class Confirmation(Protocol):
    """What is confirmed of jobs before their call returns."""

    async def check(self) -> None:
        """Ask whether it can be confirmed at all, before anything is stored.

        Raises:
            ServerError: it cannot; nothing is stored then.
        """
        ...

    async def confirm(self, stored: Sequence[str]) -> None:
        """Return when it is confirmed for these job ids.

        Raises:
            ServerError: it is not; the jobs are stored.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueCall:
    """One call that stores jobs of one stream; it may be sent several times."""

    stream: Stream
    jobs: Sequence[EnqueueCommand]
    entries: Sequence[Mapping[bytes, bytes]] = ()
    """The fields of jobs that are only appended; then there are no `jobs`."""

    lasts: float
    """Seconds that its tries may take together."""

    parts: tuple[Part, ...] = ()
    """Of the script that stores them."""

    repeatable: bool = False
    """Whether the server recognizes what an earlier try has stored."""

    confirmation: Confirmation | None = None

    async def send(self) -> list[str | ServerError]:
        """Store the jobs: one try; as `Stream.enqueue`.

        Raises:
            ServerError: as `Stream.enqueue`, or of the confirmation.
        """
        if self.confirmation is None:
            return await self._store()
        await self.confirmation.check()
        results = await self._store()
        stored = [result for result in results if isinstance(result, str)]
        if stored:
            await self.confirmation.confirm(stored)
        return results

    async def _store(self) -> list[str | ServerError]:
        if self.entries:
            return await self.stream.append(self.entries)
        return await self.stream.enqueue(self.jobs, self.parts)


class SettleExtension(Protocol):
    """A capability that changes something in the step that ends a delivery."""

    def settle_part(self) -> Part | None:
        """Its part of the script; None: it has nothing to do in this queue so far."""
        ...


class MaintainExtension(Protocol):
    """A capability that needs something done every few seconds, by one worker or another."""

    def maintain_part(self) -> Part:
        """Its part of the script, which adds one number to the reply."""
        ...

    def maintained(self, answer: int) -> None:
        """Take the answer of its part."""
        ...


class RenewExtension(Protocol):
    """A capability that follows what runs; asked in the lease thread."""

    def renew_part(self) -> Part | None:
        """Its part of the script; None: it has nothing to do in this queue so far."""
        ...


def parts_of(answers: Iterable[Part | None]) -> list[Part]:
    """The parts of those capabilities that have one now."""
    return [part for part in answers if part is not None]
