"""Each promise holds for an honest history, and is broken by what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from tests.system.chaos.history import Ending
from tests.system.chaos.nodes.feeder import Accepted
from tests.system.chaos.nodes.figures import costs, table, too_long
from tests.system.chaos.nodes.history import History, Letter, Workers, history
from tests.system.chaos.nodes.node_faults import NodeFault
from tests.system.chaos.nodes.promises import PROMISES
from tests.system.chaos.nodes.verdict import broken_promises, judge
from tests.system.chaos.worker_pool import parse_notes

HONEST: Final = (
    "1 10.0 start plain-0 a 1-0 1 1 k",
    "1 10.1 ran plain-0 a 1-0 1 1 k",
    "1 10.2 said done plain-0 1-0 1 1",
    "1 10.0 start plain-0 b 2-0 1 1 k",
    "1 10.1 raised plain-0 b 2-0 1 1 k",
    "1 10.2 said dead_letter plain-0 2-0 1 1",
    "1 10.3 start limit-0 l 1-0 1 1 k",
    "2 10.3 start limit-0 m 2-0 1 1 k",
    "1 10.5 ran limit-0 l 1-0 1 1 k",
    "2 10.5 ran limit-0 m 2-0 1 1 k",
    "2 10.6 said done limit-0 2-0 1 1",
    "1 10.0 start cron-0 cron:n:1970-01-01T00:00:10Z cron:n:1970-01-01T00:00:10Z 1 1 k",
    "1 11.0 start cron-0 cron:n:1970-01-01T00:00:11Z cron:n:1970-01-01T00:00:11Z 1 1 k",
    # A failover takes back that it is done.
    "1 20.0 start plain-0 d 4-0 1 1 k",
    "1 20.0 ran plain-0 d 4-0 1 1 k",
    "1 20.0 said done plain-0 4-0 1 1",
    "2 23.0 start plain-0 d 4-0 1 1 k",
    "2 23.1 ran plain-0 d 4-0 1 1 k",
    "2 23.2 said done plain-0 4-0 1 1",
    # A node that was frozen and replaced says late that it is done.
    "1 50.0 start plain-0 g 7-0 1 1 k",
    "1 50.1 ran plain-0 g 7-0 1 1 k",
    "2 52.0 start plain-0 g 7-0 1 2 k",
    "2 52.1 ran plain-0 g 7-0 1 2 k",
    "2 52.2 said done plain-0 7-0 1 2",
    "1 56.0 said done plain-0 7-0 1 1",
)
ACCEPTED: Final = (
    Accepted("plain-0", "a", "durable", "ok", "1-0", 9.0, 9.1),
    Accepted("plain-0", "b", "keyed", "bad", "2-0", 9.0, 9.1),
    Accepted("plain-0", "c", "once", "ok", None, 9.0, 9.1),
    Accepted("plain-0", "d", "durable", "ok", "4-0", 9.0, 9.1),
    # A failover takes the job back.
    Accepted("plain-0", "e", "keyed", "ok", "5-0", 20.0, 20.1),
    Accepted("limit-0", "m", "keyed", "ok", "2-0", 9.0, 9.1),
)
DEAD: Final = Letter("plain-0", "b", "2-0", "rejected")
KILL: Final = NodeFault(
    "kill -9 of a master", frozenset({"plain-0"}), 20.2, 25.0, [(20.2, 20.2)]
)
FREEZE: Final = NodeFault(
    "a master is frozen",
    frozenset({"plain-0"}),
    50.2,
    55.0,
    [(50.2, 50.2), (54.0, 54.0)],
)
TAKE: Final = NodeFault("TAKEOVER", frozenset({"cron-0"}), 11.0, 11.5, [(11.0, 11.5)])
MOVE: Final = NodeFault("a slot moved at once", frozenset({"plain-0"}), 40.0, 41.0, [])
ALL_WELL: Final[Mapping[str, int]] = {"entries of plain-0": 0}


def forge(
    *more: str,
    without: str = "nothing",
    accepted: Sequence[Accepted] = (),
    letters: Sequence[Letter] = (DEAD,),
    left: Mapping[str, int] = ALL_WELL,
    endings: Sequence[Ending] = (),
    stuck: Sequence[str] = (),
    faults: Sequence[NodeFault] = (KILL, MOVE, FREEZE),
) -> History:
    """The honest history with some evidence more and some less."""
    honest = [line for line in HONEST if without not in line]
    return history(
        [*ACCEPTED, *accepted],
        parse_notes([*honest, *more]),
        letters,
        Workers({}, [Ending(1, 0, 0.6), *endings], stuck),
        faults,
        left,
        12.0,
    )


FORGED: Final = [
    ("no_durable_job_is_lost", forge(without="ran plain-0 a")),
    (
        "no_durable_job_is_lost",
        forge(accepted=[Accepted("plain-0", "f", "durable", "ok", "6-0", 20.0, 20.1)]),
    ),
    (
        "no_accepted_job_is_lost",
        forge(accepted=[Accepted("plain-0", "f", "keyed", "ok", "6-0", 30.0, 30.1)]),
    ),
    (
        "no_accepted_job_is_lost",
        forge(accepted=[Accepted("plain-0", "f", "keyed", "ok", "6-0", 40.0, 40.1)]),
    ),
    (
        "no_accepted_job_is_lost",
        forge(accepted=[Accepted("limit-0", "f", "once", "ok", "6-0", 20.0, 20.1)]),
    ),
    ("no_job_is_settled_twice", forge("1 12.0 said done plain-0 1-0 1 1")),
    ("no_job_is_settled_twice", forge("1 20.1 said done plain-0 1-0 1 1")),
    ("no_job_is_settled_twice", forge("1 26.0 said done plain-0 4-0 1 1")),
    ("no_job_is_settled_twice", forge("2 56.0 said done plain-0 7-0 1 2")),
    ("no_job_is_settled_twice", forge("1 56.0 said done plain-0 1-0 1 1")),
    (
        "no_job_is_settled_twice",
        forge(*["1 12.0 said retry plain-0 1-0 1 1"] * 2),
    ),
    ("what_is_enqueued_once_is_one_job", forge("1 12.0 start plain-0 a 9-0 1 1 k")),
    (
        "what_is_enqueued_once_is_one_job",
        forge(
            "1 21.0 start plain-0 f 8-0 1 1 k",
            "1 21.0 start plain-0 f 9-0 1 1 k",
            accepted=[Accepted("plain-0", "f", "once", "ok", None, 21.0, 21.0)],
        ),
    ),
    (
        "no_innocent_job_is_dead",
        forge(letters=[DEAD, Letter("plain-0", "a", "1-0", "crashed")]),
    ),
    (
        "no_innocent_job_is_dead",
        forge(letters=[DEAD, Letter("plain-0", "a", "1-0", "rejected")]),
    ),
    ("no_innocent_job_is_dead", forge("1 12.0 ran plain-0 b 2-0 1 1 k")),
    (
        "no_key_has_more_than_its_limit",
        forge("3 10.4 start limit-0 n 3-0 1 1 k", "3 10.5 ran limit-0 n 3-0 1 1 k"),
    ),
    ("every_moment_of_a_schedule_has_its_job", forge(without="00:11Z")),
    (
        "every_moment_of_a_schedule_has_its_job",
        forge(without="00:11Z", faults=[KILL, MOVE, FREEZE, TAKE]),
    ),
    ("nothing_is_left", forge(left={"entries of plain-0": 1})),
    ("workers_work_on_and_end_well", forge(endings=[Ending(5, 1, 0.0)])),
    ("workers_work_on_and_end_well", forge(endings=[Ending(5, 0, 21.0)])),
    ("workers_work_on_and_end_well", forge(stuck=["process 5 on plain-0"])),
    ("every_kind_of_queue_was_at_work", forge(without="said done limit-0")),
]


def test_an_honest_history_breaks_nothing() -> None:
    """What a failover takes back is no broken promise, but for a durable job."""
    assert broken_promises(forge()) == {rule.__name__: [] for rule in PROMISES}
    assert judge(forge()) == []


@pytest.mark.parametrize(("name", "forged"), FORGED)
def test_a_broken_promise_is_found(name: str, forged: History) -> None:
    """By the rule that it is for, and its story is printed."""
    assert broken_promises(forged)[name]
    assert any(each.startswith(f"{name}: ") for each in judge(forged))


def test_every_promise_can_be_broken() -> None:
    """There is no rule without a forged history that breaks it."""
    assert {name for name, *_ in FORGED} == {rule.__name__ for rule in PROMISES}


def test_costs_are_those_of_the_fault() -> None:
    """What was taken back, what was settled twice, and the pause behind it."""
    more = [Accepted("plain-0", "z", "keyed", "ok", None, 24.0, 24.1)]
    kill, move, _ = costs(forge("1 41.0 start plain-0 z 9-0 1 1 k", accepted=more))
    assert (kill.kind, kill.lost, kill.lost_durable, kill.twice) == (KILL.kind, 1, 0, 1)
    assert kill.pause == 18.0
    assert (move.lost, move.twice) == (0, 0)
    assert "kill -9 of a master | 1 | 1 | 0 | 1 | 0 | 1 |" in table([kill, move])
    assert too_long([kill]) == []
    assert too_long([kill._replace(pause=31.0)])


def test_a_story_is_in_order() -> None:
    """A person reads what happened to a job between the faults around it."""
    _, *story = forge().story("plain-0", "e").splitlines()
    assert [line.split(maxsplit=1)[1] for line in story] == [
        "is tried: keyed, ok",
        "is accepted as 5-0",
        "-- kill -9 of a master of plain-0",
        "-- kill -9 of a master is healed",
    ]
