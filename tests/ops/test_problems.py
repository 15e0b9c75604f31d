"""What is wrong with a queue is said in words, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flowd.broker.control import PAUSED_AT
from flowd.ops import ConsumerView, Delays
from flowd.ops.consumers import ConsumerState
from flowd.ops.problems import Known, find_problems
from flowd.ops.rows import GroupRow, Sizes

WORKER = ConsumerView(
    name="w",
    host=None,
    pid=None,
    state="working",
    silent=0.5,
    owned=2,
    slots=2,
    lease=30.0,
    started_at=None,
    flowd="",
    job="",
    version=1,
    runs=(),
)


def worker(state: ConsumerState, owned: int = 0) -> ConsumerView:
    """One in this state."""
    return replace(WORKER, state=state, owned=owned)


def problems(
    *consumers: ConsumerView,
    waiting: int = 0,
    oldest: float | None = None,
    next_due: float | None = None,
    dead: int = 0,
    delays: Delays | None = None,
    silences: Sequence[float] = (),
    paused: float | None = None,
    last_id: str = "",
) -> list[tuple[str, str]]:
    """Level and text of those of a queue that holds nothing else."""
    running = sum(each.owned for each in consumers)
    own = GroupRow("g", running, None, None, last_id)
    known = Known(
        stream="s",
        group="g",
        sizes=Sizes(waiting + running, waiting, running, 0, dead, own=own),
        waiting=waiting,
        oldest=oldest,
        next_due=next_due,
        delays=delays or Delays(),
        paused=paused,
        consumers=consumers,
        silences=silences,
        lease=30.0,
    )
    return [(each.level, each.text) for each in find_problems(known)]


def test_queue_that_works_has_no_problem() -> None:
    """Jobs that wait a moment, retries and an idle queue are none."""
    assert problems() == []
    calm = Delays(retrying=3, scheduled=4)
    assert problems(WORKER, waiting=9, oldest=50.0, next_due=-1.0, delays=calm) == []


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (problems(waiting=1, oldest=0.1), "wrong", "no worker reads what waits: 1 job"),
        (
            problems(worker("stuck"), waiting=2, oldest=0.1),
            "wrong",
            "no worker reads what waits: 2 jobs",
        ),
        (
            problems(WORKER, next_due=-31.0),
            "wrong",
            "its first delayed job has been due for 31 s",
        ),
        (
            problems(WORKER, worker("dead", 3)),
            "warn",
            "3 jobs of dead workers, to be taken over: w",
        ),
        (
            problems(WORKER, worker("dead", 3), silences=[301.0, 29.0]),
            "wrong",
            "abandoned for up to 301 s, and no worker claims them: 1 job or more",
        ),
        (
            problems(WORKER, worker("dead")),
            "warn",
            "1 worker died, or cannot reach Redis: w",
        ),
        (
            problems(WORKER, paused=5.0),
            "note",
            "it has been paused for 5 s: no worker takes a job",
        ),
        (
            problems(WORKER, last_id=PAUSED_AT),
            "wrong",
            "its group stands behind every entry, so no worker gets a job",
        ),
        (
            problems(WORKER, worker("stuck", 1)),
            "warn",
            "1 handler did not end when cancelled",
        ),
        (
            problems(WORKER, waiting=1, oldest=61.0),
            "warn",
            "jobs wait for longer than a minute, and every slot is in use",
        ),
        (
            problems(worker("idle"), waiting=1, oldest=61.0),
            "warn",
            "jobs wait for longer than a minute",
        ),
        (
            problems(WORKER, delays=Delays(newer_version=1)),
            "warn",
            "1 job waits for workers with newer classes",
        ),
        (problems(WORKER, dead=2), "warn", "2 dead letters"),
    ],
)
def test_problem_is_named(found: list[tuple[str, str]], level: str, text: str) -> None:
    """Each in one line of its own, and each once."""
    assert found == [(level, text)]


def test_worst_problem_comes_first() -> None:
    """Then warnings, then what is only to be known."""
    bad = problems(waiting=1, oldest=1.0, dead=5, paused=9.0)
    assert [level for level, _ in bad] == ["wrong", "warn", "note"]


def test_paused_queue_is_not_slow() -> None:
    """Its jobs wait because it was paused, and that is said."""
    assert problems(WORKER, waiting=1, oldest=61.0, paused=61.0) == problems(
        WORKER, paused=61.0
    )
