"""Typed jobs over Redis Streams: delivered at least once, settled once, never lost.

Jobs are declared in TOML, `flowd-gen` writes a class for each, and a `Queue` runs a
handler for every enqueued job. To read the runtime, follow one job:

    producer           check, encode, append to the stream
    broker.stream      the only module that sends the commands of this path
    worker.runner      the path of a job: read, admit, execute, settle
    worker.fetcher     read as many entries as there are free slots
    worker.maintenance promote due jobs, claim deliveries with an expired lease
    worker.executor    decode, run the handler, return the outcome
    worker.settlement  acknowledge, requeue or dead-letter, in one fenced step
    worker.lease       renew the leases of running jobs, in a thread
    worker.lifetime    start the loops of a queue, and end them in order
    deadletter         list, redrive and purge dead letters
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowd import wire
    from flowd.broker.durability import Durable
    from flowd.deadletter import DeadLetters
    from flowd.errors import (
        AccessDenied,
        BulkError,
        CommandRefused,
        DecodeError,
        EncodeError,
        FatalError,
        FlowdError,
        FormatError,
        GroupMissing,
        IdNotIncreasing,
        KeyTaken,
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
    from flowd.group import GroupHandle, QueueGroup
    from flowd.model.claimer import Claimer
    from flowd.model.context import Context
    from flowd.model.duplicate import Duplicate
    from flowd.model.event import Event
    from flowd.model.gate import (
        Concurrency,
        Debounce,
        Fair,
        Gate,
        Priority,
        Rate,
        Unique,
    )
    from flowd.model.item import Item
    from flowd.model.job import Job, JobSpec
    from flowd.model.letter import Letter
    from flowd.model.middleware import Middleware, Run, Send
    from flowd.model.policy import Backoff, Policy
    from flowd.model.schedule import Schedule
    from flowd.producer import Producer
    from flowd.queue import Queue
    from flowd.sync import SyncProducer
    from flowd.worker.handle import QueueHandle

__all__ = [
    "AccessDenied",
    "Backoff",
    "BulkError",
    "Claimer",
    "CommandRefused",
    "Concurrency",
    "Context",
    "DeadLetters",
    "Debounce",
    "DecodeError",
    "Duplicate",
    "Durable",
    "EncodeError",
    "Event",
    "Fair",
    "FatalError",
    "FlowdError",
    "FormatError",
    "Gate",
    "GroupHandle",
    "GroupMissing",
    "IdNotIncreasing",
    "Item",
    "Job",
    "JobSpec",
    "KeyTaken",
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
    "Priority",
    "Producer",
    "Queue",
    "QueueFull",
    "QueueGroup",
    "QueueHandle",
    "Rate",
    "Reject",
    "Retry",
    "Run",
    "Schedule",
    "Send",
    "ServerError",
    "Snooze",
    "StreamShared",
    "SyncProducer",
    "Unique",
    "Unreachable",
    "WrongAddress",
    "WrongKeyType",
    "wire",
]

_HOMES: Final = {
    "AccessDenied": "errors",
    "Backoff": "model.policy",
    "BulkError": "errors",
    "Claimer": "model.claimer",
    "CommandRefused": "errors",
    "Concurrency": "model.gate",
    "Context": "model.context",
    "DeadLetters": "deadletter",
    "Debounce": "model.gate",
    "DecodeError": "errors",
    "Duplicate": "model.duplicate",
    "Durable": "broker.durability",
    "EncodeError": "errors",
    "Event": "model.event",
    "Fair": "model.gate",
    "FatalError": "errors",
    "FlowdError": "errors",
    "FormatError": "errors",
    "Gate": "model.gate",
    "GroupHandle": "group",
    "GroupMissing": "errors",
    "IdNotIncreasing": "errors",
    "Item": "model.item",
    "Job": "model.job",
    "JobSpec": "model.job",
    "KeyTaken": "errors",
    "Letter": "model.letter",
    "LetterNotFound": "errors",
    "Middleware": "model.middleware",
    "NewerVersion": "errors",
    "NotDurable": "errors",
    "NotReady": "errors",
    "OptionError": "errors",
    "OutcomeUnknown": "errors",
    "PayloadTooLarge": "errors",
    "Policy": "model.policy",
    "Priority": "model.gate",
    "Producer": "producer",
    "Queue": "queue",
    "QueueFull": "errors",
    "QueueGroup": "group",
    "QueueHandle": "worker.handle",
    "Rate": "model.gate",
    "Reject": "errors",
    "Retry": "errors",
    "Run": "model.middleware",
    "Schedule": "model.schedule",
    "Send": "model.middleware",
    "ServerError": "errors",
    "Snooze": "errors",
    "StreamShared": "errors",
    "SyncProducer": "sync",
    "Unique": "model.gate",
    "Unreachable": "errors",
    "WrongAddress": "errors",
    "WrongKeyType": "errors",
}
"""The module of each name. Names are imported on first use: a module of generated classes
needs three of them, and redis and asyncio take half of the time to import everything."""


def __getattr__(name: str) -> object:
    """Import a name of `__all__` on its first use (PEP 562)."""
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
