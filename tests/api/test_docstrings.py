"""The documentation of what users call is complete: each hover stands alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import pytest

from flowd import DeadLetters, Producer, Queue, QueueGroup, SyncProducer
from flowd.testing import (
    FakeClock,
    Memory,
    MemoryQueue,
    RecordingProducer,
    RecordingSyncProducer,
)

CLASSES = [
    *(DeadLetters, Producer, Queue, QueueGroup, SyncProducer),
    *(FakeClock, Memory, MemoryQueue, RecordingProducer, RecordingSyncProducer),
]


def documented() -> Iterator[tuple[str, Callable[..., object], str]]:
    """Every public method, and each class by its `__init__`, with its documentation."""
    for each in CLASSES:
        yield each.__name__, each, inspect.getdoc(each) or ""
        for name, method in inspect.getmembers(each, inspect.isfunction):
            if not name.startswith("_"):
                yield f"{each.__name__}.{name}", method, inspect.getdoc(method) or ""


FOUND = list(documented())


@pytest.mark.parametrize(
    ("called", "text"), [each[1:] for each in FOUND], ids=[each[0] for each in FOUND]
)
def test_documentation_names_every_argument(
    called: Callable[..., object], text: str
) -> None:
    """Under `Args`, and without a look at the documentation of another class."""
    given = inspect.signature(called).parameters.values()
    names = [
        each.name
        for each in given
        if each.name != "self" and each.kind is not each.VAR_POSITIONAL
    ]
    assert not [
        name for name in names if not re.search(rf"^ +{name}:", text, re.MULTILINE)
    ]
    assert not re.search(r"\b[Aa]s `\w+\.enqueue", text)
