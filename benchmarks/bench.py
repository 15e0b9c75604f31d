"""`make bench`: flowd, raw redis-py and the other job systems for Python, side by side.

Every round measures all of them one after the other, each on a server of its own, so that
what disturbs the machine disturbs all. Figures are medians of the rounds; a ratio in
brackets is to raw redis-py in the same round. With `--docs` the tables go into
`docs/performance.md`; they and all single values go to `.bench/bench.json` in any case.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.generate import SCHEMAS, generate
from benchmarks.measure import FULL, MEASURES, SMALL, Figures, Size
from benchmarks.peer import Failed, Peer
from benchmarks.policies import KEYS, POLICIES
from benchmarks.servers import Probe, running
from benchmarks.table import FLOOR, Column, compare, markdown, median, replace

__all__ = ["machine", "main", "note"]

_ROOT: Final = Path(__file__).parents[1]

_TABLES: Final = {
    "What a job costs": (
        Column("cpu", "worker CPU, s per 1,000 jobs", 4, ratio=True),
        Column("server_cpu", "server CPU, s per 1,000 jobs", 4, ratio=True),
        Column("enqueue_commands", "commands to enqueue", 3),
        Column("work_commands", "commands to work", 3),
        Column("left", "bytes left", 0),
    ),
    "What a job costs that comes alone": (
        Column("single_cpu", "worker CPU, s per 1,000 jobs", 4, ratio=True),
        Column("single_server_cpu", "server CPU, s per 1,000 jobs", 4, ratio=True),
    ),
    "How many a second": (
        Column("drain100", "drain, concurrency 100", ratio=True),
        Column("drain10", "drain, concurrency 10", ratio=True),
        Column("produce", "enqueue, one at a time", ratio=True),
        Column("together", "enqueue, 50 at a time", ratio=True),
        Column("bulk", "enqueue in bulk", ratio=True),
    ),
    "How soon, and what waiting costs": (
        Column("median", "enqueue to handler, median, ms", 2, ratio=True),
        Column("p99", "99 %, ms", 2, ratio=True),
        Column("idle_rss", "idle worker, MB", 1),
        Column("idle_cpu", "CPU, %", 2),
        Column("idle_commands", "commands/s", 1),
        Column("import", "import, ms", 0, ratio=True),
    ),
}

_FLOWD: Final = "flowd"

_GATED: Final = (
    Column("drain100", "drain, concurrency 100", ratio=True),
    Column("server_cpu", "server CPU to work, s per 1,000 jobs", 4, ratio=True),
    Column("fill_cpu", "server CPU to enqueue in bulk", 4, ratio=True),
    Column("cpu", "worker CPU", 4, ratio=True),
)

_GUARANTEES: Final = {
    "survives_kill": "survives kill -9",
    "acked_after": "ack after the run",
    "retries": "retries",
    "timeout": "timeout",
    "deliveries": "deliveries limited",
    "dead_letters": "dead letters",
}


class _Bench:
    """The peers, what they are, and the rounds so far."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self.server = ""
        self.about: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self.rounds: list[dict[str, Figures]] = []
        self._peers: list[Peer] = []
        self._gated: list[Peer] = []

    def prepare(self, peers: Sequence[Peer]) -> None:
        """Install each and ask what it is; who cannot be installed is out."""
        for peer in peers:
            note(f"{peer.name} ...")
            try:
                peer.install()
                with running() as server:
                    self.server = server.name
                    self.about[peer.name] = peer.ask(server.url, "about")
            except Failed as error:
                self.failures[peer.name] = str(error)
            else:
                self._peers.append(peer)
                if peer.name == _FLOWD:
                    self._gated = [Peer(_FLOWD, policy) for policy in POLICIES]

    def round(self) -> None:
        """Measure every peer once."""
        figures: dict[str, Figures] = {}
        for peer in self._peers:
            figures[peer.name] = self._measure_all(peer, MEASURES)
            if peer.name == _FLOWD:
                for gated in self._gated:
                    figures[gated.name] = self._measure_all(gated, ("drain at 100",))
        self.rounds.append(figures)

    def _measure_all(self, peer: Peer, names: Iterable[str]) -> Figures:
        note(f"round {len(self.rounds) + 1}: {peer.name} ...")
        figures: Figures = {}
        with running() as server:
            for name in names:
                server.client.flushall()
                figures |= self._measure(name, peer, server)
        return figures

    def _measure(self, name: str, peer: Peer, server: Probe) -> Figures:
        """One measurement; none if it has failed before, or hardly varies."""
        key = f"{peer.name}, {name}"
        if key in self.failures or (name == "idle" and self.rounds):
            return {}
        try:
            return MEASURES[name](peer, server, self._size)
        except Failed as error:
            self.failures[key] = str(error)
            return {}

    def report(self) -> str:
        """The tables and what is to be known about them."""
        names = sorted((peer.name for peer in self._peers), key=self._order)
        versions = dict.fromkeys(
            f"{package} {number}"
            for about in self.about.values()
            for package, number in about["versions"].items()
        )
        head = (
            f"{time.strftime('%Y-%m-%d')}, {machine()}, {self.server} on the same "
            f"machine, without persistence. Medians of {len(self.rounds)} rounds{self._ratios(names)}."
            f" Versions: {', '.join(versions)}."
        )
        parts = [head]
        for title, columns in _TABLES.items():
            parts.append(f"### {title}\n\n{compare(self.rounds, names, columns)}")
        if self._gated:
            parts.append(self._policies())
        rows = [["", *_GUARANTEES.values()]]
        for name in names:
            held = self.about[name]["guarantees"]
            rows.append([name, *("yes" if held[key] else "-" for key in _GUARANTEES)])
        parts.append(f"### What is guaranteed\n\n{markdown(rows)}")
        new, same = generate(SCHEMAS)
        parts.append(
            f"`flowd-gen` writes {SCHEMAS} modules of ten fields in "
            f"{new / SCHEMAS:.3f} s each, black included, and finds in {same:.2f} s that "
            "nothing has changed."
        )
        for name, failure in self.failures.items():
            parts.append(f"Failed: {name}: `{failure}`")
        return "\n\n".join(parts)

    def _ratios(self, names: Sequence[str]) -> str:
        """What the brackets are, or what is missing for them."""
        if FLOOR in names:
            return "; in brackets the ratio to raw redis-py"
        return f"; ratios to raw redis-py need it among the peers (`PEERS={FLOOR},...`)"

    def _policies(self) -> str:
        """The rows of queues with policies, as ratios to the plain queue of the same round."""
        names = [_FLOWD, *(peer.name for peer in self._gated)]
        table = compare(self.rounds, names, _GATED, floor=_FLOWD)
        return (
            f"### What policies cost\n\n`unique` by a key of each job's own, the others over"
            f" {KEYS} keys; in brackets the ratio to the plain queue in the same round.\n\n{table}"
        )

    def _order(self, name: str) -> tuple[bool, bool, float]:
        """The floor, flowd, and the others by what a job costs them."""
        cpu = median(self.rounds, lambda each: each[name]["cpu"])
        return name != FLOOR, name != "flowd", math.inf if cpu is None else cpu


