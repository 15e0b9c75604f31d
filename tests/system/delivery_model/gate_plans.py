"""What the rules of a queue with policies are given: jobs, endings, and which job is meant."""

from __future__ import annotations

from typing import Final, NamedTuple

from hypothesis import strategies as st

from flowd.broker.commands import EnqueueCommand
from flowd.model.expiry import expiry_field
from flowd.model.gate import Gate
from tests.system.delivery_model.gate_job import GatedJob
from tests.system.delivery_model.model import LEASE
from tests.system.delivery_model.policies import (
    CUSTOMERS,
    HOSTS,
    LEVELS,
    URLS,
    keys_of,
)

__all__ = ["JobPlan", "command", "job_of", "job_plans", "picks"]

EXPIRES: Final = 0.5 * LEASE


class JobPlan(NamedTuple):
    """A job to enqueue."""

    customer: str
    host: str
    url: str
    level: str
    key: str | None = None
    delay: float = 0.0
    expires: bool = False


picks = st.integers(0, 11)
"""Chooses one of those there are."""

job_plans = st.builds(
    JobPlan,
    st.sampled_from(CUSTOMERS),
    st.sampled_from(HOSTS),
    st.sampled_from(URLS),
    st.sampled_from(LEVELS),
    st.sampled_from((None, None, None, "k1", "k2")),
    st.sampled_from((0.0, 0.0, 0.0, 0.3 * LEASE)),
    st.sampled_from((False, False, True)),
)


def job_of(number: int, plan: JobPlan, gate: Gate | None) -> GatedJob:
    """The plan as a job of the model."""
    own = {
        "n": str(number),
        "customer": plan.customer,
        "host": plan.host,
        "url": plan.url,
        "level": plan.level,
    }
    ticket = ""
    if gate is not None:
        fields = {name.encode(): value.encode() for name, value in own.items()}
        ticket = gate.ticket(fields).decode()
    job = GatedJob(number, own, ticket, keys_of(ticket), plan.key)
    if plan.expires:
        job.expires = plan.delay + EXPIRES
    return job


def command(job: GatedJob, plan: JobPlan, gate: Gate | None) -> EnqueueCommand:
    """The job as the stream is asked for it."""
    fields = {name.encode(): value.encode() for name, value in job.own.items()}
    if plan.expires and (found := expiry_field(EXPIRES, delay=plan.delay)):
        fields[b"_expires"] = found
    job_id = f"job-{job.number}" if plan.delay or gate is not None else ""
    if job.key is not None:
        fields[b"_key"] = job.key.encode()
    own = ("*", plan.delay, job_id, job.key, 86_400.0)
    return EnqueueCommand(fields, 0, *own, gate=gate, ticket=job.ticket.encode())
