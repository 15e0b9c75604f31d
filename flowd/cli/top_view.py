"""What `flowd top` shows, drawn by Textual."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.widgets import Footer, RichLog, Static

from flowd.broker.connection import Connection
from flowd.broker.control import cancel_by_id, pause, resume
from flowd.broker.registry import QueueList
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.table import Cell, Table
from flowd.cli.tables import by_severity, queue_table, running_table, worker_table
from flowd.cli.top_widgets import Confirmation, Rows
from flowd.deadletter import DeadLetters
from flowd.errors import FatalError, FlowdError, ServerError
from flowd.model.job import Job
from flowd.model.keys import Keys
from flowd.model.text import count_of, printable
from flowd.ops.finding import Finding
from flowd.ops.overview import QueueView, overview
from flowd.ops.queries import Queries
from flowd.ops.tail import TailEvent, follow

__all__ = ["TopView"]

_RUNS: Final = 50
_FAILURES: Final = frozenset(
    {
        "dead_letter",
        "deleted",
        "lease_lost",
        "lost",
        "outage",
        "retry",
        "stuck",
        "takeover",
    }
)
_RED: Final = frozenset({"dead_letter", "deleted", "lease_lost", "lost", "stuck"})


class TopView(App[None]):
    """The terminal view of a server.

    Args:
        url: of the server; None: `FLOWD_URL`.
        every: seconds between two looks.
    """

    TITLE = "flowd"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "next table", show=False),
        Binding("c", "cancel", "cancel job"),
        Binding("r", "redrive", "redrive dead letters"),
        Binding("p", "pause", "pause or resume"),
        Binding("q,ctrl+c", "quit", "quit"),
    ]
    CSS = """
    #status { height: 1; background: $primary; color: $text; padding: 0 1; }
    DataTable { height: auto; max-height: 30%; padding: 0 1; }
    #running { max-height: 35%; }
    #failures { height: 1fr; min-height: 3; border-top: solid $primary; padding: 0 1; }
    """

    def __init__(self, url: str | None, every: float) -> None:
        super().__init__()
        self.failed: FlowdError | None = None
        """Why it ended, if it could not go on."""

        self.status = ""
        """The text of the first line."""

        self._url = url
        self._address = Address.of(url)
        self._every = every
        self._list = QueueList()
        self._queues: dict[str, QueueView] = {}
        self._settled: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, float] = {}
        self._followed = ""
        self._following: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def compose(self) -> ComposeResult:
        """A line on top, three tables, and the failures."""
        yield Static(id="status")
        for name in ("queues", "workers", "running"):
            yield Rows(name)
        yield RichLog(id="failures", max_lines=500, wrap=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._rows("queues").focus()
        self._start(self._look_on())

    async def on_unmount(self) -> None:
        """End all that was begun, and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look_on(self) -> None:
        # At the end the screen is gone before this is cancelled.
        with suppress(NoMatches):
            async with connected(self._address) as connection:
                await self._keep_looking(connection)

    async def _keep_looking(self, connection: Connection) -> None:
        while True:
            try:
                await self._look(connection)
            except FatalError as error:
                self.failed = error
                self.exit()
                return
            except ServerError as error:
                self._say(f"{error}; trying again", "bold red")
            await asyncio.sleep(self._every)

    async def _look(self, connection: Connection) -> None:
        seen = await overview(connection, runs=_RUNS, listed=self._list.queues)
        views = [each for each in seen if isinstance(each, QueueView)]
        faults = [each for each in seen if isinstance(each, ServerError)]
        for each in views:
            self._count(each)
        queues = by_severity([*views, *self._unseen(views)])
        self._queues = {_key(each): each for each in queues}
        self.show(queues)
        if faults:
            self._say(str(faults[0]), "bold red")
        elif self._list.is_old:
            self._say("the node that lists the queues is away", "bold red")

    def _unseen(self, seen: Sequence[QueueView]) -> list[QueueView]:
        """Queues that cannot be seen now, as they were: their rows and the cursor stay."""
        keys = {_key(each) for each in seen}
        why = Finding("wrong", "queue", "cannot be seen")
        return [
            dataclasses.replace(each, consumers=(), problems=(why,))
            for key, each in self._queues.items()
            if key not in keys and (each.stream, each.group) in self._list.places
        ]

    def _count(self, queue: QueueView) -> None:
        """How many deliveries end in a second; not on servers that do not count."""
        key = _key(queue)
        settled, now = queue.settled, time.monotonic()
        if settled is None:
            return
        before = self._settled.get(key)
        self._settled[key] = now, settled
        if before is not None and now > before[0]:
            self._rates[key] = max(0.0, (settled - before[1]) / (now - before[0]))

    def show(self, queues: Sequence[QueueView]) -> None:
        """Draw what was seen."""
        width = self.size.width - 4
        keys = [_key(each) for each in queues]
        table = _with_rates(
            _with_pauses(queue_table(queues), queues),
            [self._rates.get(key) for key in keys],
        )
        self._rows("queues").show(table, keys, width)
        for workers in worker_table(queues, place=True) or [Table(("no worker",), ())]:
            at = workers.head.index("consumer") if "consumer" in workers.head else 0
            keys = [f"{row[0]}\n{row[at]}" for row in workers.rows]
            self._rows("workers").show(workers, keys, width)
        running = running_table(queues, _RUNS)
        jobs = running[0] if running and isinstance(running[0], Table) else None
        shown = jobs if jobs is not None else Table(("no job runs",), ())
        keys = [f"{row[1]}\n{row[0]}" for row in shown.rows]
        self._rows("running").show(shown, keys, width)
        wrong = sum(bool(each.problems) for each in queues)
        total = sum(self._rates.values())
        self._say(
            f"flowd top  {self._address}  {count_of(len(queues), 'queue')},"
            f" {wrong} with problems  {total:,.1f} done/s"
        )
        self._follow_chosen()

    def action_cancel(self) -> None:
        """Ask, then cancel the chosen running job."""
        stream, _, job_id = self._rows("running").chosen.partition("\n")
        if not job_id:
            self.notify("no job runs")
            return
        queue = next(q for q in self._queues.values() if q.stream == stream)
        question = f"Cancel job {printable(job_id)} of {printable(stream)}?"
        self.push_screen(
            Confirmation(question),
            lambda yes: self._act(self._cancel(queue, job_id)) if yes else None,
        )

    def action_redrive(self) -> None:
        """Ask, then put the dead letters of the chosen queue back into its stream."""
        queue = self._queues.get(self._rows("queues").chosen)
        if queue is None or not queue.dead:
            self.notify("the chosen queue has no dead letters")
            return
        letters = count_of(queue.dead, "dead letter")
        question = f"Redrive {letters} of {printable(queue.stream)}?"
        self.push_screen(
            Confirmation(question),
            lambda yes: self._act(self._redrive(queue)) if yes else None,
        )

    def action_pause(self) -> None:
        """Ask, then pause the chosen queue, or resume it."""
        queue = self._queues.get(self._rows("queues").chosen)
        if queue is None:
            self.notify("there is no queue")
            return
        verb = "Pause" if queue.paused is None else "Resume"
        self.push_screen(
            Confirmation(f"{verb} {printable(queue.stream)}?"),
            lambda yes: self._act(self._pause(queue)) if yes else None,
        )

    async def _pause(self, queue: QueueView) -> str:
        paused = queue.paused is None
        async with connected(self._address) as connection:
            stream = Queries(connection, queue.stream, queue.group).stream
            changed = await (pause(stream) if paused else resume(stream))
        what = "paused" if paused else "resumed"
        return f"{printable(queue.stream)} {'is' if changed else 'was already'} {what}"

    async def _cancel(self, queue: QueueView, job_id: str) -> str:
        async with connected(self._address) as connection:
            queries = Queries(connection, queue.stream, queue.group)
            found = await cancel_by_id(queries.stream, job_id)
        return f"job {printable(job_id)}: {found.replace('_', ' ')}"

    async def _redrive(self, queue: QueueView) -> str:
        letters: DeadLetters[Job] = DeadLetters(
            None, self._url, stream=queue.stream, group=queue.group
        )
        async with letters:
            moved = await letters.redrive_all()
        return f"{count_of(moved, 'job')} put back into {printable(queue.stream)}"

    def _act(self, action: Coroutine[object, object, str]) -> None:
        """Do what was confirmed, and show how it went."""

        async def act() -> None:
            try:
                self.notify(await action)
            except FlowdError as error:
                self.notify(printable(str(error)), severity="error", timeout=15.0)

        self._start(act())

    def _follow_chosen(self) -> None:
        """Follow the failures of the queue under the cursor, and of no other."""
        key = self._rows("queues").chosen
        if key == self._followed or key not in self._queues:
            return
        self._followed = key
        queue = self._queues[key]
        if self._following is not None:
            self._following.cancel()
        failures = self.query_one("#failures", RichLog)
        failures.clear()
        name = printable(queue.stream)
        failures.write(Text(f"failures of {name} from now on", "dim"))
        self._following = self._start(self._follow(queue))

    async def _follow(self, queue: QueueView) -> None:
        channel = Keys(queue.stream, queue.group).tail
        failures = self.query_one("#failures", RichLog)

        def lost(why: str) -> None:
            failures.write(Text(printable(why), "red"))

        try:
            async with aclosing(follow(self._address, channel, lost)) as events:
                async for event in events:
                    if event.event in _FAILURES:
                        failures.write(_line(event))
        except FatalError as error:  # without the right to subscribe the rest is shown
            lost(str(error))

    def _rows(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)

    def _say(self, text: str, style: str = "") -> None:
        self.status = printable(text)
        self.query_one("#status", Static).update(Text(self.status, style))


