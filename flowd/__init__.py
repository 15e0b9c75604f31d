"""Typed jobs over Redis Streams: at least once, settled once, never lost.

Jobs are declared in TOML, `flowd-gen` writes a class for each, and a `Queue` runs a
handler for every job that is enqueued. To read the runtime, follow one job:

    producer    check, encode, append to the stream
    stream      the only module that talks to Redis
    consumer    take as many entries as there are free slots; promote, take over
    worker      decode, run the handler, say how it ended
    settlement  acknowledge, requeue or dead-letter, in one fenced step
    lease       keep what is running from being taken over
    handle      start all of it, and end it in order
    deadletter  list, redrive and purge what was given up
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowd import wire
    from flowd.claimer import Claimer
    from flowd.context import Context
    from flowd.deadletter import DeadLetters
    from flowd.durable import Durable
    from flowd.errors import (
        AccessDenied,
        BulkError,
        DecodeError,
        EncodeError,
        FatalError,
        FlowdError,
        FormatError,
        GroupMissing,
        IdNotIncreasing,
        LetterNotFound,
        NewerVersion,
        NotDurable,
        NotReady,
        OptionError,
        OutcomeUnknown,
        PayloadTooLarge,
        QueueFull,
        Reject,
        Retry,
        ServerError,
        Snooze,
        StreamShared,
        Unreachable,
        WrongAddress,
        WrongKeyType,
    )
    from flowd.event import Event
    from flowd.group import GroupHandle, QueueGroup
    from flowd.handle import QueueHandle
    from flowd.handler import Run
    from flowd.item import Item
    from flowd.job import Job, JobSpec
    from flowd.letter import Letter
    from flowd.middleware import Middleware, Send
    from flowd.policy import Backoff, Policy
    from flowd.producer import Producer
    from flowd.queue import Queue
    from flowd.sync import SyncProducer

__all__ = [
    "AccessDenied",
    "Backoff",
    "BulkError",
    "Claimer",
    "Context",
    "DeadLetters",
    "DecodeError",
    "Durable",
    "EncodeError",
    "Event",
    "FatalError",
    "FlowdError",
    "FormatError",
    "GroupHandle",
    "GroupMissing",
    "IdNotIncreasing",
    "Item",
    "Job",
    "JobSpec",
    "Letter",
    "LetterNotFound",
    "Middleware",
    "NewerVersion",
    "NotDurable",
    "NotReady",
    "OptionError",
    "OutcomeUnknown",
    "PayloadTooLarge",
    "Policy",
    "Producer",
    "Queue",
    "QueueFull",
    "QueueGroup",
    "QueueHandle",
    "Reject",
    "Retry",
    "Run",
    "Send",
    "ServerError",
    "Snooze",
    "StreamShared",
    "SyncProducer",
    "Unreachable",
    "WrongAddress",
    "WrongKeyType",
    "wire",
]

_HOMES: Final = {
    "AccessDenied": "errors",
    "Backoff": "policy",
    "BulkError": "errors",
    "Claimer": "claimer",
    "Context": "context",
    "DeadLetters": "deadletter",
    "DecodeError": "errors",
    "Durable": "durable",
    "EncodeError": "errors",
    "Event": "event",
    "FatalError": "errors",
    "FlowdError": "errors",
    "FormatError": "errors",
    "GroupHandle": "group",
    "GroupMissing": "errors",
    "IdNotIncreasing": "errors",
    "Item": "item",
    "Job": "job",
    "JobSpec": "job",
    "Letter": "letter",
    "LetterNotFound": "errors",
    "Middleware": "middleware",
    "NewerVersion": "errors",
    "NotDurable": "errors",
    "NotReady": "errors",
    "OptionError": "errors",
    "OutcomeUnknown": "errors",
    "PayloadTooLarge": "errors",
    "Policy": "policy",
    "Producer": "producer",
    "Queue": "queue",
    "QueueFull": "errors",
    "QueueGroup": "group",
    "QueueHandle": "handle",
    "Reject": "errors",
    "Retry": "errors",
    "Run": "handler",
    "Send": "middleware",
    "ServerError": "errors",
    "Snooze": "errors",
    "StreamShared": "errors",
    "SyncProducer": "sync",
    "Unreachable": "errors",
    "WrongAddress": "errors",
    "WrongKeyType": "errors",
}
"""The module of each name. A module of generated classes needs three of them: it is not to
wait for redis and asyncio, which take half of the time to import everything."""


def __getattr__(name: str) -> object:
    """A name of `__all__`, imported when it is asked for first (PEP 562)."""
    if name == "wire":
        value: object = import_module("flowd.wire")
    elif name in _HOMES:
        value = getattr(import_module(f"flowd.{_HOMES[name]}"), name)
    else:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name
        )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
