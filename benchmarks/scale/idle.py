"""`make bench-idle`: many worker processes with many queues, of which none has a job.

Prints how many connections the server has of them, how many commands a second they send, not
counting those inside scripts, and what of a core the server takes for it.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Final

from benchmarks.bench import note
from benchmarks.peer import Program
from benchmarks.scale.crowd import until, worker
from benchmarks.servers import Probe, running
from tests.support.monitor import Monitor

_AT_ONCE: Final = 5
_SETTLING: Final = 10.0
_WATCHED: Final = 10.0


def idle(processes: int, queues: int) -> dict[str, float]:
    """The figures of so many processes with so many queues each.

    Raises:
        Failed: a worker broke.
    """
    with running() as server, ExitStack() as stack:
        before = _clients(server, "connected_clients")
        workers: list[Program] = []
        while len(workers) < processes:
            count = min(_AT_ONCE, processes - len(workers))
            some = [
                stack.enter_context(worker(server, queues, concurrency=10, pause=0.0))
                for _ in range(count)
            ]
            for each in some:
                each.answer()
            workers += some
            note(f"{len(workers)} processes ...")
        until(lambda: _clients(server, "blocked_clients") == processes)
        time.sleep(_SETTLING)
        began, used = time.monotonic(), server.cpu()
        with Monitor(server.url) as monitor:
            time.sleep(_WATCHED)
            sent = monitor.sent().total()
        took = time.monotonic() - began
        for each in workers:
            each.check()
        return {
            "processes": processes,
            "queues in each": queues,
            "connections": _clients(server, "connected_clients") - before,
            "commands/s": sent / _WATCHED,
            "server CPU with MONITOR, %": (server.cpu() - used) / took * 100,
        }


def _clients(server: Probe, what: str) -> int:
    number: int = server.client.info("clients")[what]
    return number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--queues", type=int, default=64)
    options = parser.parse_args()
    for name, value in idle(options.processes, options.queues).items():
        print(f"{name}: {value:,.3g}")


if __name__ == "__main__":
    main()
