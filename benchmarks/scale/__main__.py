"""`make bench-scale`: what holds for a thousand jobs and still must for a million.

A small run checks the benchmark itself. The full one draws its pictures into `docs/`,
and puts its tables into `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.bench import machine, note
from benchmarks.measure import FULL, SMALL
from benchmarks.peer import environment
from benchmarks.scale.crowd import balance, spread
from benchmarks.scale.depth import depth
from benchmarks.scale.gated import by_keys, by_parked
from benchmarks.scale.promotion import promote, promote_alone
from benchmarks.servers import running
from benchmarks.table import markdown, replace

_ROOT: Final = Path(__file__).parents[2]
_PLOT: Final = Path(__file__).with_name("plot.py")

_DEPTH: Final = {
    "jobs": "jobs",
    "rate": "drain, jobs/s",
    "cpu": "worker CPU, s per 1,000",
    "server_cpu": "server CPU, s per 1,000",
    "stored": "bytes a job",
    "stats": "flowd stats, s",
    "dlq": "flowd dlq list, s",
}
_KEYS: Final = {"count": "keys", "keys": "server CPU, µs a job"}
_PARKED: Final = {"count": "parked jobs", "parked": "server CPU, µs a job"}
_PROMOTION: Final = {
    "rate": "jobs/s",
    "alone": "without PINGs",
    "script": "a script, ms",
    "slow_commands": "commands over 5 ms",
    "longest_event": "longest turn of the server over 5 ms, ms",
    "ping_p99": "PING meanwhile, 99 %, ms",
    "ping_worst": "worst, ms",
}
_SPREAD: Final = {
    "connections": "connections",
    "idle_rss": "idle, MB",
    "idle_cpu": "CPU, %",
    "idle_commands": "commands/s",
    "handled": "jobs then handled",
    "seconds": "in s",
}


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--small", action="store_true", help="a fast check of the bench"
    )
    parser.add_argument("--docs", action="store_true", help="write page and pictures")
    options = parser.parse_args()
    largest = 10_000 if options.small else 1_000_000
    sizes = [10**power for power in range(3, 7) if 10**power <= largest]
    note(f"queues of up to {largest:,} jobs ...")
    deep = [depth(jobs) for jobs in sizes]
    note(f"{largest:,} delayed jobs ...")
    # Every PING wakes the server up, so the rate is taken once more without.
    promoted = {**promote(largest), "alone": promote_alone(largest // 10)}
    note("queues with a limit ...")
    keys = [by_keys(10**power) for power in range(1, 6) if 10**power <= largest]
    parked = [by_parked(jobs) for jobs in sizes]
    note("20 workers ...")
    shares = balance(20, 1_000)
    note("64 queues ...")
    wide = spread(64, 10, SMALL if options.small else FULL)

    with running() as server:
        parts = [f"{time.strftime('%Y-%m-%d')}, {machine()}, {server.name}."]
    parts += [
        f"### Up to {largest:,} jobs in the queue",
        _table(_DEPTH, deep),
        "![CPU, memory and the commands by the length of the queue](scale-depth.png)",
        f"### {largest:,} delayed jobs, all due at once",
        _table(_PROMOTION, [promoted]),
        "### A queue with a limit of 1 for each key",
        "In the second table 100 keys, while so many jobs of another one are parked.",
        _table(_KEYS, keys),
        _table(_PARKED, parked),
        "### 1,000 jobs for 20 worker processes",
        f"Each ran {min(shares)} to {max(shares)} of them; 50 is its share.",
        "![How many jobs each worker ran](scale-balance.png)",
        "### 64 queues in one worker process",
        _table(_SPREAD, [wide]),
    ]
    report = "\n\n".join(parts)
    print(report)
    record = {"depth": deep, "promotion": promoted, "shares": shares, "spread": wide}
    record |= {"keys": keys, "parked": parked}
    folder = _ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    found = folder / "scale.json"
    found.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    if options.docs:
        folder = _ROOT / "docs"
        replace(folder / "performance.md", "make bench-scale", report)
    python = environment("plot", "matplotlib")
    subprocess.run((python, _PLOT, found, folder), check=True)


def _table(columns: Mapping[str, str], rows: Sequence[Mapping[str, float]]) -> str:
    cells = [[_number(row[key]) for key in columns] for row in rows]
    return markdown([list(columns.values()), *cells])


def _number(value: float) -> str:
    """With three digits that say something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
