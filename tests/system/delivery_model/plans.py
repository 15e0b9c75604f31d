"""What the rules are given: jobs to enqueue, deliveries, and how these are to end."""

from __future__ import annotations

from typing import Final, NamedTuple

from hypothesis import strategies as st

from flowd.broker.commands import EnqueueCommand, MoveToDeadLetter, Requeue
from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.letter import letter_fields
from tests.system.delivery_model.model import LEASE

__all__ = [
    "CONSUMERS",
    "Ending",
    "Held",
    "Plan",
    "anywhere",
    "command",
    "consumers",
    "endings",
    "move",
    "plans",
    "seldom",
    "too_low",
]

CONSUMERS: Final[tuple[str, ...]] = ("a", "b", "c")


class Held(NamedTuple):
    """What was delivered to a consumer, which may believe in it without end."""

    consumer: str
    delivery: Delivery


class Plan(NamedTuple):
    """A job to enqueue."""

    key: str | None
    delay: float
    id: str


class Ending(NamedTuple):
    """What a consumer wants to become of a delivery."""

    verb: str
    delay: float


consumers = st.sampled_from(CONSUMERS)
delays = st.sampled_from((0.0, 0.0, 0.3 * LEASE, 0.9 * LEASE))
keys = st.sampled_from((None, "k1", "k2", "k3"))
at_once, anywhere, too_low = st.just(0.0), st.just("*"), st.just("1-1")
plans = st.builds(Plan, keys, delays, anywhere) | st.builds(
    Plan, keys, at_once, too_low
)
endings = st.builds(
    Ending, st.sampled_from(("ack", "retry", "release", "bury")), delays
)
seldom = st.sampled_from((False, False, False, True))


def command(number: int, plan: Plan) -> EnqueueCommand:
    """The plan as the stream is asked for it; `number` identifies the job."""
    fields = {b"n": b"%d" % number}
    job_id = f"job-{number}" if plan.delay else ""
    if plan.key is not None:
        fields[b"_key"] = plan.key.encode()
    return EnqueueCommand(fields, 0, plan.id, plan.delay, job_id, plan.key, 86_400.0)


def move(consumer: str, delivery: Delivery, end: Ending) -> Requeue | MoveToDeadLetter:
    """An ending other than `ack`, as the stream is asked for it."""
    if end.verb == "bury":
        letter = letter_fields(delivery, outcome.DeadLetter("failed", "why"), consumer)
        return MoveToDeadLetter(delivery, letter)
    envelope = delivery.requeue_envelope(failed=end.verb == "retry")
    return Requeue(delivery, end.delay, envelope)
