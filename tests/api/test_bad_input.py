"""What cannot be is refused where it is given, in words that help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from flowd import (
    DeadLetters,
    FormatError,
    Job,
    JobSpec,
    OptionError,
    Policy,
    Producer,
    Queue,
)
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.raw import Raw
from tests.support.waiting import wait_until

NOWHERE = "redis://127.0.0.1:1"


class Plain:
    """A class that looks like a job, and that flowd-gen did not write."""

    SPEC: ClassVar[JobSpec]

    def to_fields(self) -> dict[bytes, bytes]:
        """Encode nothing."""
        return {}

    @classmethod
    def from_fields(
        cls, fields: Mapping[bytes, bytes]  # noqa: ARG003 - the contract
    ) -> Plain:
        """Decode nothing."""
        return cls()


async def ignore(job: Job) -> None:
    """Take every job."""


@pytest.mark.parametrize(("generation", "advice"), [(0, "flowd-gen"), (2, "upgrade")])
def test_a_class_of_another_generation_says_what_to_do(
    generation: int, advice: str
) -> None:
    """It cannot even be imported: its SPEC is refused, with the way out."""
    with pytest.raises(
        FormatError, match=rf"format of Email is {generation}.*{advice}"
    ):
        dataclasses.replace(Email.SPEC, format=generation)


@pytest.mark.parametrize("rules", [None, Policy(stream="s")])
def test_a_class_that_was_not_generated_is_refused(rules: Policy | None) -> None:
    """A queue says so when it is built, whatever else it is given."""
    with pytest.raises(FormatError, match=r"Plain.* has no SPEC: generate it"):
        Queue(Plain, ignore, url=NOWHERE, policy=rules)
    with pytest.raises(FormatError, match=r"Plain.* has no SPEC: generate it"):
        DeadLetters(Plain, NOWHERE)


async def test_a_job_that_was_not_generated_is_refused() -> None:
    """A producer says so before it asks the server."""
    async with Producer(NOWHERE) as producer:
        with pytest.raises(FormatError, match=r"Plain.* has no SPEC: generate it"):
            await producer.enqueue(Plain())


async def test_a_queue_runs_once_at_a_time(redis_url: str, stream: str) -> None:
    """A second `run` is refused, and the first goes on."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        queue.run()
        with pytest.raises(OptionError, match="this queue runs already"):
            queue.run()
        await queue.enqueue(email())
        await queue.drain()

    assert recorder.done == ["a"]


def test_arguments_override_the_schema() -> None:
    """The policy in force is the schema's, the argument's, then the single ones'."""
    queue = Queue(Email, RecordingHandler(), url=NOWHERE)
    assert queue.policy == Email.SPEC.policy
    rules = policy("theirs", max_retries=7)
    queue = Queue(
        Email, RecordingHandler(), url=NOWHERE, policy=rules, stream="mine", group="g"
    )
    assert queue.policy == dataclasses.replace(rules, stream="mine", group="g")


@pytest.mark.parametrize(
    ("name", "group"), [("", None), ("a\nb", None), ("a", ""), ("a", "\x1b[2J")]
)
def test_names_that_cannot_be_are_refused(name: str, group: str | None) -> None:
    """Stream and group are text that can be printed."""
    with pytest.raises(OptionError, match="must be printable text, not empty"):
        Queue(Email, RecordingHandler(), url=NOWHERE, stream=name, group=group)


async def test_names_may_be_what_redis_allows(redis_url: str, raw: Raw) -> None:
    """Spaces, colons, braces and other scripts: the companions follow the name."""
    recorder = RecordingHandler()
    names = ["a b:c", "größe", "{tag}:jobs", "{}", "a{b"]
    for name in names:
        async with Queue(
            Email, recorder, url=redis_url, policy=policy(name, max_retries=1)
        ) as queue:
            await queue.enqueue(email(name), key="k")
            await queue.enqueue(email(name), delay=0.001)
            queue.run()
            await queue.drain()
            await wait_until(
                lambda: raw("XLEN", name) == 0  # noqa: B023 - awaited here
            )

    assert recorder.done == [name for name in names for _ in range(2)]
    assert raw("EXISTS", "{a b:c}:key:k", "{tag}:jobs:key:k") == 2


@pytest.mark.parametrize("wrong", [b"1-0", 1, None, 1.5])
async def test_an_id_that_is_no_text_is_refused(wrong: object) -> None:
    """As the bytes that a client of Redis gives; before anything is sent."""
    given: Any = wrong
    queue = Queue(Email, RecordingHandler(), url=NOWHERE)
    letters = DeadLetters(Email, NOWHERE)
    async with Producer(NOWHERE) as producer, letters:
        for call in (letters.get, letters.redrive, letters.purge, queue.cancel):
            with pytest.raises(OptionError, match="must be an id, as a str"):
                await call(given)
        with pytest.raises(OptionError, match="must be an id, as a str"):
            await producer.cancel(Email, given)
    await queue.aclose()
