"""An argument of the wrong type is refused by flowd, whichever argument of which call it is."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

import flowd
from flowd import (
    Backoff,
    Claimer,
    Concurrency,
    DeadLetters,
    Debounce,
    Durable,
    Fair,
    FlowdError,
    Gate,
    Item,
    Policy,
    Priority,
    Producer,
    Queue,
    QueueGroup,
    Rate,
    Reject,
    Retry,
    Schedule,
    ServerError,
    Snooze,
    SyncProducer,
    Unique,
)
from flowd.metering import Metering
from flowd.metrics import Metrics
from flowd.testing import (
    FakeClock,
    Memory,
    MemoryQueue,
    RecordingProducer,
    RecordingSyncProducer,
)
from flowd.tracing import Tracing
from flowd.web import BasicAuth, Dashboard, User
from jobs.email import Email
from tests.support.email_job import email
from tests.support.waiting import RECOVERY

NOWHERE: Final = "redis://127.0.0.1:1"
SERVER: Final[Mapping[str, object]] = {"url": NOWHERE, "connect_timeout": 0.0}
SECRET: Final = "redis://user:swordfish@h:x"

WRONG: Final[Mapping[str, object]] = {
    "object": object(),
    "class": Email,
    "number": -7.5,
    "text": SECRET,
    "bytes": b"redis://h",
    "list": [object()],
    "map": {object(): object()},
    "function": print,
    "span": timedelta(days=-1),
}


async def handle(job: Email) -> None:
    """Do nothing."""


VALID: Final[Mapping[Callable[..., object], Mapping[str, object]]] = {
    Queue: {"job_class": Email, "handler": handle, **SERVER},
    Producer: SERVER,
    SyncProducer: SERVER,
    DeadLetters: {"job_class": Email, "url": NOWHERE},
    QueueGroup: {},
    Item: {"job": email()},
    Policy: {"stream": "s"},
    Backoff: {},
    Claimer: {},
    Durable: {},
    Gate: {},
    Concurrency: {"limit": 1},
    Rate: {"limit": 1, "every": 1.0},
    Fair: {"per": ("to",)},
    Unique: {"fields": ("to",)},
    Debounce: {"fields": ("to",), "wait": 1.0},
    Priority: {"order": ("high", "low")},
    Schedule: {"name": "n", "every": 60.0},
    Retry: {},
    Snooze: {"after": 1.0},
    Reject: {"reason": "no"},
    Metrics: {},
    Metering: {},
    Tracing: {},
    Dashboard: {"url": NOWHERE},
    User: {"name": "ops"},
    BasicAuth: {"name": "ops", "password": "secret"},
    FakeClock: {},
    Memory: {},
    MemoryQueue: {"job_class": Email, "handler": handle},
    RecordingProducer: {},
    RecordingSyncProducer: {},
}
"""Every public class that a user makes, with arguments that are right."""

MADE_BY_FLOWD: Final = {
    *("Context", "Duplicate", "Event", "GroupHandle", "Job", "JobSpec", "Letter"),
    *("Middleware", "QueueHandle", "Run", "Send", "wire"),
}
"""What users get and do not make; generated classes make a `JobSpec`."""


LATER: Final = {
    (Item, "job"),  # with its class, when it is enqueued
    (Item, "priority"),  # likewise: the levels are those of the class
    (Retry, "reason"),  # an error in its place would end the job in another way
    (Reject, "reason"),
}
"""What is not looked at when it is given."""


def arguments() -> Iterator[tuple[str, Callable[..., object], str]]:
    """Each argument of each class."""
    for make in VALID:
        for name, parameter in inspect.signature(make).parameters.items():
            is_one = parameter.kind is not parameter.VAR_POSITIONAL
            if is_one and (make, name) not in LATER:
                yield f"{make.__name__}-{name}", make, name


def test_every_public_class_is_tried() -> None:
    """A name that is added to `flowd` is added here."""
    named = {make.__name__ for make in VALID}
    errors = {name for name in flowd.__all__ if is_error(name)}
    assert {*flowd.__all__} - errors - MADE_BY_FLOWD <= named


def is_error(name: str) -> bool:
    """Whether it is an error of flowd's, which flowd raises."""
    given = getattr(flowd, name)
    return isinstance(given, type) and issubclass(given, FlowdError)


@pytest.mark.parametrize(
    ("make", "name"),
    [pytest.param(make, name, id=id_) for id_, make, name in arguments()],
)
async def test_wrong_type_is_refused_when_it_is_given(
    make: Callable[..., object], name: str
) -> None:
    """In words that show no password; and an `object()` is always wrong."""
    for kind, value in WRONG.items():
        refused = await refusal(partial(make, **{**VALID[make], name: value}))
        assert refused is not None or kind != "object", f"{name} may be anything"
        assert "swordfish" not in f"{refused}" or name not in LOGINS, kind