def _key(queue: QueueView) -> str:
    return f"{queue.stream}\n{queue.group}"


def _with_pauses(table: Table, queues: Sequence[QueueView]) -> Table:
    """The table with a word of each paused queue, in front of its problem."""
    at = [*table.head].index("problem")
    rows = [
        row if queue.paused is None else [*row[:at], _paused(row[at]), *row[at + 1 :]]
        for row, queue in zip(table.rows, queues, strict=True)
    ]
    return dataclasses.replace(table, rows=rows)


def _paused(problem: str) -> Cell:
    style = problem.style if isinstance(problem, Cell) else ""
    return Cell(f"paused, {problem}" if problem else "paused", style or "yellow")


def _with_rates(table: Table, rates: Sequence[float | None]) -> Table:
    """The table with how many jobs end in a second, behind the running ones."""
    at = [*table.head].index("running") + 1
    rows = [
        [*row[:at], "-" if rate is None else f"{rate:,.1f}", *row[at:]]
        for row, rate in zip(table.rows, rates, strict=True)
    ]
    return dataclasses.replace(
        table,
        head=[*table.head[:at], "done/s", *table.head[at:]],
        rows=rows,
        right={*table.right, "done/s"},
    )


def _line(event: TailEvent) -> Text:
    job = f"{printable(event.job)} attempt {event.attempt} " if event.job else ""
    style = "red" if event.event in _RED else "yellow"
    return Text(f"{event.at:%H:%M:%S} {job}{printable(event.text)}", style)
