"""`make chaos`: a minute of faults on real processes, and an account of every job.

Environment:
    FLOWD_CHAOS_SEED: of the plan (default: a new one, which is printed).
    FLOWD_CHAOS_SECONDS: how long things go wrong (default: 60).
    FLOWD_CHAOS_JOBS: how many there are (default: 4000).
    FLOWD_TEST_SERVER: as for the tests.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from flowd.embedded import Server
from tests.support.servers import chosen
from tests.system.chaos.figures import handed_back, restarted, taken_over
from tests.system.chaos.history import History
from tests.system.chaos.invariants import INVARIANTS
from tests.system.chaos.plan import FAULTS, LEASE, plan, wishes
from tests.system.chaos.play import Outcome, play

_SECONDS: Final = float(os.environ.get("FLOWD_CHAOS_SECONDS", "60"))
_JOBS: Final = int(os.environ.get("FLOWD_CHAOS_JOBS", "4000"))
_ROUNDS: Final = 7

_MOST_REPEATED: Final = 0.01
_MOST_INNOCENT: Final = 0.001

# What is aimed at, in seconds; the bound is five times as wide.
_GOALS: Final = {
    "taken over after a kill, beyond the lease": 0.5,
    "taken over after a shutdown": 0.5,
    "first job after the server answers again": 1.0,
}


def main() -> int:
    """Play, judge, measure and print; returns 1 if anything is not as promised."""
    seed = int(os.environ.get("FLOWD_CHAOS_SEED", random.randrange(1_000_000)))
    candidate = chosen()
    program = candidate.find()
    if program is None:
        print(f"{candidate.name}: {candidate.missing}")
        return 2
    print(f"FLOWD_CHAOS_SEED={seed}, server: {program}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="flowd-chaos-"))
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with Server(*options, binary=program) as server:
        outcome = play(
            server, folder, wishes(seed, _JOBS), plan(seed, _SECONDS, FAULTS), _SECONDS
        )
        broken = _account(outcome)
        broken += _measure(server)
    if broken:
        print(f"\nbroken; the evidence is in {folder}\n" + "\n".join(broken))
        return 1
    shutil.rmtree(folder)
    return 0


def _account(outcome: Outcome) -> list[str]:
    """Print what happened; returns what is wrong with it."""
    h = outcome.history
    reasons = Counter(why for all_ in h.left.dead.values() for why, _ in all_)
    print(
        f"{outcome.seconds:.0f} s of faults, then {outcome.draining:.0f} s of draining\n"
        f"faults: {_counted(outcome.faults)};"
        f" {outcome.suicides} workers were killed by their job\n"
        f"jobs: {len(h.accepted)}, of unknown outcome"
        f" {sum(each.id is None for each in h.accepted)};"
        f" dead letters: {_counted(reasons)}\n"
        f"leases lost: {h.count('lease_lost')}, settlements refused: {h.count('lost')}"
    )
    broken = _judge(h)
    repeated = [
        job_id
        for job_id, runs in h.runs.items()
        if sum(run.how == "ran" for run in runs) > 1
    ]
    innocent = outcome.innocent()
    for what, found, most in (
        ("ran more than once", repeated, _MOST_REPEATED),
        ("innocent among the dead letters", innocent, _MOST_INNOCENT),
    ):
        share = len(found) / len(h.accepted)
        print(f"{what}: {len(found)} ({share:.2%}, at most {most:.1%})")
        if share > most:
            broken += [f"{what}: {h.story(each)}" for each in found]
    return broken + [
        f"only {outcome.faults.get(kind, 0)} times {kind}"
        for kind, least in FAULTS.items()
        if outcome.faults.get(kind, 0) < least
    ]


def _judge(h: History) -> list[str]:
    """Print how often each invariant is broken; returns the stories."""
    broken: list[str] = []
    for rule in INVARIANTS:
        found = dict.fromkeys(rule(h))
        print(f"  {rule.__name__.replace('_', ' '):45} {len(found)} broken")
        law = (rule.__doc__ or "").partition("\n")[0]
        broken += [f"{rule.__name__}: {law}\n{h.story(each)}" for each in found]
    return broken


def _measure(server: Server) -> list[str]:
    """Print how long work stands still; returns what takes too long."""
    measured = (
        [taken_over(server, LEASE) for _ in range(_ROUNDS)],
        [handed_back(server) for _ in range(_ROUNDS)],
        [restarted(server) for _ in range(_ROUNDS)],
    )
    broken: list[str] = []
    for (what, goal), seconds in zip(_GOALS.items(), measured, strict=True):
        line = (
            f"{what}: median {statistics.median(seconds):.2f} s,"
            f" longest of {_ROUNDS} {max(seconds):.2f} s (goal {goal:g} s)"
        )
        print(line, flush=True)
        if max(seconds) > 5 * goal:
            broken.append(line)
    return broken


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