LOGINS: Final = ("url", "redis", "tracer_provider", "meter_provider", "registry")
"""Where a URL with a password may be given, or be put by mistake."""


async def refusal(call: Callable[[], Any]) -> FlowdError | None:
    """The error with which flowd refuses a call; any other error is a fault."""
    try:
        found = call()
        if inspect.isawaitable(found):
            await found
        elif inspect.isasyncgen(found):
            async for _ in found:
                pass
    except FlowdError as error:
        return error
    return None


ENQUEUE: Final = {"job": email()}
BULK: Final = {"jobs": [email()]}
BY_ID: Final = {"job_id": "1-0"}
BY_CLASS: Final = {"job_class": Email, "job_id": "1-0"}

METHODS: Final[Mapping[tuple[str, str], Mapping[str, object]]] = {
    ("producer", "enqueue"): ENQUEUE,
    ("producer", "enqueue_bulk"): BULK,
    ("producer", "cancel"): BY_CLASS,
    ("queue", "enqueue"): ENQUEUE,
    ("queue", "enqueue_bulk"): BULK,
    ("queue", "cancel"): BY_ID,
    ("queue", "delete"): BY_ID,
    ("queue", "run_now"): BY_ID,
    ("queue", "add_middleware"): {},
    ("queue", "run_until_stopped"): {},
    ("letters", "list"): {},
    ("letters", "get"): {"letter_id": "1-0"},
    ("letters", "redrive"): {"letter": "1-0"},
    ("letters", "redrive_all"): {},
    ("letters", "purge"): {"letter": "1-0"},
    ("letters", "purge_all"): {},
    ("group", "push"): {},
    ("group", "run_until_stopped"): {},
    ("memory", "enqueue"): ENQUEUE,
    ("memory", "enqueue_bulk"): BULK,
    ("memory", "cancel"): BY_ID,
    ("memory", "delete"): BY_ID,
    ("memory", "run_now"): BY_ID,
    ("memory", "advance_time"): {},
    ("recording", "enqueue"): ENQUEUE,
    ("recording", "enqueue_bulk"): BULK,
    ("recording", "cancel"): BY_CLASS,
    ("clock", "advance"): {},
    ("sync", "enqueue"): ENQUEUE,
    ("sync", "enqueue_bulk"): BULK,
    ("sync", "cancel"): BY_CLASS,
    ("recording_sync", "enqueue"): ENQUEUE,
    ("recording_sync", "enqueue_bulk"): BULK,
    ("recording_sync", "cancel"): BY_CLASS,
}
"""The methods that read or change jobs, letters and queues, with arguments that are right."""


def arguments_of_methods() -> Iterator[tuple[str, str, Mapping[str, object], str]]:
    """Each argument of each method: of what, the method, what is right, and its name."""
    for (of, method), valid in METHODS.items():
        for name in [*inspect.signature(getattr(OF[of], method)).parameters][1:]:
            if (of, name) not in UNUSED:
                yield of, method, valid, name


OF: Final[Mapping[str, type]] = {
    "producer": Producer,
    "queue": Queue,
    "letters": DeadLetters,
    "group": QueueGroup,
    "memory": MemoryQueue,
    "recording": RecordingProducer,
    "clock": FakeClock,
    "sync": SyncProducer,
    "recording_sync": RecordingSyncProducer,
}


def built(make: Callable[..., object]) -> Any:
    """An object that is made of valid arguments."""
    return make(**VALID[make])


UNUSED: Final = {
    ("memory", "durable"),
    ("recording", "durable"),
    ("recording_sync", "durable"),
}
"""Accepted, and of no effect."""


@pytest.mark.parametrize(
    ("of", "method", "valid", "name"),
    [
        pytest.param(*each, id=f"{each[0]}-{each[1]}-{each[3]}")
        for each in arguments_of_methods()
    ],
)
async def test_wrong_type_is_refused_before_a_server_is_asked(
    of: str, method: str, valid: Mapping[str, object], name: str
) -> None:
    """There is none here, so any other refusal would be `Unreachable`."""
    made = built(OF[of])
    call = getattr(made, method)
    for kind, value in WRONG.items():
        async with asyncio.timeout(RECOVERY):
            refused = await refusal(partial(call, **{**valid, name: value}))

        assert refused is not None or kind != "object", f"{name} may be anything"
        asked = isinstance(refused, ServerError) or "jobs are stored" in f"{refused}"
        assert kind != "object" or not asked, refused
    if isinstance(made, SyncProducer):
        made.close()
    elif (close := getattr(made, "aclose", None)) is not None:
        await close()
