"""Each invariant holds for an honest history, and is broken by the fault it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import pytest

from tests.system.chaos.history import Accepted, Ending, Fates, History, Left, history
from tests.system.chaos.invariants import INVARIANTS
from tests.system.chaos.plan import Wish
from tests.system.chaos.worker_pool import parse_notes

Dead: TypeAlias = Mapping[str, Sequence[tuple[str, dict[bytes, bytes]]]]

HONEST: Final = (
    "1 10.0 start a a-0 1 1",
    "1 10.1 raised a a-0 1 1",
    "1 10.2 said retry a-0 1 1",
    "2 11.0 start a a-0 2 2",
    "3 13.0 start a a-0 2 3",
    "3 13.1 ran a a-0 2 3",
    "3 13.2 said done a-0 2 3",
    "1 10.5 start b b-0 1 1",
    "1 10.6 raised b b-0 1 1",
    "1 10.7 said dead_letter b-0 1 1",
    "2 10.0 start c c-0 1 1",
    "2 10.1 cancelled c c-0 1 1",
    "2 10.2 said release c-0 1 1",
    "1 10.3 start c c-0 1 1",
    "1 10.4 ran c c-0 1 1",
    "1 10.5 said done c-0 1 1",
    # Process 4 is frozen while it runs the first, and before it starts the second.
    "4 10.0 start g g-0 1 1",
    "3 11.6 start g g-0 1 2",
    "3 11.7 ran g g-0 1 2",
    "3 11.8 said done g-0 1 2",
    "4 12.1 start h h-0 1 1",
    "3 12.2 start h h-0 1 2",
    "4 12.3 cancelled g g-0 1 1",
    "3 12.3 ran h h-0 1 2",
    "3 12.4 said done h-0 1 2",
    "4 12.5 cancelled h h-0 1 1",
)
DEAD: Final = {
    "b-0": [("rejected", Wish("b", "bad").fields | {b"_key": b"b"})],
    "d-0": [("undecodable", Wish("d", "").fields)],
}
ACCEPTED: Final = (
    Accepted(Wish("a", "flaky", delay=0.5), "a-0", 9.5),
    Accepted(Wish("b", "bad"), "b-0", 9.0),
    Accepted(Wish("c", "ok"), "c-0", 9.0),
    Accepted(Wish("d", "", keyed=False), "d-0", 9.0),
    Accepted(Wish("e", "ok", keyed=False), None, 9.0),
    Accepted(Wish("g", "slow"), "g-0", 9.0),
    Accepted(Wish("h", "slow"), "h-0", 9.0),
)
NONE: Final[Dead] = {}


def forge(
    *more: str,
    without: str = "nothing",
    accepted: Sequence[Accepted] = (),
    dead: Dead = NONE,
    left: tuple[int, int, int, int] = (0, 0, 0, 0),
    strangers: Sequence[str] = (),
    endings: Sequence[Ending] = (),
    stuck: Sequence[int] = (),
) -> History:
    """The honest history with some evidence more and some less."""
    honest = [line for line in HONEST if without not in line]
    return history(
        [*ACCEPTED, *accepted],
        parse_notes([*honest, *more]),
        Fates({2: 11.5}, {4: [12.0]}, [Ending(1, 0, 0.6), *endings], stuck),
        Left(*left, strangers, {**DEAD, **dead}),
    )


FORGED: Final = [
    ("i1_nothing_is_lost", forge(without="ran c"), "c-0"),
    ("i1_nothing_is_lost", forge("1 12.0 start e e-0 1 1"), "e-0"),
    ("i2_no_job_is_done_and_dead", forge("1 12.0 said done b-0 1 1"), "b-0"),
    ("i3_no_job_is_settled_twice", forge("1 12.0 said done c-0 1 1"), "c-0"),
    ("i3_no_job_is_settled_twice", forge("1 12.0 said retry a-0 1 1"), "a-0"),
    ("i3_no_job_is_settled_twice", forge(dead={"b-0": DEAD["b-0"] * 2}), "b-0"),
    ("i4_no_stale_delivery_settles", forge("2 14.0 said done a-0 2 2"), "a-0"),
    (
        "i4_no_stale_delivery_settles",
        forge("1 12.0 start c c-0 1 2", "2 12.1 said release c-0 1 1"),
        "c-0",
    ),
    ("i5_nothing_is_left", forge(left=(1, 0, 0, 0)), "1 entries in the stream"),
    ("i5_nothing_is_left", forge(left=(0, 1, 0, 0)), "1 pending entries"),
    ("i5_nothing_is_left", forge(left=(0, 0, 1, 0)), "1 delayed jobs"),
    ("i5_nothing_is_left", forge(left=(0, 0, 0, 1)), "1 bodies of delayed jobs"),
    ("i5_nothing_is_left", forge(strangers=["h-9-x"]), "1 dead consumers (h-9-x)"),
    (
        "i6_letters_hold_the_original",
        forge(dead={"d-0": [("undecodable", {b"to": b"d"})]}),
        "d-0",
    ),
    ("i7_what_is_enqueued_is_one_job", forge("1 12.0 start c c-1 1 1"), "c-1"),
    (
        "i7_what_is_enqueued_is_one_job",
        forge("1 12.0 start e e-0 1 1", "1 12.0 start e e-1 1 1"),
        "e-1",
    ),
    (
        "i8_no_job_starts_early",
        forge(
            "1 12.0 start f f-0 1 1",
            accepted=[Accepted(Wish("f", "ok", delay=3.0), "f-0", 9.1)],
        ),
        "f-0",
    ),
    (
        "i9_runs_overlap_only_after_a_lost_lease",
        forge("1 20.0 start k k-0 1 1", "2 20.7 start k k-0 1 2"),
        "k-0",
    ),
    (
        "i10_no_worker_runs_too_many",
        forge(*(f"7 20.{n} start k{n} k-{n} 1 1" for n in range(9))),
        "process 7",
    ),
    (
        "i11_workers_work_on_and_end_well",
        forge(endings=[Ending(5, 1, 0.0)]),
        "process 5 ended with 1 after 0.0 s",
    ),
    (
        "i11_workers_work_on_and_end_well",
        forge(endings=[Ending(5, 0, 9.0)]),
        "process 5 ended with 0 after 9.0 s",
    ),
    (
        "i11_workers_work_on_and_end_well",
        forge(stuck=[5]),
        "process 5 does not work on",
    ),
]


def test_an_honest_history_breaks_nothing() -> None:
    """Retries, takeovers, releases, letters and unknown outcomes are all allowed."""
    assert {rule.__name__: rule(forge()) for rule in INVARIANTS} == {
        rule.__name__: [] for rule in INVARIANTS
    }


@pytest.mark.parametrize(("name", "forged", "what"), FORGED)
def test_a_fault_is_found(name: str, forged: History, what: str) -> None:
    """The rule that it is for says which job, or what, is wrong."""
    (rule,) = [each for each in INVARIANTS if each.__name__ == name]
    assert what in rule(forged)


def test_every_invariant_can_be_broken() -> None:
    """There is no rule without a forged history that breaks it."""
    assert {name for name, *_ in FORGED} == {rule.__name__ for rule in INVARIANTS}


def test_a_story_is_in_order() -> None:
    """A person reads what happened to a job from its enqueueing to its end."""
    story = forge().story("a-0").splitlines()
    assert story[0] == "a-0:"
    assert [line.split()[1:3] for line in story[1:]] == [
        ["is", "enqueued:"],
        ["1", "starts"],
        ["1", "raised"],
        ["1", "says"],
        ["2", "starts"],
        ["2", "dies"],
        ["3", "starts"],
        ["3", "ran"],
        ["3", "says"],
    ]
    assert "is a dead letter: rejected" in forge().story("b-0")
