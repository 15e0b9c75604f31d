"""One port for all children: `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from flowd.cli.listen import metrics_page, serving, verdict
from flowd.cli.processes import sums
from flowd.cli.processes.child import Child
from flowd.cli.processes.messages import Family
from flowd.cli.processes.supervisor import Slot, Supervisor
from flowd.metrics.http import Page

__all__ = ["serving_for_all"]

_PROBE: Final = 2.0
_COUNTED: Final = 1.0
_QUEUES: Final = 3.0


@asynccontextmanager
async def serving_for_all(
    supervisor: Supervisor, host: str, port: int
) -> AsyncGenerator[None]:
    """Serve the pages of all children of a supervisor that does not run yet.

    Raises:
        UsageError: the process cannot listen there.
    """
    pages = _Pages(supervisor)
    supervisor.on_end = pages.account
    by_path = {
        "/metrics": pages.metrics,
        "/healthz": pages.live,
        "/readyz": pages.ready,
    }
    async with serving(by_path, host, port):
        yield


class _Pages:
    """What is asked about children, and what those that have ended have counted."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._ended: Sequence[Family] = ()

    def account(self, child: Child) -> None:
        """Keep what a child that has ended counted: no sum may fall."""
        self._ended = sums.added([(None, self._ended), (None, child.counted)])

    async def metrics(self) -> Page:
        """What all have counted, and what the queues hold, once."""
        live = sorted(self._supervisor.live, key=lambda child: child.began)
        ask = (child.ask(within=_COUNTED, counted=True) for child in live)
        answers = await asyncio.gather(*ask)
        # Of those that run still: what has ended meanwhile is in the other sum.
        current = {slot.child: str(slot.number) for slot in self._supervisor.slots}
        counted: list[sums.Part] = [(None, self._ended)]
        counted += [
            (current.get(child), child.counted)
            for child in live
            if child in self._supervisor.live
        ]
        body = sums.exposed(sums.added(counted))
        answering = [
            child for child, answer in zip(live, answers, strict=True) if answer
        ]
        body += sums.exposed(await _queues(answering))
        return metrics_page(body)

    async def live(self) -> Page:
        """200 if the event loop of every child that has begun to run answers."""
        children = [each for each in self._supervisor.live if each.loaded]
        answers = await asyncio.gather(*(each.ask(within=_PROBE) for each in children))
        return verdict(
            [
                f"{child}: its event loop does not answer"
                for child, answer in zip(children, answers, strict=True)
                if answer is None and not child.ended.done()
            ]
        )

    async def ready(self) -> Page:
        """200 if every place has a child that is ready."""
        slots = self._supervisor.slots
        found = await asyncio.gather(*(_why_not_ready(each) for each in slots))
        return verdict([why for each in found for why in each])


async def _why_not_ready(slot: Slot) -> list[str]:
    child = slot.child
    if child is None:
        return [f"process {slot.number}: it does not run"]
    if not child.loaded:
        return [f"{child}: it starts"]
    answer = await child.ask(within=_PROBE)
    if answer is None:
        return [f"{child}: it does not answer"]
    return [f"{child}: {why}" for why in answer.get("failing", ["it starts"])]


async def _queues(children: Sequence[Child]) -> Sequence[Family]:
    """What queues hold, as the first says that answers in time."""
    try:
        async with asyncio.timeout(_QUEUES):
            for child in children:
                answer = await child.ask(within=_QUEUES, queues=True)
                if answer is not None and "queues" in answer:
                    return answer["queues"]
    except TimeoutError:
        pass
    return ()
