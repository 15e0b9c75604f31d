"""Hurts workers, connections and the server, as a plan says, and replaces the dead."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from flowd.embedded import Server
from tests.support.raw import Raw
from tests.system.chaos.history import Ending
from tests.system.chaos.plan import Fault
from tests.system.chaos.worker_pool import WorkerPool, pause, resume

__all__ = ["FaultInjector", "WorkerFaults"]

_STEP = 0.01
_PATIENCE = 30.0


class WorkerFaults:
    """Causes faults of the workers of a pool.

    Args:
        pool: without workers so far.
        workers: how many there are to be.
        spared: how many of them are never hurt.

    Attributes:
        done: how often it did what.
        died: when each process that is gone was seen to have ended, by pid.
        thawed: when each process that was frozen went on, by pid.
        suicides: how many ended without its help.
        endings: of those that were not killed.
    """

    def __init__(self, pool: WorkerPool, workers: int, *, spared: int = 0) -> None:
        self.done: Counter[str] = Counter()
        self.died: dict[int, float] = {}
        self.thawed: defaultdict[int, list[float]] = defaultdict(list)
        self.suicides = 0
        self.endings: list[Ending] = []
        self._pool = pool
        self._spared = spared
        self._frozen: dict[subprocess.Popen[bytes], float] = {}
        self._terminated: dict[subprocess.Popen[bytes], float] = {}
        self._killed: set[subprocess.Popen[bytes]] = set()
        for _ in range(workers):
            pool.call()

    def play(self, faults: Sequence[Fault]) -> None:
        """Do all of it, each at its time or as soon after as it can be done."""
        began = time.monotonic()
        for fault in faults:
            while time.monotonic() < began + fault.at or not self._do(fault):
                self.step()
            self.done[fault.kind] += 1
        while self._lasts():
            self.step()

    def step(self) -> None:
        """Undo what has lasted long enough, replace who has ended, wait a moment."""
        now = time.monotonic()
        for worker in [each for each, until in self._frozen.items() if until <= now]:
            del self._frozen[worker]
            self.thawed[worker.pid].append(time.time())
            resume(worker)
        for worker in [each for each in self._pool.workers if each.poll() is not None]:
            self._bury(worker)
            self._pool.call()
        time.sleep(_STEP)

    def dismiss(self) -> None:
        """Terminate every worker, and wait for it."""
        for worker in self._pool.workers:
            self._terminate(worker)
        deadline = time.monotonic() + _PATIENCE
        while self._pool.workers and time.monotonic() < deadline:
            for worker in [w for w in self._pool.workers if w.poll() is not None]:
                self._bury(worker)
            time.sleep(_STEP)
        # Who is left is killed with the pool.
        self.endings += [Ending(w.pid, -1, _PATIENCE) for w in self._pool.workers]

    def _do(self, fault: Fault) -> bool:
        """Do it; False if there is no process to do it to right now."""
        able = [w for w in self._pool.workers[self._spared :] if self._is_able(w)]
        if able:
            self._hurt(able[fault.victim % len(able)], fault)
        return bool(able)

    def _lasts(self) -> bool:
        """Whether something is still to be undone."""
        return bool(self._frozen)

    def _hurt(self, worker: subprocess.Popen[bytes], fault: Fault) -> None:
        if fault.kind == "kill":
            self._killed.add(worker)
            worker.kill()
        elif fault.kind == "term":
            self._terminate(worker)
        else:
            self._frozen[worker] = time.monotonic() + fault.seconds
            pause(worker)

    def _terminate(self, worker: subprocess.Popen[bytes]) -> None:
        self._terminated[worker] = time.monotonic()
        worker.terminate()

    def _is_able(self, worker: subprocess.Popen[bytes]) -> bool:
        """Whether it works, and nothing is being done to it."""
        return (
            worker.poll() is None
            and worker not in self._frozen
            and worker not in self._terminated
            and self._pool.ready(worker)
        )

    def _bury(self, worker: subprocess.Popen[bytes]) -> None:
        self._pool.workers.remove(worker)
        self._frozen.pop(worker, None)
        self.died[worker.pid] = time.time()
        if worker in self._killed:
            return
        if worker.returncode == -signal.SIGKILL:
            self.suicides += 1  # also of one that got SIGTERM, and had a job to do
            return
        now = time.monotonic()
        seconds = now - self._terminated.get(worker, now)
        self.endings.append(Ending(worker.pid, worker.returncode, seconds))


class FaultInjector(WorkerFaults):
    """Causes faults of the workers of a pool and of their server."""

    def __init__(self, pool: WorkerPool, server: Server, workers: int) -> None:
        super().__init__(pool, workers)
        self._server = server
        self._down_until: float | None = None

    def step(self) -> None:
        """As `WorkerFaults.step`."""
        if self._down_until is not None and self._down_until <= time.monotonic():
            self._down_until = None
            self._server.start()
        super().step()

    def _do(self, fault: Fault) -> bool:
        if fault.kind in ("kill", "term", "freeze"):
            return super()._do(fault)
        if self._down_until is not None:
            return False
        if fault.kind == "server":
            self._server.kill()
            self._down_until = time.monotonic() + fault.seconds
            return True
        with Raw(self._server.url) as raw:
            if fault.kind == "clients":
                raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            else:
                raw("CLIENT", "PAUSE", int(fault.seconds * 1000))
        return True

    def _lasts(self) -> bool:
        return super()._lasts() or self._down_until is not None
