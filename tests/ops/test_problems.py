"""What is wrong with a queue is said in words, the worst first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowd.ops import ConsumerView, Delays
from flowd.ops.consumers import ConsumerState
from flowd.ops.finding import Finding, severity, worst_level
from flowd.ops.problems import find_problems

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
) -> tuple[Finding, ...]:
    """Those of a queue that holds nothing else."""
    return find_problems(
        waiting=waiting,
        oldest=oldest,
        next_due=next_due,
        dead=dead,
        delays=delays or Delays(),
        consumers=consumers,
    )


def test_queue_that_works_has_no_problem() -> None:
    """Jobs that wait a moment, retries and an idle queue are none."""
    assert problems() == ()
    calm = Delays(retrying=3, scheduled=4)
    assert problems(WORKER, waiting=9, oldest=50.0, next_due=-1.0, delays=calm) == ()


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (problems(waiting=1, oldest=0.1), "wrong", "no worker reads what waits"),
        (
            problems(worker("dead"), waiting=1, oldest=0.1),
            "wrong",
            "no worker reads what waits",
        ),
        (problems(next_due=-31.0), "wrong", "no worker promotes delayed jobs"),
        (problems(WORKER, next_due=-31.0), "wrong", "delayed jobs are overdue"),
        (
            problems(WORKER, worker("dead", 3)),
            "warn",
            "3 jobs of dead workers, to be taken over",
        ),
        (
            problems(WORKER, worker("dead")),
            "warn",
            "1 worker died, or cannot reach Redis",
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
        (problems(WORKER, dead=2), "note", "2 dead letters"),
    ],
)
def test_problem_is_named(found: tuple[Finding, ...], level: str, text: str) -> None:
    """Each in one line of its own."""
    assert [(each.level, each.text) for each in found[:1]] == [(level, text)]


def test_worst_problem_comes_first() -> None:
    """And decides where the queue is listed."""
    bad = problems(waiting=1, oldest=1.0, dead=5)
    assert [each.level for each in bad] == ["wrong", "note"]
    dead, calm = problems(dead=1), problems()
    first, second, last = (severity(worst_level(each)) for each in (bad, dead, calm))
    assert first < second < last
