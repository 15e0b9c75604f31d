"""Faults of nodes and of workers on a cluster or behind sentinels; every job accounted for.

    python -m tests.system.chaos.nodes cluster|sentinel [--seconds N] [--seed N] [--runs N]
                                       [--min-replicas N] [--verbose]

Ends with 1 if a promise is broken, and prints the seed and the history of the jobs.
`FLOWD_TEST_SERVER` chooses the server, as for the tests.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.servers import chosen
from tests.system.chaos.nodes.figures import Cost, costs, table, too_long
from tests.system.chaos.nodes.play import PLACES, play
from tests.system.chaos.nodes.verdict import judge


def main() -> int:
    """Play so many runs, judge each, and print what they have cost."""
    asked = _arguments()
    candidate = chosen()
    program = candidate.find()
    if program is None:
        print(f"{candidate.name}: {candidate.missing}")
        return 2
    total: list[Cost] = []
    broken: list[str] = []
    for seed in range(asked.seed, asked.seed + asked.runs):
        again = f"{asked.place} --seed {seed} --seconds {asked.seconds / asked.runs:g}"
        print(
            f"{again} --min-replicas {asked.min_replicas}, server: {program}",
            flush=True,
        )
        folder = Path(tempfile.mkdtemp(prefix="flowd-chaos-"))
        with PLACES[asked.place](program, asked.min_replicas) as place:
            h = play(place, folder, seed, asked.seconds / asked.runs)
        mine = costs(h)
        total += mine
        wrong = judge(h, verbose=asked.verbose)
        if asked.verbose:
            print(*(f"{each.kind}: {each.where}" for each in mine), sep="\n")
        if wrong or asked.verbose:
            broken += (
                [f"seed {seed}; the evidence is in {folder}", *wrong] if wrong else []
            )
        else:
            shutil.rmtree(folder)
    broken += too_long(total)
    print(table(total))
    if broken:
        print("\nbroken:\n" + "\n".join(broken))
    return bool(broken)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos.nodes")
    parser.add_argument("place", choices=PLACES)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of all runs together"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--runs", type=int, default=1, help="each with the next seed")
    parser.add_argument("--min-replicas", type=int, default=0)
    parser.add_argument(
        "--verbose", action="store_true", help="say what was taken back, and each pause"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
