"""What a schema calls secret is in no text that the library makes."""

from __future__ import annotations

import dataclasses
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from flowd import DeadLetters, DecodeError, EncodeError, Letter, Queue, Reject
from flowd.model.item import Item
from flowd.testing import debug_map
from tests.support.dead_letters import GROUP, raw_letters
from tests.support.email_job import policy
from tests.support.jobs.vault import Account, Broken, Vault
from tests.support.log import events
from tests.support.raw import Raw
from tests.support.secrets import full, leaks
from tests.support.waiting import wait_until


def _everything(error: BaseException) -> str:
    """An error as Python shows it, with all that it is chained to."""
    seen = [error, error.__cause__, error.__context__]
    assert seen[1:] == [None, None]
    lines = traceback.format_exception(error)
    return "\n".join([repr(error), str(error), repr(vars(error)), *lines])


def test_the_planted_values_are_found() -> None:
    """The job holds what the tests look for, and its wire does, in each spelling."""
    job = full()
    wire = " ".join(
        value.decode("utf-8", "ignore") for value in job.to_fields().values()
    )
    assert len(leaks(f"{wire} {job.mapped} {job.blob.hex()}")) == 6


def test_no_repr_shows_one() -> None:
    """Neither of the job, nor of what holds it, nor as a map of texts."""
    job = full()
    shown = [repr(job), str(job), f"{job.login}{job.logins}", repr(Item(job))]
    assert not leaks(" ".join([*shown, repr(debug_map(job))]))
    assert "seen" in shown[0]
    assert "user='me'" in shown[2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "hunter \ud800"},
        {"token": b"hunter"},
        {"list_": ["ok", b"hunter"]},
        {"list_": "hunter"},
        {"number": "hunter"},
        {"number": -4815162342},
        {"blob": "hunter"},
        {"mapped": b"hunter"},
        {"login": Account(user="me", password="hunter \ud800")},
        {"logins": {"hunter \ud800": []}},
        {"logins": {"all": ["hunter"]}},
    ],
    ids=repr,
)
def test_no_error_of_writing_shows_one(wrong: Mapping[str, Any]) -> None:
    """The error names the field and says `<secret>`; nothing is chained to it."""
    job = dataclasses.replace(full(), **wrong)
    with pytest.raises(EncodeError) as caught:
        job.to_fields()
    assert not leaks(_everything(caught.value))
    assert "<secret>" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("token", b"hunter \xff"),
        ("old", b"hunter \xff"),
        ("maybe", b"hunter \xff"),
        ("list", b'["hunter", 4815162342]'),
        ("list", b'["hunter"'),
        ("blob", b"hunter"),
        ("number", b"hunter"),
        ("number", b"-4815162342"),
        ("mapped", b"hunter \xff"),
        ("login", b'{"user":"me","password":["hunter"]}'),
        ("login", b'{"user":"me","hunter":1}'),
        ("logins", b'{"hunter":[{"user":1}]}'),
    ],
)
def test_no_error_of_reading_shows_one(name: str, raw: bytes) -> None:
    """The error names the field and says `<secret>`; nothing is chained to it."""
    fields = full().to_fields() | {name.encode(): raw}
    if name == "old":
        del fields[b"token"]
    with pytest.raises(DecodeError) as caught:
        Vault.from_fields(fields)
    assert not leaks(_everything(caught.value))
    assert "<secret>" in str(caught.value)


def test_no_error_of_a_mapper_shows_one() -> None:
    """A mapper that quotes what it refuses is named by the kind of its error only."""
    token = full().token  # a traceback shows the lines of this file
    with pytest.raises(EncodeError) as written:
        Broken(open="seen", token=token).to_fields()
    with pytest.raises(DecodeError) as read:
        Broken.from_fields({b"open": b"seen", b"token": token.encode()})
    for error in (written.value, read.value):
        assert not leaks(_everything(error))
        assert "refused with ValueError, got <secret>" in str(error)


def _quote(job: Vault) -> None:
    """Put every value into an error, in every way in which a handler might."""
    assert job.login is not None
    fields = job.to_fields()
    words = [job, job.token, repr(job.token), job.maybe, job.list_, job.blob]
    spelt = json.dumps([job.token, job.logins["all"][0].password])
    more = [
        spelt,
        job.blob.hex(),
        job.number,
        job.mapped,
        job.login.password,
        job.logins,
    ]
    text = " ".join(map(str, [*words, *more, dataclasses.asdict(job), fields]))
    error = ValueError(
        f"{text} {fields[b'token'].decode()} {fields[b'login'].decode()}"
    )
    error.add_note(f"it was {job.token}")
    raise error


async def _fail(job: Vault) -> None:
    """Fail, with the error in a group, behind another one."""
    try:
        _quote(job)
    except ValueError as error:
        group = ExceptionGroup(f"all of {job.token!r}", [error])
        raise group from RuntimeError(repr(job.to_fields()))


async def _reject(job: Vault) -> None:
    """Give up, and say too much."""
    raise Reject(f"{job.token} {job.list_} {job.logins['all'][0].password}")


@pytest.mark.parametrize("handler", [_fail, _reject])
async def test_no_log_and_no_letter_shows_one(
    handler: Callable[[Vault], Awaitable[None]],
    redis_url: str,
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in the log at DEBUG, not in the letter behind the entry's own fields."""
    caplog.set_level(logging.DEBUG)
    rules = policy(stream, max_retries=1)
    notified: list[str] = []

    def notify(letter: Letter[Vault]) -> None:
        notified.append(repr(letter))
        assert letter.job is not None
        raise OSError(f"no pager for {letter.job.token} {letter.fields!r}")

    async with Queue(
        Vault, handler, url=redis_url, policy=rules, group=GROUP, on_dead_letter=notify
    ) as queue:
        await queue.enqueue(full())
        queue.run()
        await queue.drain()
        await wait_until(lambda: "callback_failed" in events(caplog.records))
    async with DeadLetters(Vault, redis_url, stream=stream, group=GROUP) as dead:
        (letter,) = [each async for each in dead.list()]

    (kept,) = raw_letters(raw, stream)
    own = kept.index(b"_dlq_id")
    assert leaks(str(kept[:own]))  # the job itself is whole
    assert not leaks(b"\n".join(kept[own:]).decode())
    assert not leaks(f"{letter!r} {letter.error} {letter.traceback} {notified}")
    assert letter.job == full()
    assert "<secret>" in letter.error
    assert not leaks(repr([vars(record) for record in caplog.records]) + caplog.text)


async def test_no_letter_of_an_unreadable_entry_shows_one(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither when a secret cannot be read nor when another field cannot."""
    caplog.set_level(logging.DEBUG)
    good = full().to_fields()
    wrong = [good | {b"number": b"hunter"}, good | {b"open": b"\xff"}]
    async with Queue(Vault, _fail, url=redis_url, stream=stream, group=GROUP) as queue:
        for fields in wrong:
            raw(
                "XADD", stream, "*", *(word for pair in fields.items() for word in pair)
            )
        queue.run()
        await queue.drain()
    for kept in raw_letters(raw, stream):
        own = kept.index(b"_dlq_id")
        assert not leaks(b"\n".join(kept[own:]).decode())
    assert not leaks(repr([vars(record) for record in caplog.records]) + caplog.text)