def machine() -> str:
    """The machine and the Python that everything runs on."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ")[1] for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} x {cpu}, Python {platform.python_version()}"


def note(text: str) -> None:
    """Say how far it is, apart from what is measured."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Install, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--small", action="store_true", help="a fast check of the bench"
    )
    parser.add_argument("--peers", help="only these, as raw,flowd,taskiq")
    parser.add_argument("--docs", action="store_true", help="write the page")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    peers = list(Peer.every())
    if options.peers:
        known = {peer.name: peer for peer in peers}
        names = options.peers.split(",")
        if unknown := set(names) - set(known):
            parser.error(f"no peer {min(unknown)}; there are {', '.join(known)}")
        peers = [known[name] for name in names]
        if _FLOWD not in names:
            note(f"queues with policies are measured where {_FLOWD} is among the peers")
    bench = _Bench(SMALL if options.small else FULL)
    bench.prepare(peers)
    for _ in range(options.rounds):
        bench.round()
    print(report := bench.report())
    if options.docs:
        replace(_ROOT / "docs" / "performance.md", "make bench", report)
    record = {"report": report, "about": bench.about, "rounds": bench.rounds}
    (_ROOT / ".bench").mkdir(exist_ok=True)
    path = _ROOT / ".bench" / "bench.json"
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
