"""What flowd promises to keep: every public name, in one list."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Final

import pytest

from flowd import DeadLetters, Middleware, Producer, Queue, QueueGroup, SyncProducer
from flowd.metrics import Metrics
from flowd.testing import MemoryQueue, RecordingProducer, RecordingSyncProducer
from flowd.tracing import Tracing
from flowd.web import BasicAuth, Dashboard
from tests.house.sources import ROOT

PUBLIC: Final = {
    "flowd": """
        AccessDenied Backoff BulkError Claimer CommandRefused Concurrency Context
        DeadLetters Debounce DecodeError Duplicate Durable EncodeError Event Fair
        FatalError FlowdError FormatError Gate GroupHandle GroupMissing
        IdNotIncreasing Item Job JobSpec KeyTaken Letter LetterNotFound Middleware
        NewerVersion NotDurable NotReady OptionError OutcomeUnknown PayloadTooLarge
        Policy Priority Producer Queue QueueFull QueueGroup QueueHandle Rate Reject
        Retry Run Schedule Send ServerError Snooze StreamShared SyncProducer Unique
        Unreachable WrongAddress WrongKeyType wire
    """,
    "flowd.testing": """
        FakeClock Memory MemoryQueue RecordingProducer RecordingSyncProducer
        debug_map from_text round_trip
    """,
    "flowd.wire": """
        BASE64 BOOL DATE DATETIME DECIMAL DURATION FLOAT HEX I8 I16 I32 I64 INT JSON
        STR U8 U16 U32 U64 UNIX_MS UUID CodecError Json Shape Tagged bounded checked
        decode_base64 decode_bool decode_bool01 decode_date decode_datetime decode_decimal
        decode_duration decode_enum decode_float decode_hex decode_i8 decode_i16
        decode_i32 decode_i64 decode_int decode_json decode_one_of decode_open_enum
        decode_raw decode_u8 decode_u16 decode_u32 decode_u64 decode_unix_ms
        decode_uuid depth_checked dict_of encode_base64 encode_bool encode_bool01 encode_date
        encode_datetime encode_decimal encode_duration encode_enum encode_float
        encode_hex encode_i8 encode_i16 encode_i32 encode_i64 encode_int encode_json
        encode_one_of encode_open_enum encode_raw encode_u8 encode_u16 encode_u32
        encode_u64 encode_unix_ms encode_uuid enum_of filled first_key inside
        items_of list_of matching new one_of open_enum_of optional placed record_of setters
        sized union_of within
    """,
    "flowd.metrics": """
        Metrics exposition
    """,
    "flowd.metering": """
        Metering
    """,
    "flowd.tracing": """
        Tracing
    """,
    "flowd.web": """
        Authorize BasicAuth Dashboard User
    """,
}
"""By module. A name that is removed or renamed breaks users: CHANGELOG.md says so."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_those_of_the_list(module: str) -> None:
    """A new name is a promise, and one that is gone is a breaking change."""
    names: list[str] = import_module(module).__all__
    assert names == PUBLIC[module].split()


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_can_be_imported(module: str) -> None:
    """Each is there."""
    for name in PUBLIC[module].split():
        assert hasattr(import_module(module), name)


@pytest.mark.parametrize(
    "owner",
    [Queue, SyncProducer, MemoryQueue, RecordingProducer, RecordingSyncProducer],
)
def test_enqueue_has_the_same_options_everywhere(owner: type) -> None:
    """A test's double, and a queue, take what a producer takes, in the same order."""
    for method in ("enqueue", "enqueue_bulk"):
        theirs = inspect.signature(getattr(owner, method)).parameters
        ours = inspect.signature(getattr(Producer, method)).parameters
        assert [*theirs] == [*ours]
        for name, each in theirs.items():
            assert (each.kind, each.default) == (ours[name].kind, ours[name].default)
            # A queue takes jobs of its class only.
            if name not in ("job", "jobs"):
                assert each.annotation == ours[name].annotation


@pytest.mark.parametrize(
    "owner",
    [
        *(Producer, SyncProducer, Queue, QueueGroup, DeadLetters, Dashboard, BasicAuth),
        *(MemoryQueue, RecordingProducer, RecordingSyncProducer, Metrics, Tracing),
    ],
)
def test_docstrings_describe_every_parameter(owner: type) -> None:
    """What users call says what each argument is, in its own docstring."""
    described = [(owner.__name__, vars(owner)["__init__"], inspect.getdoc(owner) or "")]
    described += [
        (name, method, inspect.getdoc(method) or "")
        for name, method in inspect.getmembers(owner, inspect.isfunction)
        if name[0] != "_" and name not in vars(Middleware)
    ]
    for name, method, text in described:
        assert text, name
        for each in list(inspect.signature(method).parameters.values())[1:]:
            if each.kind is not each.VAR_POSITIONAL:
                assert re.search(rf"`?\b{each.name}(:|`|=)", text), (name, each.name)


def test_reference_names_all_that_is_public() -> None:
    """Every public name of `flowd` is on the page of the API, or is an error."""
    page = (ROOT / "docs/reference/api.md").read_text("utf-8")
    errors = set(import_module("flowd.errors").__all__)
    named = set(re.findall(r"\bflowd\.(\w+)", page)) | errors
    assert set(PUBLIC["flowd"].split()) <= named
